//! The streams' side: worker processes that open streams, read them and account for what arrives.
//!
//! Each worker is one process with one thread, one epoll, one read buffer and up to a descriptor
//! table of streams.

pub mod message;
pub mod worker;

mod commands;
mod leaving;
mod lines;
mod opening;
mod reading;
mod report;
pub mod request;
mod stream;
mod wire;
