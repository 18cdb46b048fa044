//! Publishing: from the body of `POST /events` to a checked [`Publication`](crate::event::Publication).
//!
//! Called on the thread of the publisher's connection, with a body that is complete and no larger than its limit.
//! Pure: no I/O, no clock, nothing shared.

#![forbid(unsafe_code)]

mod draft;
mod error;
mod form;
mod json;
mod parse;

pub use error::{Place, PublishError};
pub use parse::{Limits, parse};
