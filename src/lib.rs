//! Fanfare is a push node: publishers POST events to topics, and the node delivers them to every
//! Server-Sent Events stream subscribed to those topics.
//!
//! # The life of an event
//!
//! ```text
//! POST ──> http ──> queue ──> sequencer ──> ring ──> shard ──> session ──> socket
//!          parse    bounded   order (log),  entries, one wake  cursor,     detached
//!                             encode once,  no lock  per batch replay
//!                             route
//! ```
//!
//! 1. A `POST /events` arrives on the shard that accepted its connection. `http` parses it into an
//!    [`event::Publication`], or answers with a problem document.
//! 2. The publication goes into a bounded queue ([`sequencer::Queue`]), or the publisher is told at
//!    once that the queue is full. The shard then runs the batch itself if few events wait and
//!    nobody uses the sequencer or the log ([`sequencer::Combiner`]); else the sequencer's own
//!    thread does.
//! 3. The [`sequencer`] takes what is in the queue as one batch and encodes each event, with its
//!    id, into one buffer: an [`event::Batch`].
//! 4. It appends copies of the events to the [`log`], for replay.
//! 5. It publishes slices of the batch to the [`ring::Ring`] of each topic with readers and to that
//!    of `*`, as one [`ring::Epoch`] each. When all rings have the batch, it wakes the shards that
//!    read them, once each, and answers the publishers with the ids.
//! 6. The `shard`'s pump visits the connections subscribed to those rings.
//! 7. Each `session` reads its rings from its cursor on, without a lock, and yields slices of the
//!    batch's buffer. A replay comes from the log first; a gap is announced.
//! 8. The pump writes the slices of many connections in one system call. A peer that does not read
//!    fills its socket's buffer. If its next event has left the window by the time it reads again,
//!    it continues from the history. It receives `lagged` only if the history has evicted that
//!    event, or if it has been behind for `FANFARE_LAG_MAX`; if its socket accepts nothing for too
//!    long, the connection is aborted.
//!
//! # Invariants
//!
//! - I1 An event is encoded once per node. Below the encoder only [`bytes::Bytes`] exists.
//! - I2 A seq is assigned in one place, and events are delivered in seq order.
//! - I3 A publisher never waits for a subscriber; a subscriber never waits for another, nor a topic
//!   for another topic.
//! - I4 Between ring and socket: no lock, no allocation per event, no copy, no formatting, no
//!   logging.
//! - I5 Every queue, table, buffer and loop has a bound, and the bound has a name.
//! - I6 A session sees each event at most once, in order; a gap is announced (`lagged` or `reset`),
//!   never silent.
//! - I7 Acknowledged means kept: an event whose publish was answered 200 is delivered to every
//!   session that is subscribed and keeps up, and is there for replay as long as the retention
//!   says, through every fault that the log promises to survive. The log in memory promises none:
//!   it ends with the process.
//! - I8 Only [`config`] reads the environment. Only `shard` starts threads for sessions.
//! - I10 A stream that reads as fast as it is written to is never lagged out, however late the node
//!   itself is. (I9 is reserved for access control.)
//!
//! # Modules
//!
//! In dependency order: a module imports only modules above it in this table, which
//! `tests/it/source_tree.rs` checks.
//!
//! | module | what it is |
//! |---|---|
//! | `sync` | concurrency primitives, real or loom's |
//! | `quota` | the bounded counter: connections, streams, rings, bytes |
//! | [`config`] | every setting; the only reader of the environment |
//! | [`event`] | an event, its names and its encoding; pure |
//! | [`ring`] | the lock-free epoch ring per topic, and the wake-ups of shards |
//! | [`log`] | the history kept for replay |
//! | [`sequencer`] | the queue, and the one writer of log and rings |
//! | `core` | what all shards share |
//! | `session` | one subscriber's stream: replay, live events, control events |
//! | `conn` | one connection's state, and a shard's lists of connections |
//! | [`console`] | the page at `/` |
//! | `admin` | `/healthz` |
//! | `http` | routes, request parsing, responses, problem details |
//! | `shard` | threads, listeners, readiness, the pump, timers |
//! | [`node`] | the composition root: start and drain |
//! | [`process`] | what `main` sets up in the process: memory, descriptors, signals |
//!
//! Public is what `main`, the tests and the benches of single stages use.

#![warn(unreachable_pub)]

mod admin;
pub mod config;
mod conn;
pub mod console;
mod core;
pub mod event;
mod http;
pub mod log;
pub mod node;
pub mod process;
mod quota;
pub mod ring;
pub mod sequencer;
mod session;
mod shard;
mod sync;

/// For `benches/sessions.rs`.
#[doc(hidden)]
pub use session::MergedRings;
