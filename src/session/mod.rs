//! One subscriber's stream: what is kept and was missed, then what comes, then why it ends.
//!
//! [`Session::next_slice`] is the one source both ways of writing read from: hyper's body (`body`),
//! and whatever writes to a bare socket. It yields runs of whole chunks and never waits; who calls
//! it is woken through its [`Conn`].
//!
//! # From replay to live
//!
//! The session takes its subscriptions first, its cursors anchored at the rings' ends, so from then on the
//! rings keep what is published for it. Then, slice by slice: anchor the cursors at the rings'
//! ends, *then* read the log after the last event had. The sequencer gives an event to the log
//! before it gives it to a ring, so what is below the anchors was in the log when it was read. If
//! the slice was not full, the log had nothing more, and reading the rings from the anchors on
//! misses nothing; what is in both is passed over by its seq. While the replay lasts the anchors
//! move along, so a long replay can't lag out of the ring; only what the retention drops meanwhile
//! can be missed, and then the stream says `lagged` and ends (I6).

mod body;
mod control;
mod live;

use std::rc::Rc;

use bytes::Bytes;

pub use body::StreamBody;
pub use control::{busy, jittered};

use crate::event::{Position, Selector, Seq, wire};
use crate::log::history;
use crate::quota::Permit;
use crate::shard::{Conn, Shard};
use live::{Cursor, Step};

/// One read of the log, at most: it holds the lock the sequencer waits for.
const REPLAY_PAGE: history::PageLimit = history::PageLimit { events: 64, bytes: 64 * 1024 };

/// See the module.
pub struct Session {
    shard: Rc<Shard>,
    cursors: Box<[Cursor]>,
    /// The last event had, or passed over.
    last: Seq,
    phase: Phase,
    _permit: Permit,
}

enum Phase {
    /// The first bytes, then what was missed, if it asked for that.
    Opening(Bytes, Option<Box<Replay>>),
    /// Boxed: it is gone once the stream is live.
    Replay(Box<Replay>),
    Live,
    Ended,
}

struct Replay {
    selectors: Box<[Selector]>,
    next: history::Replay,
    page: std::vec::IntoIter<(Seq, Bytes)>,
    /// Whether the log may have more after the slice; if not, what follows is in the rings, from
    /// the anchors on.
    more: bool,
}

/// What a session has to send now.
#[derive(Debug)]
pub enum Next {
    /// Whole chunks, as they stand.
    Slice(Bytes),
    /// Nothing until the connection is woken.
    Wait,
    /// The end of the stream.
    End,
}

/// Why a subscriber can't be served now and should come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Busy {
    /// `FANFARE_STREAMS_MAX` streams are open.
    #[error("as many streams are open as FANFARE_STREAMS_MAX allows; come back later")]
    Streams,
    /// `FANFARE_TOPICS_MAX` topics are being read.
    #[error("as many topics are being read as FANFARE_TOPICS_MAX allows; come back later")]
    Topics,
    /// The node is leaving service.
    #[error("this node is leaving service; come back to another one")]
    Draining,
}

impl Busy {
    /// The word for it in the data of `event: busy`.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Streams => "streams",
            Self::Topics => "topics",
            Self::Draining => "draining",
        }
    }
}

impl Session {
    /// Takes the session's subscriptions and decides where it starts.
    pub fn open(
        shard: &Rc<Shard>,
        conn: &Rc<Conn>,
        selectors: &[Selector],
        position: &Position,
    ) -> Result<Self, Busy> {
        if conn.is_leaving() {
            return Err(Busy::Draining);
        }
        let room = shard.table.connections() <= shard.core.shard_streams_max;
        let permit = shard.core.streams.take().filter(|_| room).ok_or(Busy::Streams)?;
        let mut session = Self {
            shard: Rc::clone(shard),
            cursors: Box::default(),
            last: Seq(0),
            phase: Phase::Ended,
            _permit: permit,
        };
        session.subscribe(conn, selectors)?;
        let (resume, events, page) = shard.core.log.resume(position, selectors, REPLAY_PAGE);
        session.last = resume.replay.seq();
        let (min, max) = (shard.core.config.retry_min, shard.core.config.retry_max);
        let mut first = control::preamble(jittered(min, max));
        if let Some(reset) = &resume.reset {
            first = [first, session.announce(reset)].concat().into();
        }
        let replay = (*position != Position::Live).then(|| {
            let (next, more) = (page.next, page.more);
            Box::new(Replay { selectors: selectors.into(), next, page: events.into_iter(), more })
        });
        session.phase = Phase::Opening(first, replay);
        Ok(session)
    }

