//! What the peers share: the address, the form, and events as axum sends them.

#![forbid(unsafe_code)]

use std::convert::Infallible;

use axum::response::sse::Event;
use serde::Deserialize;

/// `GET /events?topic=`.
#[derive(Deserialize)]
pub struct Subscribe {
    /// The one topic.
    pub topic: String,
}

/// `POST /events`.
#[derive(Deserialize)]
pub struct Publish {
    /// The one topic.
    pub topic: String,
    /// The event's data.
    pub data: String,
}

/// An event to be sent; it is encoded once per subscriber, as the framework does it.
pub fn event(id: u64, data: &str) -> Result<Event, Infallible> {
    Ok(Event::default().data(data).id(id.to_string()))
}

/// The address given as the only argument.
pub fn address() -> String {
    std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".into())
}
