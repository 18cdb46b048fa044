//! Shared by the peers: the address, the forms, and axum's encoding of events.

#![forbid(unsafe_code)]

use std::convert::Infallible;

use axum::response::sse::Event;
use serde::Deserialize;

/// `GET /events?topic=`.
#[derive(Deserialize)]
pub struct Subscribe {
    pub topic: String,
}

/// `POST /events`.
#[derive(Deserialize)]
pub struct Publish {
    pub topic: String,
    pub data: String,
}

/// An event. The framework encodes it once per subscriber.
pub fn event(id: u64, data: &str) -> Result<Event, Infallible> {
    Ok(Event::default().data(data).id(id.to_string()))
}

/// The address to listen on: the only argument.
pub fn address() -> String {
    std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".into())
}
