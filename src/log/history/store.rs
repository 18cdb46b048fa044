//! What is kept, and what goes when.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::indexes::{EventsBySeq, Ids, StoredEvent};
use super::topic_index::Topics;
use crate::event::{EventId, Incarnation, Selector, Seq, Topic};

/// PageLimit events one [`History::append`] drops beside those that its own topics and its own bytes
/// push out. Being over [`Retention::topics_max`] or [`Retention::age`] by more is left for later
/// appends and [`History::expire`].
pub const DROPS_PER_APPEND: usize = 64;

/// How much is kept. An event goes as soon as the first of these says so; zero anywhere keeps
/// nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Events per topic; at the limit a topic loses its oldest.
    pub events_per_topic: usize,
    /// An event of this age goes at the next [`History::expire`] or [`History::append`].
    pub age: Duration,
    /// Memory for events, topics and ids, bytes, as the constants of this module count it; at the
    /// limit the oldest events of all go. Never exceeded when a call returns.
    pub bytes: u64,
    /// Topics with kept events; above it the oldest events of all go until a topic has none left.
    /// May be exceeded for a while, because one append drops at limit [`DROPS_PER_APPEND`] for it.
    pub topics_max: usize,
}

/// An event that has its place and its wire form.
#[derive(Clone, Debug)]
pub struct Encoded<'a> {
    /// Where it goes; never empty, no topic twice.
    pub topics: &'a [Topic],
    /// The publisher's own id, if it gave one.
    pub id: Option<EventId>,
    /// The wire form. It has to own its memory: a slice of a larger buffer keeps the whole of it
    /// alive, and [`Retention::bytes`] can't see that.
    pub wire: Bytes,
}

/// What is kept at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// StoredEvent events; one in several topics counts once.
    pub events: usize,
    /// Topics with kept events.
    pub topics: usize,
    /// What [`Retention::bytes`] bounds.
    pub bytes: u64,
}

/// Recent events, by seq, by topic and by the publisher's id.
pub struct History {
    pub(super) retention: Retention,
    pub(super) age_nanos: u64,
    pub(super) incarnation: Incarnation,
    pub(super) last_seq: Seq,
    pub(super) by_seq: EventsBySeq,
    pub(super) topics: Topics,
    pub(super) ids: Ids,
}

impl History {
    /// An empty history whose first event will have seq 1.
    pub fn new(mut retention: Retention, incarnation: Incarnation) -> Self {
        if retention.events_per_topic == 0 {
            // A topic then keeps its newest for as long as it takes the byte limit to drop it: to
            // the end of `append`.
            (retention.events_per_topic, retention.bytes) = (1, 0);
        }
        Self {
            retention,
            age_nanos: nanos(retention.age),
            incarnation,
            last_seq: Seq(0),
            by_seq: EventsBySeq::default(),
            topics: Topics::new(retention.events_per_topic),
            ids: Ids::default(),
        }
    }

    /// The seq of the newest event there ever was; 0 before the first.
    pub fn last_seq(&self) -> Seq {
        self.last_seq
    }

    /// The seq the next event must be appended with. It is part of the wire form, hence known
    /// before.
    pub fn next_seq(&self) -> Seq {
        self.last_seq.next()
    }

    /// The numbering that [`Seq`]s and own ids belong to.
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Whether an id has the form of this numbering's own; a publisher may not use such an id.
    pub fn is_own(&self, id: &str) -> bool {
        self.incarnation.seq_of(id).is_some()
    }

    /// Keeps the next event, and drops what it pushes out. `seq` must be [`Self::next_seq`]; `now`
    /// is the time since the node started.
    ///
    /// Work: the event's topics, what has to go to make room for its bytes, and
    /// [`DROPS_PER_APPEND`] more at limit.
    pub fn append(&mut self, seq: Seq, event: Encoded<'_>, now: Duration) {
        debug_assert_eq!(seq, self.next_seq(), "seqs are dense");
        debug_assert!(!event.topics.is_empty(), "an event has a topic");
        self.last_seq = seq;
        if let Some(id) = &event.id {
            self.ids.add(id, seq);
        }
        let topics = self.topics.enter(event.topics);
        let kept =
            Arc::new(StoredEvent { seq, at: nanos(now), id: event.id, wire: event.wire, topics });
        self.by_seq.push(Arc::clone(&kept));
        for topic in kept.topics.as_slice() {
            if let Some(oldest) = self.topics.push(topic, &kept) {
                self.release(&oldest);
            }
        }
        while self.bytes() > self.retention.bytes && self.drop_oldest() {}
        self.expire(now, DROPS_PER_APPEND);
    }

