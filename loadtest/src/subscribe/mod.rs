//! The subscribers: worker processes that open streams, read them and account for every event.
//!
//! A worker is a process with a single thread, an epoll instance, one read buffer and as many
//! streams as its descriptor table holds.

mod accounting;
mod channel;
mod churn;
mod completion;
mod message;
mod opener;
mod reading;
mod request;
mod response;
mod sequences;
mod sse;
mod stats;
mod storm;
mod stream;
mod stream_set;
mod subscriptions;
mod worker;

pub(crate) use message::{Assignment, Final, FromWorker, Tick, ToWorker};
pub(crate) use request::RequestTemplate;
pub(crate) use worker::run;
