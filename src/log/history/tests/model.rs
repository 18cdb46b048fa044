//! Reference model of the history: a `Vec` of all events ever appended, each with the topics that
//! still store it.
//!
//! Every query is a linear search: the model favours obvious correctness over speed.

use std::collections::BTreeSet;

use super::*;
use crate::log::history::indexes::{EVENT_BYTES, ID_BYTES, TOPIC_BYTES, TOPIC_REF_BYTES};

pub(super) const TOPICS: usize = 6;
pub(super) const IDS: u64 = 5;

pub(super) struct ModelEvent {
    pub(super) topics: Vec<usize>,
    pub(super) stored_in: BTreeSet<usize>,
    pub(super) id: Option<u64>,
    pub(super) appended_at: Duration,
    pub(super) bytes: usize,
}

pub(super) struct Model {
    topics: Vec<Topic>,
    retention: Retention,
    pub(super) now: Duration,
    /// `events[n]` has seq `n + 1`.
    events: Vec<ModelEvent>,
    /// Publishers' ids that are ambiguous: two events with the id were stored at the same time, and
    /// at least one event with the id has been stored ever since.
    repeated: BTreeSet<u64>,
}

impl Model {
    pub(super) fn new(retention: Retention) -> Self {
        Self {
            topics: (0..TOPICS).map(|n| topic(&format!("topic {n}"))).collect(),
            retention,
            now: Duration::ZERO,
            events: Vec::new(),
            repeated: BTreeSet::new(),
        }
    }

    pub(super) fn topic(&self, topic: usize) -> Topic {
        self.topics[topic].clone()
    }

    pub(super) fn last(&self) -> u64 {
        self.events.len() as u64
    }

    pub(super) fn event(&self, seq: u64) -> &ModelEvent {
        &self.events[seq as usize - 1]
    }

    pub(super) fn stored(&self) -> impl Iterator<Item = u64> {
        (1..=self.last()).filter(|&seq| !self.event(seq).stored_in.is_empty())
    }

    pub(super) fn topics_stored(&self) -> BTreeSet<usize> {
        self.events.iter().flat_map(|event| event.stored_in.iter().copied()).collect()
    }

    pub(super) fn bytes(&self) -> u64 {
        let name = |&topic: &usize| self.topics[topic].as_str().len() as u64;
        let topics =
            self.topics_stored().iter().map(|topic| TOPIC_BYTES + name(topic)).sum::<u64>();
        let cost = |event: &ModelEvent| {
            let id = event.id.map_or(0, |id| ID_BYTES + publisher_id(id).len() as u64);
            EVENT_BYTES + event.bytes as u64 + TOPIC_REF_BYTES * event.topics.len() as u64 + id
        };
        topics + self.stored().map(|seq| cost(self.event(seq))).sum::<u64>()
    }

    pub(super) fn append(&mut self, topics: &[usize], id: Option<u64>, bytes: usize) {
        self.repeated.extend(id.filter(|id| self.stored_ids().contains(id)));
        self.events.push(ModelEvent {
            topics: topics.to_vec(),
            stored_in: topics.iter().copied().collect(),
            id,
            appended_at: self.now,
            bytes,
        });
        for topic in topics {
            let mut stored: Vec<_> =
                self.events.iter_mut().filter(|event| event.stored_in.contains(topic)).collect();
            if stored.len() > self.retention.events_per_topic {
                stored[0].stored_in.remove(topic);
            }
        }
        while self.bytes() > self.retention.bytes {
            self.evict_oldest();
        }
        self.expire(EVICTIONS_PER_APPEND);
    }

    fn evict_oldest(&mut self) {
        let oldest = self.stored().next().expect("a limit is exceeded");
        self.events[oldest as usize - 1].stored_in.clear();
    }

