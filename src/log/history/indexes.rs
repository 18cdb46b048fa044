//! A kept event, and what it is counted at.
//!
//! The constants are what an event, a topic and an id really cost beside their text and payload,
//! with the slack of the containers and of the allocator; a test with a counting allocator holds
//! them to it.
//!
//! Every kept event by seq: what `*` reads, and where the oldest is found.
//!
//! A B-tree. Any event can leave from the middle (a busy topic at its limit drops its own oldest,
//! not the oldest of all), so what is left of an old stretch may be one quiet topic's event among
//! thousands of gaps. A B-tree merges such remains by itself, a node at a time: each node but the
//! root is at least five elevenths full, whatever was removed, and a read never walks over gaps.
//! Dropping from either place takes the tree's depth, which is seven at a million events.
//!
//! Where the publishers' own ids lead while their events are kept.
//!
//! The table is keyed by a hash of the id under a key of its own, so that an id's text is held
//! once, by its event. An id is only found if the event it leads to bears it; two ids with one hash
//! count as one id published twice.

use std::collections::BTreeMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, RandomState};
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use super::striped_map::StripedMap;
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

#[derive(Default)]
pub(super) struct EventsBySeq {
    kept: BTreeMap<Seq, Arc<StoredEvent>>,
    bytes: u64,
    dropped_through: Seq,
    dropped: u64,
}

impl EventsBySeq {
    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }

    /// What the kept events are counted at.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The highest seq that no topic keeps any more.
    pub(super) fn dropped_through(&self) -> Seq {
        self.dropped_through
    }

    /// How many events no topic keeps any more.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    pub(super) fn oldest(&self) -> Option<&Arc<StoredEvent>> {
        self.kept.first_key_value().map(|(_, kept)| kept)
    }

    pub(super) fn find(&self, seq: Seq) -> Option<&Arc<StoredEvent>> {
        self.kept.get(&seq)
    }

    /// The kept events after `after`, in order.
    pub(super) fn after(&self, after: Seq) -> impl Iterator<Item = &Arc<StoredEvent>> {
        self.kept.range((Bound::Excluded(after), Bound::Unbounded)).map(|(_, kept)| kept)
    }

    /// Adds the newest event.
    pub(super) fn push(&mut self, kept: Arc<StoredEvent>) {
        self.bytes += kept.bytes();
        self.kept.insert(kept.seq, kept);
    }

    /// Takes the oldest event out.
    pub(super) fn drop_oldest(&mut self) -> Option<Arc<StoredEvent>> {
        let (_, kept) = self.kept.pop_first()?;
        self.count_out(&kept);
        Some(kept)
    }

    /// Takes one event out, wherever it is.
    pub(super) fn drop_one(&mut self, kept: &StoredEvent) {
        self.kept.remove(&kept.seq);
        self.count_out(kept);
    }

    fn count_out(&mut self, kept: &StoredEvent) {
        self.bytes -= kept.bytes();
        self.dropped_through = self.dropped_through.max(kept.seq);
        self.dropped += 1;
    }
}

#[derive(Default)]
pub(super) struct Ids {
    key: RandomState,
    named: StripedMap<u64, Named>,
}

struct Named {
    /// The newest event with the id.
    seq: Seq,
    /// StoredEvent events with the id.
    events: usize,
    /// Whether there were two at once, since the first of those that are kept.
    repeated: bool,
}

/// What an id leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// No kept event bears it.
    Nothing,
    /// The one event that bears it.
    At(Seq),
    /// Several have borne it, and at least one of them is kept: which one a client has seen can't
    /// be told.
    Repeated,
}

impl Ids {
    pub(super) fn add(&mut self, id: &EventId, seq: Seq) {
        let hash = self.hash(id.as_str());
        match self.named.stripe_mut(hash).entry(hash) {
            Entry::Vacant(entry) => drop(entry.insert(Named { seq, events: 1, repeated: false })),
            Entry::Occupied(mut entry) => {
                let named = entry.get_mut();
                *named = Named { seq, events: named.events + 1, repeated: true };
            }
        }
    }

    /// Notes that an event with the id is no longer kept.
    pub(super) fn remove(&mut self, id: &EventId) {
        let hash = self.hash(id.as_str());
        let named =
            self.named.stripe_mut(hash).get_mut(&hash).expect("a kept event's id is in the table");
        named.events -= 1;
        if named.events == 0 {
            self.named.remove(hash, &hash);
        }
    }

    pub(super) fn find(&self, id: &str, by_seq: &EventsBySeq) -> Found {
        let hash = self.hash(id);
        let Some(named) = self.named.stripe(hash).get(&hash) else { return Found::Nothing };
        if named.repeated {
            return Found::Repeated;
        }
        let bears = |kept: &StoredEvent| kept.id.as_ref().is_some_and(|own| own.as_str() == id);
        match by_seq.find(named.seq) {
            Some(kept) if bears(kept) => Found::At(named.seq),
            _ => Found::Nothing,
        }
    }

    fn hash(&self, id: &str) -> u64 {
        self.key.hash_one(id)
    }
}
