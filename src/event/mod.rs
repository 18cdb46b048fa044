//! What an event is: its names, its place, its parts. Pure: no I/O, no clock.
//!
//! [`Topic`], [`EventId`] and the rest can only be made from text that is safe on the wire, so that
//! nothing below this module has to look for control characters again.

mod batch;
mod id;
mod topic;
pub mod wire;

pub use batch::Batch;
pub use id::{EventId, ID_BYTES_MAX, IdError, Incarnation, OwnIds, Position};
pub use topic::{Selector, Topic, TopicError, TopicHasher, TopicMap};

/// Event types the node speaks itself. A publisher can't use them: a subscriber takes them as the
/// node's word.
pub const CONTROL_TYPES: [&str; 4] = ["reset", "lagged", "shutdown", "busy"];

/// Position of an event in the log: strictly increasing, assigned in one place (I2). The first
/// event has seq 1; 0 is the position before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u64);

impl Seq {
    /// The seq that follows this one.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl std::fmt::Display for Seq {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// An event as its publisher sent it, checked, and not yet in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// Where it goes; never empty, no topic twice. The first is the canonical one.
    pub topics: Box<[Topic]>,
    /// The payload; any UTF-8, any line breaks.
    pub data: String,
    /// The publisher's own id, if it gave one.
    pub id: Option<EventId>,
    /// The SSE event type (`event:`), if the publisher gave one; no control characters.
    pub event_type: Option<Box<str>>,
    /// The reconnection time sent with the event (`retry:`), milliseconds.
    pub retry: Option<u64>,
}
