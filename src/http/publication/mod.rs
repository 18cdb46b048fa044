//! Publish request parser: makes a validated [`Publication`](crate::event::Publication) from the
//! content type, query and body of `POST /events`.
//!
//! Runs on the thread of the publisher's connection, on a complete body within
//! `FANFARE_EVENT_BYTES_MAX`. Pure: no I/O, no clock, no shared state.

#![forbid(unsafe_code)]

mod builder;
mod error;
mod form;
mod json;
mod parse;

pub(crate) use builder::EventLimits;
pub(crate) use error::PublishError;
pub(crate) use parse::parse;
