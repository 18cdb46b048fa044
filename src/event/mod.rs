//! Event model: topics, selectors, ids and the Server-Sent Events encoding. Pure: no I/O, no
//! clock.
//!
//! [`Topic`] and [`EventId`] can only be constructed from text that is safe on the wire, so code
//! below this module doesn't check for control characters again.
//!
//! Files, in dependency order: `wire`, `id`, `topic`, `chunks`, `batch`, this one.
#![forbid(unsafe_code)]

mod batch;
mod chunks;
mod id;
mod topic;
pub mod wire;

pub use batch::Batch;
pub use chunks::Chunks;
pub(crate) use id::NodeIds;
pub use id::{EventId, ID_BYTES_MAX, IdError, Incarnation, Position, Seq};
pub use topic::{Selector, Topic, TopicError};
pub(crate) use topic::{TopicHasher, TopicMap};

/// Event types of the node's own control events. Publishers can't use them, so a subscriber can
/// trust that such an event comes from the node.
pub(crate) const CONTROL_TYPES: [&str; 4] = ["reset", "lagged", "shutdown", "busy"];

/// A validated event from a publisher, before the sequencer assigns its seq.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// At least one topic, none twice.
    pub topics: Box<[Topic]>,
    /// The payload: any UTF-8 text, with any line breaks.
    pub data: String,
    /// The publisher's own id, if it gave one.
    pub id: Option<EventId>,
    /// The SSE event type (`event:`), if the publisher gave one; no control characters.
    pub event_type: Option<Box<str>>,
    /// The SSE reconnection time (`retry:`) in milliseconds, if the publisher gave one.
    pub retry: Option<u64>,
}
