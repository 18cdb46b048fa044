//! A kept event, and what it is counted at.
//!
//! The constants are what an event, a topic and an id really cost beside their text and payload,
//! with the slack of the containers and of the allocator; a test with a counting allocator holds
//! them to it.

use bytes::Bytes;

use crate::event::{EventId, Seq, Topic};

/// Bytes an event is counted at beside its wire form: the event itself, its place in the order
/// (nearly half of a B-tree's leaf may be free), the shared header of its bytes, and the
/// allocator's own overhead.
pub const EVENT_BYTES: u64 = 184;

/// Bytes for each topic an event is in: a reference in a queue that may be half empty, and the
/// topic as the event names it.
pub const PLACE_BYTES: u64 = 48;

/// Bytes for each topic beside its name: its entry in a table that may be half empty, and the
/// smallest queue.
pub const TOPIC_BYTES: u64 = 224;

/// Bytes for a publisher's id beside its text: its own memory and its entry in a table that may be
/// half empty.
pub const ID_BYTES: u64 = 80;

/// An event as it is kept.
pub(super) struct StoredEvent {
    pub(super) seq: Seq,
    /// When it came, nanoseconds since the node started.
    pub(super) at: u64,
    pub(super) id: Option<EventId>,
    pub(super) wire: Bytes,
    pub(super) topics: Names,
}

/// The topics of an event; nearly always one, which then needs no memory of its own.
pub(super) enum Names {
    One(Topic),
    Many(Box<[Topic]>),
}

impl Names {
    pub(super) fn as_slice(&self) -> &[Topic] {
        match self {
            Self::One(topic) => std::slice::from_ref(topic),
            Self::Many(topics) => topics,
        }
    }
}

impl StoredEvent {
    /// What it is counted at. The names of its topics are counted with the topics, which share them
    /// and live at least as long: a topic loses an event before its last only to newer ones, and
    /// those leave later.
    pub(super) fn bytes(&self) -> u64 {
        let id = self.id.as_ref().map_or(0, |id| ID_BYTES + id.as_str().len() as u64);
        EVENT_BYTES
            + self.wire.len() as u64
            + id
            + PLACE_BYTES * self.topics.as_slice().len() as u64
    }
}
