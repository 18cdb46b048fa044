//! One subscriber's stream of events: replay from the log, then live events from its rings, then
//! the event that ends it.
//!
//! [`Session::next_slice`] yields whole chunks and never waits. Both ways of writing to a socket
//! read from it: hyper's response body and the shard's pump. A session knows its rings, the log it
//! pages through and a few values, not its shard.
//!
//! # From replay to live
//!
//! The session subscribes first, with its cursors at the rings' ends, so from then on the rings
//! hold what is published for it. A stream that starts live then reads the seq of the newest event
//! in the log, without its lock ([`Appended`](crate::log::Appended)): an event up to it is skipped
//! in every ring, an event above it is behind the cursor in every ring that has it. So all rings
//! start at one seq, although their ends were read one after the other.
//!
//! A replay goes page by page: move the cursors to the rings' ends, *then*
//! read the log after the last event sent. The sequencer appends a batch to the log before it
//! publishes it to a ring, so everything before the cursors was in the log by the time of the read.
//! If the page was not full, the log had nothing more, and reading the rings from the cursors on
//! misses nothing; what is in both is skipped by its seq. The cursors move along while the replay
//! lasts, so a long replay can't lag out of a ring. Only what retention evicts meanwhile can be
//! missed, and then the stream sends `lagged` and ends (I6).
//!
//! # Catching up in place
//!
//! A live session whose next event has left a ring, because its socket was blocked or because the
//! node itself was late, continues from the log after the last event sent: it replays, as above,
//! and is live again after the last page. The client notices nothing (I10). The stream is lagged
//! out only if the log has evicted an event it needs, or if it has been behind for
//! `FANFARE_LAG_MAX`: a reader that is slower than its topics would read pages, which takes the
//! lock the sequencer appends under, for as long as it likes.
//!
//! If the sequencer has the log just then, the session asks to be visited again
//! ([`Next::Later`]); a shard never waits for the log.
//!
//! Files, in dependency order: `control` (the node's own events), `signals` (requests to a
//! session), `subscription`, `merge` (the rings of a session in one order), this one.
#![forbid(unsafe_code)]

mod control;
mod merge;
#[cfg(all(test, ring_loom))]
mod model;
mod signals;
mod subscription;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;

use crate::config::Config;
use crate::event::{Chunks, Position, Selector, Seq, wire};
use crate::log::{Log, history};
use crate::quota::{Permit, Quota};
use crate::ring::{Reader, RingsFull, Watermark};
pub(crate) use control::busy;
use control::jittered;
#[doc(hidden)]
pub use merge::MergedRings;
use merge::{Cursor, Scan, Step};
pub(crate) use signals::Signals;
pub(crate) use subscription::{Subscription, Unsubscribe};

/// Bounds of one page of a replay: reading it holds the lock that the sequencer appends under.
const REPLAY_PAGE: history::PageLimit = history::PageLimit { events: 64, bytes: 64 * 1024 };

/// What the sessions of one shard share.
pub(crate) struct SessionContext {
    pub(crate) log: Arc<Log>,
    /// Wakes the shard for the sessions that asked to be visited later.
    pub(crate) waker: Waker,
    pub(crate) watermark: Arc<Watermark>,
    pub(crate) reader: Reader,
    pub(crate) retry: Retry,
    /// How long a session may be behind (`FANFARE_LAG_MAX`).
    pub(crate) lag_max: Duration,
    /// The shard's time.
    pub(crate) now: Cell<Duration>,
    pub(crate) subscriptions: Rc<dyn Unsubscribe>,
    /// Subscriptions of the node's streams.
    pub(crate) subscription_quota: Arc<Quota>,
}

/// The bounds between which a stream's reconnection time is drawn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retry {
    min: Duration,
    max: Duration,
}

impl From<&Config> for Retry {
    fn from(config: &Config) -> Self {
        Self { min: config.retry_min, max: config.retry_max }
    }
}

