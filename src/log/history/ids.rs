//! Where the publishers' own ids lead while their events are kept.
//!
//! The table is keyed by a hash of the id under a key of its own, so that an id's text is held
//! once, by its event. An id is only found if the event it leads to bears it; two ids with one hash
//! count as one id published twice.

use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, RandomState};

use super::events_by_seq::EventsBySeq;
use super::striped_map::StripedMap;
use crate::event::{EventId, Seq};

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
        let bears =
            |kept: &super::StoredEvent| kept.id.as_ref().is_some_and(|own| own.as_str() == id);
        match by_seq.find(named.seq) {
            Some(kept) if bears(kept) => Found::At(named.seq),
            _ => Found::Nothing,
        }
    }

    fn hash(&self, id: &str) -> u64 {
        self.key.hash_one(id)
    }
}
