//! Append-only store with retention limits: every append evicts the events that exceed them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::indexes::{EventsBySeq, IdIndex, StoredEvent};
use super::topic_index::TopicIndex;
use crate::event::{EventId, Incarnation, Selector, Seq, Topic};

/// Most events that one [`History::append`] evicts for [`Retention::topics_max`] and
/// [`Retention::age`]; the rest is left to later appends and to [`History::expire`]. Evictions for
/// the other two limits come on top.
pub const EVICTIONS_PER_APPEND: usize = 64;

/// Retention limits. An event is evicted by whichever limit it reaches first; a limit of zero
/// retains nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Events per topic (`FANFARE_HISTORY_EVENTS`). A topic at the limit evicts its oldest event.
    pub events_per_topic: usize,
    /// Age (`FANFARE_HISTORY_AGE`). An older event is evicted by the next [`History::expire`] or
    /// [`History::append`].
    pub age: Duration,
    /// Memory in bytes (`FANFARE_HISTORY_BYTES`): wire forms, names and ids, and a fixed cost per
    /// event, topic and id. At the limit the oldest events are evicted, whatever their topic. Not
    /// exceeded when a call returns.
    pub bytes: u64,
    /// Topics with stored events (`FANFARE_TOPICS_MAX`). Above it the oldest events are evicted
    /// until a topic has none left. May be exceeded temporarily: one append evicts at most
    /// [`EVICTIONS_PER_APPEND`] events for it.
    pub topics_max: usize,
}

/// An event to append: encoded, with its seq assigned.
#[derive(Clone, Debug)]
pub struct Encoded<'a> {
    /// At least one topic, none twice.
    pub topics: &'a [Topic],
    /// The publisher's own id, if it gave one.
    pub id: Option<EventId>,
    /// The wire form. It must own its memory: a slice of a larger buffer would keep the whole
    /// buffer alive, which [`Retention::bytes`] doesn't count.
    pub wire: Bytes,
}

/// Current size of the history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Stored events; an event with several topics counts once.
    pub events: usize,
    /// Topics with stored events.
    pub topics: usize,
    /// Memory as counted for [`Retention::bytes`].
    pub bytes: u64,
}

/// In-memory event store, indexed by seq, by topic and by publisher's id.
pub struct History {
    retention: Retention,
    age_nanos: u64,
    pub(super) incarnation: Incarnation,
    pub(super) last_seq: Seq,
    pub(super) by_seq: EventsBySeq,
    pub(super) by_topic: TopicIndex,
    pub(super) by_id: IdIndex,
}

impl History {
    /// An empty history. Its first event will have seq 1.
    pub fn new(mut retention: Retention, incarnation: Incarnation) -> Self {
        if retention.events_per_topic == 0 {
            // A queue needs room for the event being appended. The byte limit then evicts that
            // event before `append` returns.
            (retention.events_per_topic, retention.bytes) = (1, 0);
        }
        Self {
            retention,
            age_nanos: nanos(retention.age),
            incarnation,
            last_seq: Seq(0),
            by_seq: EventsBySeq::default(),
            by_topic: TopicIndex::new(retention.events_per_topic, retention.bytes),
            by_id: IdIndex::default(),
        }
    }

    /// The seq the next event must be appended with. The encoder needs it before the append,
    /// because the id is part of the wire form.
    pub fn next_seq(&self) -> Seq {
        self.last_seq.next()
    }

    /// The incarnation that the seqs belong to.
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Stores the next event and evicts what then exceeds the retention limits. `seq` must be
    /// [`Self::next_seq`]; `now` is the time since the node started.
    ///
    /// Work: the event's topics, the evictions that make room for its bytes, and at most
    /// [`EVICTIONS_PER_APPEND`] more. The bytes were within their limit before, so no more than the
    /// event's own bytes, rounded up to an event, have to be evicted for them.
    pub fn append(&mut self, seq: Seq, event: Encoded<'_>, now: Duration) {
        debug_assert_eq!(seq, self.next_seq(), "seqs are dense");
        debug_assert!(!event.topics.is_empty(), "an event has a topic");
        self.last_seq = seq;
        if let Some(id) = &event.id {
            self.by_id.add(id, seq);
        }
        let Encoded { topics, id, wire } = event;
        let topics = self.by_topic.intern(topics, seq);
        let event = Arc::new(StoredEvent { seq, appended_at: nanos(now), id, wire, topics });
        self.by_seq.push(Arc::clone(&event));
        for topic in event.topics.as_slice() {
            if let Some(evicted) = self.by_topic.push(topic, &event) {
                self.evict_if_in_no_topic(&evicted);
            }
        }
        while self.bytes() > self.retention.bytes && self.evict_oldest() {}
        self.expire(now, EVICTIONS_PER_APPEND);
    }

