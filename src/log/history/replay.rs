//! Where a subscriber's replay starts, and what it has to be told first (I6).
//!
//! Replay: kept events in bounded slices.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use bytes::Bytes;

use super::indexes::{Found, StoredEvent};
use super::store::{History, chosen};
use crate::event::{Position, Selector, Seq, Topic};

/// How a stream goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resume {
    /// What to read first.
    pub replay: Replay,
    /// What to tell before, if what was asked for can't be had.
    pub reset: Option<Reset>,
}

/// Tells a subscriber that what it asked for can't be replayed. Anything up to
/// [`History::last_seq`] at this moment may be missing from the stream that follows; what comes
/// after is complete, or announced again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reset {
    /// The id that was asked for.
    pub asked: Box<str>,
    /// Why it can't be had.
    pub reason: Reason,
    /// The oldest kept event that matches any of the selectors.
    pub oldest: Option<Seq>,
    /// The seq whose id the reset carries, if it may carry one: a client that reconnects with it,
    /// and nothing more dropped, is complete, and skips no event that is kept and that it has not
    /// had.
    ///
    /// For [`Reason::Expired`] that is the highest seq dropped of what the selectors ask for,
    /// unless there are kept events below it: several topics lose their events at different seqs,
    /// and one's loss may lie above what another still has. Then the reset must carry none. Its
    /// client goes on from the events that follow, and is told again if it comes back with one of
    /// those below. For the other reasons it is the last seq, from which the stream is live.
    pub from: Option<Seq>,
}

/// Why a position can't be resumed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Something after it has been dropped. What is left after it follows.
    Expired,
    /// No kept event has this id, and it isn't one of this numbering's own. Live events follow.
    UnknownId,
    /// More than one event has had this id. Live events follow.
    RepeatedId,
}

impl Reason {
    /// As the reset event says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::UnknownId => "unknown-id",
            Self::RepeatedId => "repeated-id",
        }
    }
}

impl History {
    /// Finds where a stream with these selectors starts. Work: the selectors, and one lookup.
    pub fn resume(&self, position: &Position, selectors: &[Selector]) -> Resume {
        match position {
            Position::Live => Resume { replay: Replay::after(self.last_seq), reset: None },
            Position::Earliest => {
                Resume { replay: Replay::earliest(self.losses(selectors)), reset: None }
            }
            Position::After(id) => match self.resolve_id(id) {
                Ok(seq) => self.resume_after(seq, id, selectors),
                Err(reason) => Resume {
                    replay: Replay::after(self.last_seq),
                    reset: Some(self.reset(id, reason, selectors, Some(self.last_seq))),
                },
            },
        }
    }

    /// The seq of the event with this id. A publisher's id goes before one of our own, and leads
    /// nowhere once its event is gone; ours tells its seq for as long as the numbering lasts.
    fn resolve_id(&self, id: &str) -> Result<Seq, Reason> {
        match self.ids.find(id, &self.by_seq) {
            Found::At(seq) => Ok(seq),
            Found::Repeated => Err(Reason::RepeatedId),
            Found::Nothing => self
                .incarnation
                .seq_of(id)
                .filter(|&seq| seq <= self.last_seq)
                .ok_or(Reason::UnknownId),
        }
    }

    fn resume_after(&self, seq: Seq, id: &str, selectors: &[Selector]) -> Resume {
        let dropped_through = self.dropped_through(selectors);
        if dropped_through <= seq {
            return Resume { replay: Replay::after(seq), reset: None };
        }
        let first = self.first_after(selectors, seq);
        let from = first.is_none_or(|first| first > dropped_through).then_some(dropped_through);
        Resume {
            replay: Replay::after_reset(seq, self.last_seq),
            reset: Some(self.reset(id, Reason::Expired, selectors, from)),
        }
    }

    fn reset(
        &self,
        asked: &str,
        reason: Reason,
        selectors: &[Selector],
        from: Option<Seq>,
    ) -> Reset {
        Reset { asked: asked.into(), reason, oldest: self.first_after(selectors, Seq(0)), from }
    }

    /// A number that changes when anything the selectors ask for is dropped: each part of it only
    /// rises.
    pub(super) fn losses(&self, selectors: &[Selector]) -> u64 {
        match chosen(selectors) {
            None => self.by_seq.dropped(),
            Some(topics) => {
                topics.fold(0, |sum, topic| self.topics.dropped_through(topic).0.wrapping_add(sum))
            }
        }
    }
}

/// How far a stream's replay has come.
///
/// Between two slices events can be dropped. Losing one that lies after [`Self::seq`] is a gap,
/// unless the stream was told already, or had no claim to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replay {
    seq: Seq,
    /// A loss at or below this seq was announced.
    told: Seq,
    /// [`History::losses`] when the replay began, if losses from before that are none to this
    /// stream.
    losses: u64,
}

impl Replay {
    /// Everything after `seq`, or a gap.
    pub fn after(seq: Seq) -> Self {
        Self { seq, told: Seq(0), losses: 0 }
    }

