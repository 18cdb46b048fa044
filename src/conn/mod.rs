//! The state of one connection, and a shard's lists of connections and subscribers.
//!
//! Everything here stays on the shard's thread, so plain cells are enough. What acts on it lies
//! above: `http` answers requests through [`ShardHandle`], `shard` reads, writes and closes.
//!
//! Files, in dependency order: `readiness` (what the socket can do, and since when), `lifecycle`
//! (how far the connection is from hyper to the pump), `unsent` (what a blocked stream keeps),
//! `connection` (all of them, with descriptor and stream), `segments` (tables that grow in parts),
//! `connections` (all of a shard's), `request_connections` (those without a stream),
//! `subscribers` (those that read each ring), `handle` (what an HTTP handler needs of its shard),
//! `body` (a stream as a hyper response body).
#![forbid(unsafe_code)]

mod body;
mod connection;
mod connections;
mod handle;
mod lifecycle;
mod readiness;
mod request_connections;
mod segments;
mod subscribers;
mod unsent;

pub(crate) use body::StreamBody;
pub(crate) use connection::Conn;
pub(crate) use connections::Round;
pub(crate) use handle::ShardHandle;
pub(crate) use lifecycle::Stage;
pub(crate) use readiness::Millis;
pub(crate) use request_connections::Place;
pub(crate) use subscribers::Rest;
pub(crate) use unsent::{Age, BlockedOrder};
