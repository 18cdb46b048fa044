//! Fanfare is a push node: publishers POST events, and every Server-Sent Events stream that asked for them has them.
#![warn(missing_docs)]

pub mod admin;
pub mod config;
pub mod event;
pub mod http;
pub mod ingest;
pub mod log;
pub mod node;
pub mod page;
pub mod quota;
pub mod ring;
pub mod sequencer;
pub mod session;
pub mod shard;
mod sync;
