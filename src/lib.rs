//! Fanfare is a push node: publishers POST events, and every Server-Sent Events stream that asked for them has them.
#![warn(missing_docs)]

pub mod config;
pub mod event;
pub mod ring;
mod sync;
pub mod http;
pub mod ingest;
pub mod log;
