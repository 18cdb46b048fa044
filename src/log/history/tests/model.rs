//! A history as a `Vec` that remembers every event there ever was, and knows which topics still
//! keep it.
//!
//! It searches everything for every question: it is to be right, not quick.

use std::collections::BTreeSet;

use super::*;
use crate::event::Position;

pub(super) const TOPICS: usize = 6;
pub(super) const IDS: u64 = 5;

pub(super) struct Past {
    pub(super) topics: Vec<usize>,
    pub(super) kept_in: BTreeSet<usize>,
    pub(super) id: Option<u64>,
    pub(super) at: Duration,
    pub(super) bytes: usize,
}

pub(super) struct Model {
    pub(super) names: Vec<Topic>,
    pub(super) retention: Retention,
    pub(super) now: Duration,
    /// Event `n` has seq `n + 1`.
    pub(super) past: Vec<Past>,
    pub(super) repeated: BTreeSet<u64>,
}

impl Model {
    pub(super) fn last(&self) -> u64 {
        self.past.len() as u64
    }

    pub(super) fn at(&self, seq: u64) -> &Past {
        &self.past[seq as usize - 1]
    }

    pub(super) fn kept(&self) -> impl Iterator<Item = u64> {
        (1..=self.last()).filter(|&seq| !self.at(seq).kept_in.is_empty())
    }

    pub(super) fn topics_kept(&self) -> BTreeSet<usize> {
        self.past.iter().flat_map(|past| past.kept_in.iter().copied()).collect()
    }

    pub(super) fn bytes(&self) -> u64 {
        let name = |&topic: &usize| self.names[topic].as_str().len() as u64;
        let topics = self.topics_kept().iter().map(|topic| TOPIC_BYTES + name(topic)).sum::<u64>();
        let event = |past: &Past| {
            let id = past.id.map_or(0, |id| ID_BYTES + custom(id).len() as u64);
            EVENT_BYTES + past.bytes as u64 + PLACE_BYTES * past.topics.len() as u64 + id
        };
        topics + self.kept().map(|seq| event(self.at(seq))).sum::<u64>()
    }

    pub(super) fn append(&mut self, topics: &[usize], id: Option<u64>, bytes: usize) {
        self.repeated.extend(id.filter(|&id| self.kept().any(|seq| self.at(seq).id == Some(id))));
        let kept_in = topics.iter().copied().collect();
        self.past.push(Past { topics: topics.to_vec(), kept_in, id, at: self.now, bytes });
        for topic in topics {
            let mut kept: Vec<_> =
                self.past.iter_mut().filter(|past| past.kept_in.contains(topic)).collect();
            if kept.len() > self.retention.events_per_topic {
                kept[0].kept_in.remove(topic);
            }
        }
        while self.bytes() > self.retention.bytes {
            self.drop_oldest();
        }
        self.trim(DROPS_PER_APPEND);
    }

    pub(super) fn drop_oldest(&mut self) {
        let oldest = self.kept().next().expect("something is over a limit");
        self.past[oldest as usize - 1].kept_in.clear();
    }

    pub(super) fn trim(&mut self, budget: usize) -> bool {
        let over = |model: &Self| {
            let aged = |seq| model.now - model.at(seq).at >= model.retention.age;
            model.topics_kept().len() > model.retention.topics_max
                || model.kept().next().is_some_and(aged)
        };
        (0..budget).for_each(|_| {
            if over(self) {
                self.drop_oldest()
            }
        });
        over(self)
    }

    pub(super) fn is_for(&self, seq: u64, all: bool, topics: &[usize]) -> bool {
        all || self.at(seq).topics.iter().any(|topic| topics.contains(topic))
    }

    pub(super) fn is_readable(&self, seq: u64, all: bool, topics: &[usize]) -> bool {
        let kept_in = &self.at(seq).kept_in;
        if all { !kept_in.is_empty() } else { topics.iter().any(|topic| kept_in.contains(topic)) }
    }