    pub(super) fn expire(&mut self, budget: usize) -> bool {
        let must_evict = |model: &Self| {
            let is_expired = |seq| model.now - model.event(seq).appended_at >= model.retention.age;
            model.topics_stored().len() > model.retention.topics_max
                || model.stored().next().is_some_and(is_expired)
        };
        for _ in 0..budget {
            if must_evict(self) {
                self.evict_oldest();
            }
        }
        let stored_ids = self.stored_ids();
        self.repeated.retain(|id| stored_ids.contains(id));
        must_evict(self)
    }

    fn stored_ids(&self) -> BTreeSet<u64> {
        self.stored().filter_map(|seq| self.event(seq).id).collect()
    }

    pub(super) fn is_readable(&self, seq: u64, all: bool, topics: &[usize]) -> bool {
        let stored_in = &self.event(seq).stored_in;
        if all {
            !stored_in.is_empty()
        } else {
            topics.iter().any(|topic| stored_in.contains(topic))
        }
    }

    /// Whether a selected topic has evicted the event; for `*`, whether all its topics have.
    pub(super) fn is_lost(&self, seq: u64, all: bool, topics: &[usize]) -> bool {
        let event = self.event(seq);
        let lost = |topic: &usize| topics.contains(topic) && !event.stored_in.contains(topic);
        if all { event.stored_in.is_empty() } else { event.topics.iter().any(lost) }
    }

    /// The seq of the event with this id.
    fn resolve_id(&self, id: &str) -> Result<u64, Reason> {
        if let Some(n) = (0..IDS).find(|&n| publisher_id(n) == id) {
            if self.repeated.contains(&n) {
                return Err(Reason::RepeatedId);
            }
            if let Some(seq) = self.stored().find(|&seq| self.event(seq).id == Some(n)) {
                return Ok(seq);
            }
        }
        let is_assigned = |&seq: &u64| incarnation().id(Seq(seq)) == id;
        (0..=self.last()).find(is_assigned).ok_or(Reason::UnknownId)
    }

    /// The seq a stream starts after, and its reset.
    pub(super) fn resume(
        &self,
        position: &Position,
        all: bool,
        topics: &[usize],
    ) -> (u64, Option<Reset>) {
        let asked = match position {
            Position::Live => return (self.last(), None),
            Position::Earliest => return (0, None),
            Position::After(id) => id,
        };
        let oldest = self.stored().find(|&seq| self.is_readable(seq, all, topics)).map(Seq);
        let reset = |reason, from: Option<u64>| {
            Some(Reset { asked: asked.clone(), reason, oldest, from: from.map(Seq) })
        };
        let seq = match self.resolve_id(asked) {
            Err(reason) => return (self.last(), reset(reason, Some(self.last()))),
            Ok(seq) => seq,
        };
        let later = || seq + 1..=self.last();
        match later().rev().find(|&seq| self.is_lost(seq, all, topics)) {
            None => (seq, None),
            Some(lost) => {
                let readable = (seq + 1..=lost).any(|seq| self.is_readable(seq, all, topics));
                (seq, reset(Reason::Expired, (!readable).then_some(lost)))
            }
        }
    }

    pub(super) fn selectors(&self, all: bool, topics: &[usize]) -> Vec<Selector> {
        let topics = topics.iter().map(|&topic| Selector::Topic(self.topic(topic)));
        topics.chain(all.then_some(Selector::All)).collect()
    }

    /// Number of these events that fit a page.
    pub(super) fn page_len(&self, seqs: &[u64], limit: PageLimit) -> usize {
        let bytes = |n: usize| seqs[..n].iter().map(|&seq| self.event(seq).bytes).sum::<usize>();
        let fits = |&n: &usize| n <= 1 || (n <= limit.events && bytes(n) <= limit.bytes);
        (0..=seqs.len()).take_while(fits).last().unwrap()
    }
}

pub(super) fn incarnation() -> Incarnation {
    Incarnation::from_bits(99)
}

pub(super) fn publisher_id(n: u64) -> String {
    format!("custom {n}")
}
