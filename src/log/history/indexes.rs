//! The stored event and its two node-wide indexes: a B-tree by seq and a hash map by publisher's
//! id.
//!
//! The constants state the memory an event, a topic and an id need beside payload and text,
//! including the slack of the containers and of the allocator. `tests/history_memory.rs` checks
//! them with a counting allocator.

use std::collections::BTreeMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, RandomState};
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use super::evictions::Evictions;
use super::striped_map::StripedMap;
use crate::event::{EventId, Seq, Topic};

/// Bytes per event beside its wire form: the struct, its B-tree entry (up to nearly half of a leaf
/// is free), the shared header of its `Bytes`, and the allocator's overhead.
pub(super) const EVENT_BYTES: u64 = 184;

/// Bytes per topic of an event: a reference in a queue that may be half empty, and the topic in the
/// event's own list.
pub(super) const TOPIC_REF_BYTES: u64 = 48;

/// Bytes per topic beside its name: its entry in a hash map that may be half empty, the smallest
/// queue, and an entry of the stack of [`Evictions`], which may be half empty too.
pub(super) const TOPIC_BYTES: u64 = 288;

/// Bytes per publisher's id beside its text: its allocation and its entry in a hash map that may be
/// half empty.
pub(super) const ID_BYTES: u64 = 80;

/// Stored events that are walked to count those missing between them, at most.
pub(super) const COUNTED_MAX: usize = 1024;

pub(super) struct StoredEvent {
    pub(super) seq: Seq,
    /// Nanoseconds since the node started.
    pub(super) appended_at: u64,
    pub(super) id: Option<EventId>,
    pub(super) wire: Bytes,
    pub(super) topics: EventTopics,
}

/// The topics of an event: nearly always one, which needs no allocation.
pub(super) enum EventTopics {
    One(Topic),
    Many(Box<[Topic]>),
}

impl EventTopics {
    pub(super) fn as_slice(&self) -> &[Topic] {
        match self {
            Self::One(topic) => std::slice::from_ref(topic),
            Self::Many(topics) => topics,
        }
    }
}

impl StoredEvent {
    /// The event's memory cost. Topic names are counted with the topic's entry, which outlives
    /// every event that refers to it.
    pub(super) fn bytes(&self) -> u64 {
        let id = self.id.as_ref().map_or(0, |id| ID_BYTES + id.as_str().len() as u64);
        EVENT_BYTES
            + self.wire.len() as u64
            + id
            + TOPIC_REF_BYTES * self.topics.as_slice().len() as u64
    }
}

/// Every stored event by seq: the index that serves `*` and finds the oldest event.
///
/// A B-tree, because an event may leave from the middle: a busy topic at its limit evicts its own
/// oldest event, not the oldest of the store. A range of old seqs may then hold a single event of a
/// quiet topic. A B-tree merges such remains one node at a time: every node but the root stays at
/// least five elevenths full, and a range scan never walks over gaps. Removal at either end or in
/// the middle costs the depth of the tree, seven at a million events.
#[derive(Default)]
pub(super) struct EventsBySeq {
    tree: BTreeMap<Seq, Arc<StoredEvent>>,
    bytes: u64,
    evictions: Evictions,
}

impl EventsBySeq {
    pub(super) fn len(&self) -> usize {
        self.tree.len()
    }

    /// Memory cost of the stored events.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The events that no topic stores any more.
    pub(super) fn evictions(&self) -> &Evictions {
        &self.evictions
    }

    pub(super) fn oldest(&self) -> Option<&Arc<StoredEvent>> {
        self.tree.first_key_value().map(|(_, event)| event)
    }

    pub(super) fn find(&self, seq: Seq) -> Option<&Arc<StoredEvent>> {
        self.tree.get(&seq)
    }

    /// The events after `seq`, in seq order.
    pub(super) fn after(&self, seq: Seq) -> impl Iterator<Item = &Arc<StoredEvent>> {
        self.tree.range((Bound::Excluded(seq), Bound::Unbounded)).map(|(_, event)| event)
    }