    /// Whether a topic that is asked for has lost the event; for `*`, whether all have.
    pub(super) fn is_lost(&self, seq: u64, all: bool, topics: &[usize]) -> bool {
        let past = self.at(seq);
        let lost = |topic: &usize| topics.contains(topic) && !past.kept_in.contains(topic);
        if all { past.kept_in.is_empty() } else { past.topics.iter().any(lost) }
    }

    /// The seq an id leads to.
    pub(super) fn resolve_id(&self, id: &str) -> Result<u64, Reason> {
        if let Some(n) = (0..IDS).find(|&n| custom(n) == id) {
            if self.repeated.contains(&n) {
                return Err(Reason::RepeatedId);
            }
            if let Some(seq) = self.kept().find(|&seq| self.at(seq).id == Some(n)) {
                return Ok(seq);
            }
        }
        let own = |&seq: &u64| incarnation().id(Seq(seq)) == id;
        (0..=self.last()).find(own).ok_or(Reason::UnknownId)
    }

    /// Where a stream starts, what it is told, and which of the events so far it is to have.
    pub(super) fn resume(
        &self,
        position: &Position,
        all: bool,
        topics: &[usize],
    ) -> (u64, Option<Reset>, BTreeSet<u64>) {
        let asked = match position {
            Position::Live => return (self.last(), None, BTreeSet::new()),
            Position::Earliest => {
                return (
                    0,
                    None,
                    self.kept().filter(|&seq| self.is_readable(seq, all, topics)).collect(),
                );
            }
            Position::After(id) => id,
        };
        let oldest = self.kept().find(|&seq| self.is_readable(seq, all, topics)).map(Seq);
        let reset = |reason, from: Option<u64>| {
            Some(Reset { asked: asked.clone(), reason, oldest, from: from.map(Seq) })
        };
        let seq = match self.resolve_id(asked) {
            Err(reason) => return (self.last(), reset(reason, Some(self.last())), BTreeSet::new()),
            Ok(seq) => seq,
        };
        let later = || seq + 1..=self.last();
        match later().rev().find(|&seq| self.is_lost(seq, all, topics)) {
            None => (seq, None, later().filter(|&seq| self.is_for(seq, all, topics)).collect()),
            Some(lost) => {
                let left = (seq + 1..=lost).any(|seq| self.is_readable(seq, all, topics));
                (seq, reset(Reason::Expired, (!left).then_some(lost)), BTreeSet::new())
            }
        }
    }

    pub(super) fn selectors(&self, all: bool, topics: &[usize]) -> Vec<Selector> {
        let topics = topics.iter().map(|&topic| Selector::Topic(self.names[topic].clone()));
        topics.chain(all.then_some(Selector::All)).collect()
    }

    /// How many of these a slice takes.
    pub(super) fn bounded(&self, seqs: &[u64], limit: PageLimit) -> usize {
        let bytes = |n: usize| seqs[..n].iter().map(|&seq| self.at(seq).bytes).sum::<usize>();
        let fits = |&n: &usize| n <= 1 || (n <= limit.events && bytes(n) <= limit.bytes);
        (0..=seqs.len()).take_while(fits).last().unwrap()
    }
}

/// Names whose topics share no bucket of what is losses, so that the model needs no false
/// alarms.
pub(super) fn names() -> Vec<Topic> {
    let mut buckets = BTreeSet::new();
    let all = (0..).map(|n| Topic::new(&format!("topic {n}")).unwrap());
    all.filter(|topic| buckets.insert(topic.hash_key() >> 48)).take(TOPICS).collect()
}

pub(super) fn incarnation() -> Incarnation {
    Incarnation::from_bits(99)
}

/// A publisher's id. The first has the form of our own: it goes before our own.
pub(super) fn custom(n: u64) -> String {
    if n == 0 { incarnation().id(Seq(3)) } else { format!("custom {n}") }
}
