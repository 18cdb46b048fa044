//! Replay: keyset pagination over the history, keyed by seq.
//!
//! [`History::resume`] turns a subscriber's [`Position`] into a [`Replay`], the key of the first
//! page, and decides whether the stream must announce a reset first (I6). [`History::read`] returns
//! one page at a time. Between two pages events can be evicted; a replay that would skip one of
//! them without an announcement ends with a [`Gap`].

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use bytes::Bytes;

use super::gap::{Gap, Replay};
use super::indexes::{IdLookup, StoredEvent};
use super::store::{History, selected_topics};
use crate::event::{Position, Selector, Seq, Topic};

/// Where a stream starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resume {
    /// The key of the first page.
    pub replay: Replay,
    /// The reset to send first, if the position can't be resumed from.
    pub reset: Option<Reset>,
}

/// Tells a subscriber that its position can't be resumed from. Events evicted up to this moment may
/// be missing from the stream that follows; a stored event that is evicted before it is replayed is
/// a [`Gap`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reset {
    /// The id the subscriber sent.
    pub asked: Box<str>,
    /// Why it can't be resumed from.
    pub reason: Reason,
    /// The oldest stored event that the selectors match.
    pub oldest: Option<Seq>,
    /// The seq whose id the reset event carries, if it may carry one: a client that reconnects with
    /// that id resumes completely, provided nothing else is evicted, and skips no stored event that
    /// it has not received.
    ///
    /// For [`Reason::Expired`] it is the highest evicted seq that the selectors match, if no event
    /// between the requested id and that seq is still stored for them. With several topics one can
    /// be: `a` may have lost event 5 while `b` still stores event 3. The reset then carries no id.
    /// The stream continues with event 3, and a client that reconnects from an event before 5
    /// receives another reset.
    ///
    /// For the other reasons it is the newest seq, from which the stream is live.
    pub from: Option<Seq>,
}

/// Why a position can't be resumed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// An event after it has been evicted. The remaining events after it follow.
    Expired,
    /// No stored event has this id, and it is no node-assigned id of this incarnation. Live events
    /// follow.
    UnknownId,
    /// Several events have had this id. Live events follow.
    RepeatedId,
}

impl Reason {
    /// The reason as written in the reset event.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::UnknownId => "unknown-id",
            Self::RepeatedId => "repeated-id",
        }
    }
}

/// Limits of one page. A page contains at least one event if there is one, whatever its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageLimit {
    /// Events.
    pub events: usize,
    /// Bytes of wire form.
    pub bytes: usize,
}

/// How a page ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The key of the next page.
    pub next: Replay,
    /// Whether a limit ended the page. If not, every event up to the newest has been read.
    pub more: bool,
}

impl History {
    /// Resolves a position to the start of a replay. Work: one lookup per selector, and one for the
    /// id.
    pub fn resume(&self, position: &Position, selectors: &[Selector]) -> Resume {
        match position {
            Position::Live => Resume { replay: Replay::after(self.last_seq), reset: None },
            Position::Earliest => {
                Resume { replay: self.replay_of_stored(Seq(0), selectors), reset: None }
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

    /// The seq of the event with this id. A publisher's id takes precedence over a node-assigned
    /// one. It is known as long as its event is stored; a node-assigned id, as long as the
    /// incarnation lasts.
    fn resolve_id(&self, id: &str) -> Result<Seq, Reason> {
        match self.by_id.find(id, &self.by_seq) {
            IdLookup::Unique(seq) => Ok(seq),
            IdLookup::Repeated => Err(Reason::RepeatedId),
            IdLookup::Unknown => self
                .incarnation
                .seq_of(id)
                .filter(|&seq| seq <= self.last_seq)
                .ok_or(Reason::UnknownId),
        }
    }

    fn resume_after(&self, seq: Seq, id: &str, selectors: &[Selector]) -> Resume {
        let evicted_through = self.evicted_through(selectors);
        if evicted_through <= seq {
            return Resume { replay: Replay::after(seq), reset: None };
        }
        let first = self.first_after(selectors, seq);
        let from = first.is_none_or(|first| first > evicted_through).then_some(evicted_through);
        Resume {
            replay: self.replay_of_stored(seq, selectors),
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

    /// Appends the next page to `out`: events that match any of the selectors, in seq order, each
    /// once.
    ///
    /// Work: the events read; for several topics also a binary search per topic.
    ///
    /// # Errors
    ///
    /// [`Gap`] if an event of this replay was evicted since it began; `out` is unchanged.
    pub fn read(
        &self,
        selectors: &[Selector],
        replay: &Replay,
        limit: PageLimit,
        out: &mut Vec<(Seq, Bytes)>,
    ) -> Result<Page, Gap> {
        self.check_gap(selectors, replay)?;
        let mut page = PageBuilder { limit, events: 0, bytes: 0, last: replay.seq(), out };
        let more = match (selectors, selected_topics(selectors)) {
            (_, None) => page.fill(self.by_seq.after(replay.seq())),
            ([Selector::Topic(topic)], _) => page.fill(self.by_topic.after(topic, replay.seq())),
            (_, Some(topics)) => self.merge(topics, &mut page),
        };
        let seq = if more { page.last } else { self.last_seq };
        Ok(Page { next: self.advance(selectors, replay, seq, more), more })
    }

    /// K-way merge of the topics' queues by seq. An event in several of them comes out of the heap
    /// several times in a row and is added once. Returns whether a limit ended the page.
    fn merge<'a>(
        &self,
        topics: impl Iterator<Item = &'a Topic>,
        page: &mut PageBuilder<'_>,
    ) -> bool {
        let after = page.last;
        let mut queues: Vec<_> = topics.map(|topic| self.by_topic.after(topic, after)).collect();
        let mut heads: Vec<_> = queues.iter_mut().map(Iterator::next).collect();
        let mut heap = BinaryHeap::with_capacity(queues.len());
        let key = |event: &Arc<StoredEvent>, queue| Reverse((event.seq, queue));
        heap.extend(
            heads.iter().enumerate().filter_map(|(queue, head)| head.map(|head| key(head, queue))),
        );
        while let Some(Reverse((seq, queue))) = heap.pop() {
            let head = heads[queue].expect("a queue in the heap has a head");
            if seq > page.last && !page.push(head) {
                return true;
            }
            heads[queue] = queues[queue].next();
            heap.extend(heads[queue].map(|head| key(head, queue)));
        }
        false
    }
}

struct PageBuilder<'a> {
    limit: PageLimit,
    events: usize,
    bytes: usize,
    last: Seq,
    out: &'a mut Vec<(Seq, Bytes)>,
}

impl PageBuilder<'_> {
    /// Adds events until a limit is reached; returns whether one was.
    fn fill<'a>(&mut self, mut events: impl Iterator<Item = &'a Arc<StoredEvent>>) -> bool {
        events.any(|event| !self.push(event))
    }

    /// Adds an event unless it would exceed a limit; returns whether it was added.
    fn push(&mut self, event: &StoredEvent) -> bool {
        let bytes = self.bytes.saturating_add(event.wire.len());
        if self.events > 0 && (self.events >= self.limit.events || bytes > self.limit.bytes) {
            return false;
        }
        self.out.push((event.seq, event.wire.clone()));
        (self.events, self.bytes, self.last) = (self.events + 1, bytes, event.seq);
        true
    }
}