    /// Evicts events that have reached their age or exceed [`Retention::topics_max`], oldest first,
    /// at most `budget`. Returns whether more are left to evict.
    pub fn expire(&mut self, now: Duration, budget: usize) -> bool {
        let now = nanos(now);
        for _ in 0..budget {
            if !self.must_evict(now) {
                return false;
            }
            self.evict_oldest();
        }
        self.must_evict(now)
    }

    /// Current size.
    pub fn stats(&self) -> Stats {
        Stats { events: self.by_seq.len(), topics: self.by_topic.len(), bytes: self.bytes() }
    }

    fn bytes(&self) -> u64 {
        self.by_seq.bytes() + self.by_topic.bytes()
    }

    fn must_evict(&self, now: u64) -> bool {
        let is_expired =
            |event: &Arc<StoredEvent>| now.saturating_sub(event.appended_at) >= self.age_nanos;
        self.by_topic.len() > self.retention.topics_max
            || self.by_seq.oldest().is_some_and(is_expired)
    }

    /// Evicts the oldest event from the store and from each topic that still has it. False if the
    /// store is empty.
    fn evict_oldest(&mut self) -> bool {
        let Some(event) = self.by_seq.evict_oldest() else { return false };
        for topic in event.topics.as_slice() {
            self.by_topic.evict(topic, event.seq);
        }
        self.remove_id(&event);
        true
    }

    /// Evicts an event from the store after a topic has evicted it, unless another topic still has
    /// it.
    fn evict_if_in_no_topic(&mut self, event: &Arc<StoredEvent>) {
        // The reference count is exact: one reference is the caller's, one is in `by_seq`, and each
        // topic that has the event holds one. Readers clone the wire bytes, never the `Arc`, and
        // `&mut self` excludes them.
        if Arc::strong_count(event) == 2 {
            self.by_seq.evict(event);
            self.remove_id(event);
        }
    }

    fn remove_id(&mut self, event: &StoredEvent) {
        if let Some(id) = &event.id {
            self.by_id.remove(id);
        }
    }

    /// The highest evicted seq that the selectors match.
    ///
    /// For `*` an event is evicted when no topic has it any more. Several topics are independent:
    /// an event that one of them has evicted counts, even if another still has it.
    pub(super) fn evicted_through(&self, selectors: &[Selector]) -> Seq {
        match selected_topics(selectors) {
            None => self.by_seq.evictions().highest_since(0),
            Some(topics) => {
                topics.map(|topic| self.by_topic.evicted_through(topic)).max().unwrap_or_default()
            }
        }
    }

    /// The seq of the oldest stored event after `seq` that the selectors match.
    pub(super) fn first_after(&self, selectors: &[Selector], seq: Seq) -> Option<Seq> {
        match selected_topics(selectors) {
            None => self.by_seq.after(seq).next().map(|event| event.seq),
            Some(topics) => topics
                .filter_map(|topic| self.by_topic.after(topic, seq).next())
                .map(|event| event.seq)
                .min(),
        }
    }
}

/// The selected topics, or `None` if the selectors include `*`, which covers every topic.
pub(super) fn selected_topics(selectors: &[Selector]) -> Option<impl Iterator<Item = &Topic>> {
    let all = selectors.contains(&Selector::All);
    (!all).then(|| {
        selectors.iter().filter_map(|selector| match selector {
            Selector::Topic(topic) => Some(topic),
            Selector::All => None,
        })
    })
}

/// Saturating; 64 bits of nanoseconds are 584 years.
fn nanos(time: Duration) -> u64 {
    time.as_nanos().try_into().unwrap_or(u64::MAX)
}