impl Retry {
    /// A reconnection time between the bounds.
    pub(crate) fn draw(self) -> Duration {
        jittered(self.min, self.max)
    }
}

/// The state of one stream. Dropping it gives up its subscriptions and its permit.
pub(crate) struct Session {
    context: Rc<SessionContext>,
    cursors: Box<[Cursor]>,
    /// The last event sent, or skipped.
    last: Seq,
    phase: Phase,
    _permit: Permit,
}

enum Phase {
    /// The preamble is still to be sent; then the replay, if one was asked for.
    Opening(Bytes, Option<Box<Start>>),
    /// The position is still to be resolved.
    Resuming(Box<Start>),
    /// Boxed: it is dropped when the stream is live.
    Replay(Box<Replay>),
    Live(Scan),
    Ended,
}

impl Phase {
    fn live() -> Self {
        Self::Live(Scan::default())
    }
}

/// Where a stream was asked to start.
struct Start {
    selectors: Box<[Selector]>,
    position: Position,
}

struct Replay {
    selectors: Box<[Selector]>,
    next: history::Replay,
    /// Where `page` began.
    page_from: history::Replay,
    page: std::vec::IntoIter<(Seq, Bytes)>,
    /// Whether the log may have more after the page. If not, what follows is in the rings, from the
    /// cursors on.
    more: bool,
    /// Set if the session was live before and has to catch up.
    behind: Option<Behind>,
}

/// A session that was live and is behind the rings.
struct Behind {
    since: Duration,
    /// Events of the rings not sent yet; an event counts once in each of its rings.
    events: u64,
}

/// What a session has to send now.
#[derive(Debug)]
pub(crate) enum Next {
    /// Whole chunks.
    Slice(Chunks),
    /// Nothing until the connection is woken.
    Wait,
    /// Nothing until the sequencer releases the log. The shard is woken then and must visit the
    /// connection again.
    Later,
    /// The stream has ended.
    End,
}

/// Why a stream can't be opened now; the client should reconnect later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Busy {
    /// The node, or the shard of the connection, has no room for another stream.
    #[error(
        "this node has no room for another stream (FANFARE_STREAMS_MAX, \
         FANFARE_CONNECTIONS_MAX, descriptor limit); reconnect later"
    )]
    Streams,
    /// `FANFARE_TOPICS_MAX` topics have readers.
    #[error("as many topics are being read as FANFARE_TOPICS_MAX allows; reconnect later")]
    Topics,
    /// The streams of the node have `FANFARE_SUBSCRIPTIONS_MAX` topics, each counted for itself.
    #[error(
        "the streams of this node have as many topics in all as FANFARE_SUBSCRIPTIONS_MAX allows; \
         reconnect later"
    )]
    Subscriptions,
    /// The node is draining.
    #[error("this node is shutting down; reconnect to another node")]
    Draining,
}

impl Busy {
    /// The `reason` in the data of `event: busy`.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Streams => "streams",
            Self::Topics => "topics",
            Self::Subscriptions => "subscriptions",
            Self::Draining => "draining",
        }
    }
}

impl Session {
    /// Subscribes to every selector by `subscribe`, which receives the selector and the number of
    /// its cursor. A live stream starts at the newest event; any other position is resolved after
    /// the preamble.
    ///
    /// # Errors
    ///
    /// [`Busy::Topics`] if `subscribe` fails, and [`Busy::Subscriptions`]; the subscriptions made
    /// so far are given up.
    pub(crate) fn open(
        context: &Rc<SessionContext>,
        permit: Permit,
        mut subscribe: impl FnMut(&Selector, u32) -> Result<Subscription, RingsFull>,
        selectors: &[Selector],
        position: &Position,
    ) -> Result<Self, Busy> {
        let mut session = Self {
            context: Rc::clone(context),
            cursors: Box::default(),
            last: Seq(0),
            phase: Phase::Ended,
            _permit: permit,
        };
        session.subscribe(&mut subscribe, selectors)?;
        session.last = context.log.last_seq();
        let start = (*position != Position::Live)
            .then(|| Box::new(Start { selectors: selectors.into(), position: position.clone() }));
        session.phase = Phase::Opening(control::preamble(context.retry.draw()), start);
        Ok(session)
    }