    fn announce(&self, reset: &history::Reset) -> Bytes {
        let id = |seq: Option<Seq>| seq.map(|seq| self.shard.core.log.incarnation().id(seq));
        let (oldest, from) = (id(reset.oldest), id(reset.from));
        control::reset(&reset.asked, oldest.as_deref(), reset.reason.as_str(), from.as_deref())
    }

    /// On a refusal the subscriptions taken so far are given up by `drop`.
    fn subscribe(&mut self, conn: &Rc<Conn>, selectors: &[Selector]) -> Result<(), Busy> {
        let mut cursors = Vec::with_capacity(selectors.len());
        for selector in selectors {
            match self.shard.table.subscribe(selector, conn) {
                Ok(subscription) => cursors.push(Cursor::new(subscription)),
                Err(_) => {
                    self.cursors = cursors.into();
                    return Err(Busy::Topics);
                }
            }
        }
        self.cursors = cursors.into();
        Ok(())
    }

    /// What to send now. After [`Next::End`] there is nothing more.
    pub fn next_slice(&mut self, conn: &Conn) -> Next {
        // The first bytes go out whatever happens: a `shutdown` before the `reset` would carry a
        // position that says nothing was missed.
        if conn.is_leaving() && !matches!(self.phase, Phase::Opening(..)) {
            return self.end_with(|session, id| {
                let config = &session.shard.core.config;
                control::shutdown(jittered(config.retry_min, config.retry_max), id)
            });
        }
        match &mut self.phase {
            Phase::Opening(first, replay) => {
                let (first, replay) = (std::mem::take(first), replay.take());
                self.phase = replay.map_or(Phase::Live, Phase::Replay);
                Next::Slice(first)
            }
            Phase::Replay(_) => self.next_replayed(conn),
            Phase::Live => self.next_live(conn),
            Phase::Ended => Next::End,
        }
    }

    fn next_replayed(&mut self, conn: &Conn) -> Next {
        let Phase::Replay(replay) = &mut self.phase else { return Next::End };
        if replay.page.len() == 0 && replay.more {
            self.cursors.iter_mut().for_each(Cursor::anchor);
            match self.shard.core.log.read(&replay.selectors, replay.next, REPLAY_PAGE) {
                Ok((events, page)) => {
                    replay.page = events.into_iter();
                    (replay.next, replay.more) = (page.next, page.more);
                }
                Err(gap) => return self.end_with(|_, id| control::lagged(gap.missed_at_least, id)),
            }
        }
        match replay.page.next() {
            Some((seq, wire)) => {
                self.last = seq;
                Next::Slice(wire)
            }
            None => {
                // Everything up to here is passed over in the rings, whether or not it was for this
                // stream.
                self.last = replay.next.seq();
                self.phase = Phase::Live;
                self.next_live(conn)
            }
        }
    }

    fn next_live(&mut self, conn: &Conn) -> Next {
        match live::step(&mut self.cursors, self.last, &self.shard.core.watermark) {
            Step::Slice(slice, last) => {
                self.last = last;
                conn.take_heartbeat();
                Next::Slice(slice)
            }
            Step::Lagged(missed) => self.end_with(|_, id| control::lagged(missed, id)),
            Step::Wait if conn.take_heartbeat() => Next::Slice(Bytes::from_static(wire::HEARTBEAT)),
            Step::Wait => Next::Wait,
        }
    }

