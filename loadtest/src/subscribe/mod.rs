//! The streams' side: worker processes that open streams, read them and account for what arrives.
//!
//! Each worker is one process with one thread, one epoll, one read buffer and up to a descriptor
//! table of streams.

pub mod message;
pub mod worker;

mod accounting;
mod channel;
mod opener;
pub mod request;
mod response;
mod sse;
mod storm;
mod stream;
mod subscriptions;
