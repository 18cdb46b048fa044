//! Where a subscriber's replay starts, and what it has to be told first (I6).

use super::ids::Found;
use super::read::Replay;
use super::{History, chosen};
use crate::event::{Position, Selector, Seq};

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