    /// The last event of the stream, with the stream's position.
    fn end_with(&mut self, event: impl FnOnce(&Self, &str) -> Bytes) -> Next {
        if matches!(self.phase, Phase::Ended) {
            return Next::End;
        }
        self.phase = Phase::Ended;
        let id = self.shard.core.log.incarnation().id(self.last);
        Next::Slice(event(self, &id))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        for cursor in &self.cursors {
            self.shard.table.unsubscribe(&cursor.subscription);
        }
    }
}

#[cfg(all(test, not(ring_loom)))]
mod tests {
    use super::*;
    use crate::config::{Config, Io};
    use crate::node::Core;
    use crate::ring::Mailbox;
    use std::sync::Arc;
    use tokio::task::LocalSet;

    fn shard(config: Config) -> Rc<Shard> {
        Rc::new(
            Shard::new(Arc::new(Core::new(config, Io::Send)), Arc::new(Mailbox::new(0))).unwrap(),
        )
    }

    fn open(shard: &Rc<Shard>, topics: &[&str]) -> Result<Session, Busy> {
        let selectors: Vec<_> =
            topics.iter().map(|topic| Selector::parse(topic).unwrap()).collect();
        Session::open(shard, &Rc::new(Conn::for_test()), &selectors, &Position::Live)
    }

    #[tokio::test]
    async fn a_session_that_panics_gives_its_seats_up_and_the_others_stay() {
        let shard = shard(Config::default());
        let (fine, doomed) = (open(&shard, &["a"]).unwrap(), open(&shard, &["a", "b"]).unwrap());
        assert_eq!((shard.core.registry.len(), shard.core.streams.used()), (2, 2));
        let tasks = LocalSet::new();
        let panicked = tasks.spawn_local(async move {
            let _doomed = doomed;
            panic!("on purpose");
        });
        assert!(tasks.run_until(panicked).await.unwrap_err().is_panic());
        assert_eq!((shard.core.registry.len(), shard.core.streams.used()), (1, 1));
        drop(fine);
        assert_eq!((shard.core.registry.len(), shard.core.streams.used()), (0, 0));
    }

    /// Ensures a client is told of its reset before it is given a new position.
    ///
    /// Scenario: a stream asks to resume after an unknown id, and the node is told to drain before
    /// its first bytes are taken. Cause: `shutdown` came first, with the position after the reset
    /// as its id; the client would resume from there and never learn that it had missed events.
    /// Fix: the first bytes always go first.
    #[test]
    fn a_stream_told_to_leave_at_once_still_hears_of_its_reset() {
        let shard = shard(Config::default());
        let (conn, position) = (Rc::new(Conn::for_test()), Position::After("unknown".into()));
        let mut session = Session::open(&shard, &conn, &[Selector::All], &position).unwrap();
        conn.leave();
        let texts: Vec<_> = std::iter::from_fn(|| match session.next_slice(&conn) {
            Next::Slice(slice) => Some(String::from_utf8(slice.into()).unwrap()),
            _ => None,
        })
        .collect();
        assert!(texts[0].contains("event: reset"), "{texts:?}");
        assert!(texts[1].contains("event: shutdown") && texts.len() == 2, "{texts:?}");
    }

    #[test]
    fn a_session_that_is_refused_keeps_no_seat() {
        let shard = shard(Config { topics_max: 2, streams_max: 2, ..Config::default() });
        assert_eq!(open(&shard, &["a", "b", "c"]).err(), Some(Busy::Topics));
        assert_eq!((shard.core.registry.len(), shard.core.streams.used()), (0, 0));
        let _open = [open(&shard, &["a"]).unwrap(), open(&shard, &["a"]).unwrap()];
        assert_eq!(open(&shard, &["a"]).err(), Some(Busy::Streams));
    }
}
