//! What is HTTP about a request and its answer: routes, negotiation, queries, origins, refusals.
//!
//! Called once per request, on the thread of its connection; nothing here runs per event. Every
//! loop is bounded by the size of the request's head, except over a body, which is bounded by its
//! own size.

#![forbid(unsafe_code)]

pub mod cors;
mod excerpt;
mod header;
mod negotiate;
mod problem;
pub mod publication;
mod publish;
mod query;
mod service;
mod subscribe;
mod urlencoded;

pub use excerpt::Excerpt;
pub use negotiate::{accepts_event_stream, prefers_event_stream};
pub use problem::{Kind, Problem};
pub use query::{SelectLimits, SubscribeError, SubscribeRequest, parse_subscribe};
pub use service::{Answer, ResponseBody, Service};

pub(crate) use header::{parameter, split_unquoted};
pub(crate) use urlencoded::{NotUtf8, pairs};
