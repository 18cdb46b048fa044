//! Publishing: from the body of `POST /events` to a checked
//! [`Publication`](crate::event::Publication), and from there to the sequencer by way of a bounded
//! [queue](Queue).
//!
//! Parsing is called on the thread of the publisher's connection, with a body that is complete and
//! no larger than its limit, and is pure: no I/O, no clock, nothing shared.

#![forbid(unsafe_code)]

mod builder;
mod error;
mod form;
mod json;
mod parse;

pub use builder::EventLimits;
pub use error::{FieldSource, PublishError};
pub use parse::parse;
