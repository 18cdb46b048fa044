//! The plain model: a list of all that was published.

use std::ops::RangeInclusive;

use crate::config::Config;
use crate::event::{EventId, Incarnation, Seq, Topic};

/// More than an event's encoding takes beside its data, and a batch beside its events.
const OVERHEAD: u64 = 1024;

/// A set of topics, one bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Topics(pub(super) u8);

impl Topics {
    /// What `*` selects.
    pub(super) const ALL: Self = Self(u8::MAX);

    pub(super) fn of(topic: usize) -> Self {
        Self(1 << topic)
    }

    pub(super) fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(super) fn names(self, names: &[Topic]) -> impl Iterator<Item = Topic> {
        let names = names.iter().enumerate();
        names.filter(move |&(topic, _)| self.meets(Self::of(topic))).map(|(_, name)| name.clone())
    }
}

pub(super) struct Published {
    pub(super) topics: Topics,
    pub(super) id: Option<EventId>,
    /// Length of its data.
    pub(super) bytes: usize,
}

/// Events that the sequencer took as one batch.
struct Batch {
    first: u64,
    topics: Topics,
    bytes: u64,
}

pub(super) struct Model {
    /// `events[n]` has seq `n + 1`: the queue is first in, first out.
    events: Vec<Published>,
    batches: Vec<Batch>,
    /// The last event that the sequencer has taken.
    pub(super) last: u64,
    incarnation: Incarnation,
    window: usize,
    window_bytes: u64,
}

impl Model {
    pub(super) fn new(incarnation: Incarnation, config: &Config) -> Self {
        let (window, window_bytes) = (config.window, config.window_bytes);
        let (events, batches) = (Vec::new(), Vec::new());
        Self { events, batches, last: 0, incarnation, window, window_bytes }
    }

    /// The seq of the next event that the queue accepts.
    pub(super) fn next(&self) -> u64 {
        self.events.len() as u64 + 1
    }

    /// The queue has accepted an event.
    pub(super) fn push(&mut self, event: Published) {
        self.events.push(event);
    }

    /// The sequencer has taken everything up to `last` as one batch.
    pub(super) fn took(&mut self, last: u64) {
        let mut batch = Batch { first: self.last + 1, topics: Topics(0), bytes: OVERHEAD };
        for seq in batch.first..=last {
            batch.topics.0 |= self.event(seq).topics.0;
            batch.bytes += self.event(seq).bytes as u64 + OVERHEAD;
        }
        self.batches.push(batch);
        self.last = last;
    }

    pub(super) fn event(&self, seq: u64) -> &Published {
        &self.events[seq as usize - 1]
    }

    /// The seqs in `range` that `selected` includes.
    pub(super) fn selected(
        &self,
        selected: Topics,
        range: RangeInclusive<u64>,
    ) -> impl Iterator<Item = u64> {
        range.filter(move |&seq| self.event(seq).topics.meets(selected))
    }

    /// The id that the event at `seq` has on the wire.
    pub(super) fn id(&self, seq: u64) -> String {
        let own = self.event(seq).id.as_ref();
        own.map_or_else(|| self.node_id(seq), |id| id.as_str().to_owned())
    }

    pub(super) fn node_id(&self, seq: u64) -> String {
        self.incarnation.id(Seq(seq))
    }

    /// The seq of a node-assigned id.
    pub(super) fn seq_of(&self, id: &str) -> Option<u64> {
        self.incarnation.seq_of(id).map(|seq| seq.0)
    }

    /// Whether the rings of these topics must still have all after `seq`: neither the epochs nor
    /// the bytes since have reached their bound.
    pub(super) fn window_has(&self, selected: Topics, seq: u64) -> bool {
        let Some(next) = self.selected(selected, seq + 1..=self.last).next() else { return true };
        let since = self.batches.partition_point(|batch| batch.first <= next) - 1;
        let batches = &self.batches[since..];
        let bytes: u64 = batches.iter().map(|batch| batch.bytes).sum();
        // A ring gets at most one epoch of each batch.
        let epochs = batches.iter().filter(|batch| batch.topics.meets(selected)).count();
        epochs <= self.window && bytes <= self.window_bytes
    }
}