    /// Drops what has reached its age, and what is over a limit, oldest first and at limit `budget`
    /// events. True if there is more to do.
    pub fn expire(&mut self, now: Duration, budget: usize) -> bool {
        let now = nanos(now);
        for _ in 0..budget {
            if !self.is_over(now) {
                return false;
            }
            self.drop_oldest();
        }
        self.is_over(now)
    }

    /// What is kept at the moment.
    pub fn stats(&self) -> Stats {
        Stats { events: self.by_seq.len(), topics: self.topics.len(), bytes: self.bytes() }
    }

    fn bytes(&self) -> u64 {
        self.by_seq.bytes() + self.topics.bytes()
    }

    fn is_over(&self, now: u64) -> bool {
        self.topics.len() > self.retention.topics_max
            || self
                .by_seq
                .oldest()
                .is_some_and(|kept| now.saturating_sub(kept.at) >= self.age_nanos)
    }

    /// Drops the oldest event of all, from every topic that still keeps it. False if there is none.
    fn drop_oldest(&mut self) -> bool {
        let Some(kept) = self.by_seq.drop_oldest() else { return false };
        for topic in kept.topics.as_slice() {
            self.topics.drop_through(topic, kept.seq);
        }
        self.forget_id(&kept);
        true
    }

    /// Drops an event that a topic has just let go of, unless another topic still keeps it.
    fn release(&mut self, kept: &Arc<StoredEvent>) {
        // One reference is ours, one is the order's, and each further one is a topic's: nobody else
        // ever has one, since readers take the wire bytes, and `&mut self` keeps readers out. So
        // the count is exact.
        if Arc::strong_count(kept) == 2 {
            self.by_seq.drop_one(kept);
            self.forget_id(kept);
        }
    }

    fn forget_id(&mut self, kept: &StoredEvent) {
        if let Some(id) = &kept.id {
            self.ids.remove(id);
        }
    }

    /// The highest seq that was dropped of what the selectors ask for, taken together.
    ///
    /// `*` is every event that any topic keeps, so beside it what a single topic has dropped
    /// doesn't matter. Of several topics each answers for itself: an event that one has dropped
    /// counts, even if another still has it.
    pub(super) fn dropped_through(&self, selectors: &[Selector]) -> Seq {
        match chosen(selectors) {
            None => self.by_seq.dropped_through(),
            Some(topics) => {
                topics.map(|topic| self.topics.dropped_through(topic)).max().unwrap_or_default()
            }
        }
    }

    /// The oldest kept event after `after` that the selectors ask for.
    pub(super) fn first_after(&self, selectors: &[Selector], after: Seq) -> Option<Seq> {
        match chosen(selectors) {
            None => self.by_seq.after(after).next().map(|kept| kept.seq),
            Some(topics) => topics
                .filter_map(|topic| self.topics.after(topic, after).next())
                .map(|k| k.seq)
                .min(),
        }
    }
}

/// The topics that are asked for, or `None` if `*` is among the selectors: it covers them all.
pub(super) fn chosen(selectors: &[Selector]) -> Option<impl Iterator<Item = &Topic>> {
    let all = selectors.contains(&Selector::All);
    (!all).then(|| {
        selectors.iter().filter_map(|selector| match selector {
            Selector::Topic(topic) => Some(topic),
            Selector::All => None,
        })
    })
}

/// 64 bits of nanoseconds are 584 years.
fn nanos(time: Duration) -> u64 {
    time.as_nanos().try_into().unwrap_or(u64::MAX)
}
