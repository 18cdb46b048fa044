//! What a replay has lost: events evicted after it began and before they were read.

use std::sync::Arc;

use super::store::{History, selected_topics};
use super::topic_index::TopicPosition;
use crate::event::{Selector, Seq, Topic};

/// Key of the next page, and which losses the stream already knows of.
///
/// Losing an event after [`Self::seq`] is a [`Gap`], unless it was evicted before the replay began:
/// a reset has announced it, or `earliest` did not ask for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    seq: Seq,
    /// `None` if nothing after `seq` had been evicted when the replay began.
    baseline: Option<Arc<Baseline>>,
    /// How far each selected topic has been read, in the order of the selectors, to count what is
    /// missed; `None` before the first page, after the last one, for `*`, and for several topics
    /// of which a page is read again.
    positions: Option<Arc<[Option<TopicPosition>]>>,
}

/// What had been evicted when a replay began.
#[derive(Debug, PartialEq, Eq)]
struct Baseline {
    /// The highest seq; the baseline is dropped when the replay has reached it.
    evicted_through: Seq,
    by: EvictedBy,
}

#[derive(Debug, PartialEq, Eq)]
enum EvictedBy {
    /// Of `*`.
    Store {
        /// Number of evictions.
        evictions: u64,
        /// The newest seq then: every later one that is evicted is missed.
        newest: Seq,
    },
    /// The highest seq that each selected topic had evicted, in the order of the selectors.
    Topics(Box<[Seq]>),
}

/// An event was evicted before the replay reached it: the stream has lagged out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at least {missed_at_least} events were evicted before they were replayed")]
pub struct Gap {
    /// Lower bound of the number of events missed, at least one.
    ///
    /// Exact for one topic that has had stored events ever since a page was read, and for `*`
    /// unless the replay began incomplete or more than 1024 stored events lie between the missed
    /// ones (`COUNTED_MAX`). Of several topics it is the count of the one that missed most: one
    /// event can be in several of them.
    pub missed_at_least: u64,
}

impl Replay {
    /// A replay of every event after `seq`.
    pub(crate) fn after(seq: Seq) -> Self {
        Self { seq, baseline: None, positions: None }
    }

    /// Every stored event up to this seq that the selectors match has been read.
    pub fn seq(&self) -> Seq {
        self.seq
    }

    /// The same replay, of which the events up to `seq` have been read.
    fn advanced_to(&self, seq: Seq) -> Self {
        let baseline = self.baseline.as_ref().filter(|baseline| baseline.evicted_through > seq);
        Self { baseline: baseline.cloned(), ..Self::after(seq) }
    }

    /// The same replay before the last `events` events of the page that it follows, which are those
    /// after `seq`. The page began at `from`.
    pub(crate) fn rewound(&self, from: &Self, seq: Seq, events: usize) -> Self {
        // Of several topics, it is not known which of them have the events.
        let positions = self.positions.as_deref().and_then(|positions| match positions {
            [position] => Some([position.map(|position| position.before(events as u64))].into()),
            _ => None,
        });
        Self { positions, ..from.advanced_to(seq) }
    }

    fn evicted_before(&self) -> Option<&EvictedBy> {
        self.baseline.as_ref().map(|baseline| &baseline.by)
    }
}

impl History {
    /// A replay of the events after `seq` that are stored at this moment and of all later ones.
    pub(super) fn replay_of_stored(&self, seq: Seq, selectors: &[Selector]) -> Replay {
        let evicted_through = self.evicted_through(selectors);
        if evicted_through <= seq {
            return Replay::after(seq);
        }
        let by = match selected_topics(selectors) {
            None => EvictedBy::Store {
                evictions: self.by_seq.evictions().count(),
                newest: self.last_seq,
            },
            Some(topics) => EvictedBy::Topics(
                topics.map(|topic| self.by_topic.evicted_through(topic)).collect(),
            ),
        };
        let baseline = Some(Arc::new(Baseline { evicted_through, by }));
        Replay { baseline, ..Replay::after(seq) }
    }

    /// The replay after a page that ended at `seq`.
    pub(super) fn advance(
        &self,
        selectors: &[Selector],
        replay: &Replay,
        seq: Seq,
        more: bool,
    ) -> Replay {
        let topics = selected_topics(selectors).filter(|_| more);
        let position = |topic| self.by_topic.position(topic, seq);
        let positions = topics.map(|topics| topics.map(position).collect());
        Replay { positions, ..replay.advanced_to(seq) }
    }

    /// Fails if an event after the replay's position was evicted since it began.
    pub(super) fn check_gap(&self, selectors: &[Selector], replay: &Replay) -> Result<(), Gap> {
        let missed = match selected_topics(selectors) {
            None => self.missed_of_all(replay),
            Some(topics) => self.missed_of_topics(topics, replay),
        };
        missed.map_or(Ok(()), |missed_at_least| Err(Gap { missed_at_least }))
    }

    fn missed_of_all(&self, replay: &Replay) -> Option<u64> {
        let (evictions, newest) = match replay.evicted_before() {
            Some(EvictedBy::Store { evictions, newest }) => (*evictions, *newest),
            _ => (0, Seq(0)),
        };
        let through = self.by_seq.evictions().highest_since(evictions);
        let known = replay.seq.max(newest);
        (through > replay.seq).then(|| self.by_seq.missing_at_least(known, through).max(1))
    }

    /// Each topic evicts in seq order, so the last event it evicted answers for all. An event that
    /// another selected topic still stores counts as lost once one of its topics has evicted it.
    fn missed_of_topics<'a>(
        &self,
        topics: impl Iterator<Item = &'a Topic>,
        replay: &Replay,
    ) -> Option<u64> {
        let before = match replay.evicted_before() {
            Some(EvictedBy::Topics(before)) => before,
            _ => &[][..],
        };
        let positions = replay.positions.as_deref().unwrap_or_default();
        let mut missed = None;
        for (index, topic) in topics.enumerate() {
            let known = before.get(index).map_or(replay.seq, |&seq| seq.max(replay.seq));
            if self.by_topic.evicted_through(topic) > known {
                let position = positions.get(index).copied().flatten();
                let count = position.map_or(1, |at| self.by_topic.evicted_after(topic, at));
                missed = missed.max(Some(count.max(1)));
            }
        }
        missed
    }
}
