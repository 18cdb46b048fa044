//! Every kept event by seq: what `*` reads, and where the oldest is found.
//!
//! A B-tree. Any event can leave from the middle (a busy topic at its limit drops its own oldest,
//! not the oldest of all), so what is left of an old stretch may be one quiet topic's event among
//! thousands of gaps. A B-tree merges such remains by itself, a node at a time: each node but the
//! root is at least five elevenths full, whatever was removed, and a read never walks over gaps.
//! Dropping from either place takes the tree's depth, which is seven at a million events.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use super::stored_event::StoredEvent;
use crate::event::Seq;

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