    /// Resolves the position and reads the first page; sends the reset, if there is one.
    fn resume(&mut self, signals: &Signals) -> Next {
        let Phase::Resuming(start) = &self.phase else { return Next::End };
        for cursor in &mut self.cursors {
            cursor.seek_to_end();
        }
        let SessionContext { log, waker, .. } = &*self.context;
        let resumed = log.try_resume(&start.position, &start.selectors, REPLAY_PAGE, waker);
        let Some((resume, events, page)) = resumed else { return Next::Later };
        self.last = resume.replay.seq();
        let selectors = start.selectors.clone();
        let (next, more) = (page.next, page.more);
        let (page_from, page) = (resume.replay, events.into_iter());
        self.phase = Phase::Replay(Box::new(Replay {
            selectors,
            next,
            page_from,
            page,
            more,
            behind: None,
        }));
        match &resume.reset {
            Some(reset) => Next::Slice(self.announce(reset).into()),
            None => self.next_replayed(signals),
        }
    }

    fn announce(&self, reset: &history::Reset) -> Bytes {
        let id = |seq: Option<Seq>| seq.map(|seq| self.context.log.incarnation().id(seq));
        let (oldest, from) = (id(reset.oldest), id(reset.from));
        control::reset(&reset.asked, oldest.as_deref(), reset.reason.as_str(), from.as_deref())
    }

    /// After an error `drop` gives up what was subscribed to before.
    fn subscribe(
        &mut self,
        subscribe: &mut impl FnMut(&Selector, u32) -> Result<Subscription, RingsFull>,
        selectors: &[Selector],
    ) -> Result<(), Busy> {
        let quota = &self.context.subscription_quota;
        if !quota.try_acquire(selectors.len()) {
            return Err(Busy::Subscriptions);
        }
        let mut cursors = Vec::with_capacity(selectors.len());
        let mut subscribed = Ok(());
        for (selector, number) in selectors.iter().zip(0..) {
            match subscribe(selector, number) {
                Ok(subscription) => cursors.push(Cursor::new(subscription)),
                Err(RingsFull) => {
                    subscribed = Err(Busy::Topics);
                    break;
                }
            }
        }
        // `drop` gives back those that have a cursor.
        quota.release(selectors.len() - cursors.len());
        self.cursors = cursors.into();
        subscribed
    }

    /// What to send now. After [`Next::End`] nothing follows.
    pub(crate) fn next_slice(&mut self, signals: &Signals) -> Next {
        // The preamble and the reset are always sent first: a `shutdown` before the `reset` would
        // carry a position that says nothing was missed.
        let is_starting = matches!(self.phase, Phase::Opening(..) | Phase::Resuming(_));
        if signals.is_ending() && !is_starting {
            return self
                .end_with(|session, id| control::shutdown(session.context.retry.draw(), id));
        }
        match &mut self.phase {
            Phase::Opening(preamble, start) => {
                let (preamble, start) = (std::mem::take(preamble), start.take());
                self.phase = start.map_or_else(Phase::live, Phase::Resuming);
                Next::Slice(preamble.into())
            }
            Phase::Resuming(_) => self.resume(signals),
            Phase::Replay(_) => self.next_replayed(signals),
            Phase::Live(_) => self.next_live(signals),
            Phase::Ended => Next::End,
        }
    }