    /// What is left after `seq`; a reset has announced losses through `told`.
    pub(super) fn after_reset(seq: Seq, told: Seq) -> Self {
        Self { told, ..Self::after(seq) }
    }

    /// Everything kept now, or a gap.
    pub(super) fn earliest(losses: u64) -> Self {
        Self { losses, ..Self::after(Seq(0)) }
    }

    /// Everything up to here that is kept and asked for has been read.
    pub fn seq(&self) -> Seq {
        self.seq
    }
}

/// Bounds of one page. At least one event is read, whatever they say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageLimit {
    /// Events.
    pub events: usize,
    /// Bytes of wire form.
    pub bytes: usize,
}

/// What a read has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Where the next page starts.
    pub next: Replay,
    /// Whether a bound ended the page. If not, everything up to [`History::last_seq`] has been
    /// read.
    pub more: bool,
}

/// Something that was to be replayed has been dropped meanwhile: the stream has lagged out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at least {missed_at_least} events were dropped before they were replayed")]
pub struct Gap {
    /// How many events, at least one. For `*` those before the next one left; topics don't count
    /// what they lose.
    pub missed_at_least: u64,
}

impl History {
    /// Appends the next events that match any of the selectors to `out`, in seq order, each once.
    /// After a gap, nothing.
    ///
    /// Work: the events read, and for several topics their number, each with a search of its queue.
    pub fn read(
        &self,
        selectors: &[Selector],
        replay: Replay,
        limit: PageLimit,
        out: &mut Vec<(Seq, Bytes)>,
    ) -> Result<Page, Gap> {
        self.check(selectors, replay)?;
        let mut builder = PageBuilder { limit, events: 0, bytes: 0, last: replay.seq, out };
        let more = match (selectors, chosen(selectors)) {
            (_, None) => builder.all(self.by_seq.after(replay.seq)),
            ([Selector::Topic(topic)], _) => builder.all(self.topics.after(topic, replay.seq)),
            (_, Some(topics)) => self.merge(topics, &mut builder),
        };
        let seq = if more { builder.last } else { self.last_seq };
        Ok(Page { next: Replay { seq, ..replay }, more })
    }

    fn check(&self, selectors: &[Selector], replay: Replay) -> Result<(), Gap> {
        let known = replay.seq.max(replay.told);
        if self.dropped_through(selectors) <= known || self.losses(selectors) == replay.losses {
            return Ok(());
        }
        let mut missed_at_least = 1;
        // Every seq is an event of `*`: none is left before the first, and this stream was to have
        // them all unless it began with what was left of the earliest.
        if chosen(selectors).is_none() && replay.losses == 0 {
            let first = self.first_after(selectors, known).unwrap_or(self.next_seq());
            missed_at_least = missed_at_least.max(first.0 - known.0 - 1);
        }
        Err(Gap { missed_at_least })
    }

    /// Reads several topics as one. An event in two of them comes up twice in a row and is taken
    /// once.
    fn merge<'a>(
        &self,
        topics: impl Iterator<Item = &'a Topic>,
        builder: &mut PageBuilder<'_>,
    ) -> bool {
        let after = builder.last;
        let mut queues: Vec<_> = topics.map(|topic| self.topics.after(topic, after)).collect();
        let mut heads = BinaryHeap::with_capacity(queues.len());
        let head = |kept: &Arc<StoredEvent>, queue| Reverse((kept.seq, queue));
        let mut fronts: Vec<_> = queues.iter_mut().map(Iterator::next).collect();
        heads.extend(
            fronts
                .iter()
                .enumerate()
                .filter_map(|(queue, front)| front.map(|kept| head(kept, queue))),
        );
        while let Some(Reverse((seq, queue))) = heads.pop() {
            let kept = fronts[queue].expect("a queue with a head has a front");
            if seq > builder.last && !builder.take(kept) {
                return true;
            }
            fronts[queue] = queues[queue].next();
            heads.extend(fronts[queue].map(|kept| head(kept, queue)));
        }
        false
    }
}

/// A page in the making.
struct PageBuilder<'a> {
    limit: PageLimit,
    events: usize,
    bytes: usize,
    last: Seq,
    out: &'a mut Vec<(Seq, Bytes)>,
}

impl PageBuilder<'_> {
    /// Takes events until a bound says no; then true.
    fn all<'a>(&mut self, mut events: impl Iterator<Item = &'a Arc<StoredEvent>>) -> bool {
        events.any(|kept| !self.take(kept))
    }

    /// Takes an event, unless that would pass a bound.
    fn take(&mut self, kept: &StoredEvent) -> bool {
        let bytes = self.bytes.saturating_add(kept.wire.len());
        if self.events > 0 && (self.events >= self.limit.events || bytes > self.limit.bytes) {
            return false;
        }
        self.out.push((kept.seq, kept.wire.clone()));
        (self.events, self.bytes, self.last) = (self.events + 1, bytes, kept.seq);
        true
    }
}