    /// Number of seqs after `from` and up to `through` that are not stored; a lower bound if more
    /// than [`COUNTED_MAX`] are stored.
    pub(super) fn missing_at_least(&self, from: Seq, through: Seq) -> u64 {
        if through <= from {
            return 0;
        }
        let stored = self.tree.range((Bound::Excluded(from), Bound::Included(through)));
        let (mut counted, mut end) = (0, through);
        for (&seq, _) in stored.take(COUNTED_MAX) {
            (counted, end) = (counted + 1, seq);
        }
        if counted < COUNTED_MAX as u64 {
            end = through;
        }
        end.0 - from.0 - counted
    }

    pub(super) fn push(&mut self, event: Arc<StoredEvent>) {
        self.bytes += event.bytes();
        self.tree.insert(event.seq, event);
    }

    pub(super) fn evict_oldest(&mut self) -> Option<Arc<StoredEvent>> {
        let (_, event) = self.tree.pop_first()?;
        self.count_eviction(&event);
        Some(event)
    }

    pub(super) fn evict(&mut self, event: &StoredEvent) {
        self.tree.remove(&event.seq);
        self.count_eviction(event);
    }

    fn count_eviction(&mut self, event: &StoredEvent) {
        self.bytes -= event.bytes();
        self.evictions.record(event.seq);
    }
}

/// Publishers' ids of stored events, by a keyed hash of the id.
///
/// The id's text is stored once, in its event: [`Self::find`] compares the text there. Two ids with
/// the same hash count as one id that was published twice.
#[derive(Default)]
pub(super) struct IdIndex {
    hasher: RandomState,
    entries: StripedMap<u64, IdEntry>,
}

struct IdEntry {
    /// The newest event with the id.
    seq: Seq,
    /// Number of stored events with the id.
    events: usize,
    /// Whether two events with the id were stored at the same time since this entry was created.
    repeated: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IdLookup {
    /// No stored event has the id.
    Unknown,
    /// Exactly one event has the id.
    Unique(Seq),
    /// Several events had the id and at least one of them is still stored, so it is undecidable
    /// which one a client has received.
    Repeated,
}

impl IdIndex {
    pub(super) fn add(&mut self, id: &EventId, seq: Seq) {
        let hash = self.hash(id.as_str());
        match self.entries.stripe_mut(hash).entry(hash) {
            Entry::Vacant(vacant) => {
                vacant.insert(IdEntry { seq, events: 1, repeated: false });
            }
            Entry::Occupied(mut occupied) => {
                let entry = occupied.get_mut();
                *entry = IdEntry { seq, events: entry.events + 1, repeated: true };
            }
        }
    }

    /// Removes one stored event with the id.
    pub(super) fn remove(&mut self, id: &EventId) {
        let hash = self.hash(id.as_str());
        let stripe = self.entries.stripe_mut(hash);
        let entry = stripe.get_mut(&hash).expect("a stored event's id has an entry");
        entry.events -= 1;
        if entry.events == 0 {
            self.entries.remove(hash, &hash);
        }
    }

    pub(super) fn find(&self, id: &str, by_seq: &EventsBySeq) -> IdLookup {
        let hash = self.hash(id);
        let Some(entry) = self.entries.stripe(hash).get(&hash) else { return IdLookup::Unknown };
        if entry.repeated {
            return IdLookup::Repeated;
        }
        let has_id = |event: &Arc<StoredEvent>| event.id.as_ref().is_some_and(|i| i.as_str() == id);
        match by_seq.find(entry.seq) {
            Some(event) if has_id(event) => IdLookup::Unique(entry.seq),
            _ => IdLookup::Unknown,
        }
    }

    fn hash(&self, id: &str) -> u64 {
        self.hasher.hash_one(id)
    }
}