    fn next_replayed(&mut self, signals: &Signals) -> Next {
        let Phase::Replay(replay) = &mut self.phase else { return Next::End };
        if replay.page.len() == 0 && replay.more {
            let passed = self.cursors.iter_mut().map(Cursor::seek_to_end).sum::<u64>();
            let mut behind = 0;
            if let Some(since) = &mut replay.behind {
                since.events += passed;
                behind = since.events;
                if self.context.now.get().saturating_sub(since.since) >= self.context.lag_max {
                    return self.end_with(|_, id| control::lagged(behind.max(1), id));
                }
            }
            let SessionContext { log, waker, .. } = &*self.context;
            match log.try_read(&replay.selectors, &replay.next, REPLAY_PAGE, waker) {
                None => return Next::Later,
                Some(Ok((events, page))) => {
                    replay.page = events.into_iter();
                    replay.page_from = std::mem::replace(&mut replay.next, page.next);
                    replay.more = page.more;
                }
                Some(Err(gap)) => {
                    let missed = gap.missed_at_least.max(behind);
                    return self.end_with(|_, id| control::lagged(missed, id));
                }
            }
        }
        match replay.page.next() {
            Some((seq, wire)) => {
                self.last = seq;
                if let Some(behind) = &mut replay.behind {
                    behind.events = behind.events.saturating_sub(1);
                }
                Next::Slice(wire.into())
            }
            None => {
                // Everything up to here is skipped in the rings, whether or not it was for this
                // stream.
                self.last = replay.next.seq();
                self.phase = Phase::live();
                self.next_live(signals)
            }
        }
    }

    /// Gives back the rest of the replay's page, which keeps events alive that the log may evict;
    /// [`next_slice`](Self::next_slice) reads it again. For a stream whose socket is blocked.
    pub(crate) fn release_page(&mut self) {
        let Phase::Replay(replay) = &mut self.phase else { return };
        let left = replay.page.len();
        if left > 0 {
            replay.page = Vec::new().into_iter();
            replay.next = replay.next.rewound(&replay.page_from, self.last, left);
            replay.more = true;
        }
    }

    fn next_live(&mut self, signals: &Signals) -> Next {
        let Phase::Live(scan) = &mut self.phase else { return Next::End };
        let SessionContext { reader, watermark, .. } = &*self.context;
        match merge::step(&mut self.cursors, reader, self.last, watermark, scan) {
            Step::Slice(slice, last) => {
                self.last = last;
                signals.take_heartbeat();
                Next::Slice(slice)
            }
            Step::Lagged => {
                self.fall_behind();
                self.next_replayed(signals)
            }
            Step::Wait if signals.take_heartbeat() => {
                Next::Slice(Bytes::from_static(wire::HEARTBEAT).into())
            }
            Step::Wait => Next::Wait,
        }
    }

    /// Continues from the log after the last event sent.
    fn fall_behind(&mut self) {
        self.phase = Phase::Replay(Box::new(Replay {
            selectors: self.cursors.iter().map(|cursor| cursor.selector().clone()).collect(),
            next: history::Replay::after(self.last),
            page_from: history::Replay::after(self.last),
            page: Vec::new().into_iter(),
            more: true,
            behind: Some(Behind { since: self.context.now.get(), events: 0 }),
        }));
    }

    /// A list of subscribers has moved the entry of cursor number `cursor` to `index`.
    pub(crate) fn subscription_moved(&self, cursor: u32, index: u32) {
        self.cursors[cursor as usize].index.set(index);
    }

    /// Ends the stream with an event that carries the stream's position as its id.
    fn end_with(&mut self, event: impl FnOnce(&Self, &str) -> Bytes) -> Next {
        if matches!(self.phase, Phase::Ended) {
            return Next::End;
        }
        self.phase = Phase::Ended;
        let id = self.context.log.incarnation().id(self.last);
        Next::Slice(event(self, &id).into())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        for cursor in &self.cursors {
            self.context.subscriptions.unsubscribe(&cursor.waker, cursor.index.get());
        }
        self.context.subscription_quota.release(self.cursors.len());
    }
}
