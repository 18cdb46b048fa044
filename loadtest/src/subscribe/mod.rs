//! The streams' side: worker processes that open streams, read them and account for what arrives.
//!
//! Each worker is one process with one thread, one epoll, one read buffer and up to a descriptor table of streams.

pub mod message;
pub mod wire;
pub mod worker;

mod report;
pub mod request;
mod stream;
