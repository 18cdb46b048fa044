//! What an HTTP handler needs of the shard it runs on: the node's core, opening streams, and
//! telling the pump about a publish.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::body::StreamBody;
use super::connection::Conn;
use super::connections::Connections;
use super::request_connections::RequestConnections;
use super::subscribers::Subscribers;
use crate::core::Core;
use crate::event::{Position, Selector};
use crate::ring::{Mailbox, Reader};
use crate::session::{Busy, Retry, Session, SessionContext};

pub(crate) struct ShardHandle {
    pub(crate) core: Arc<Core>,
    pub(crate) connections: Rc<Connections>,
    /// Those of `connections` that have no stream.
    pub(crate) request_connections: Rc<RequestConnections>,
    pub(crate) subscribers: Rc<Subscribers>,
    /// Of whoever decodes a body: one at a time, because a decoder's memory is in no budget.
    pub(crate) decoder: Semaphore,
    sessions: Rc<SessionContext>,
    /// Events published here since the pump last yielded.
    published: Cell<usize>,
}

impl ShardHandle {
    /// The handle of the shard with `mailbox`.
    pub(crate) fn new(core: Arc<Core>, mailbox: &Arc<Mailbox>) -> Self {
        let connections = Rc::new(Connections::default());
        let subscribers = Rc::new(Subscribers::new(
            Arc::clone(&core.registry),
            Arc::clone(mailbox),
            Rc::clone(&connections),
        ));
        let sessions = Rc::new(SessionContext {
            log: Arc::clone(&core.log),
            waker: Waker::from(Arc::clone(mailbox)),
            watermark: Arc::clone(&core.watermark),
            reader: core.registry.reader(),
            retry: Retry::from(&core.config),
            lag_max: core.config.lag_max,
            now: Cell::new(Duration::ZERO),
            subscriptions: Rc::clone(&subscribers) as _,
        });
        let share = core.config.request_connections_max.div_ceil(core.config.shards);
        Self {
            core,
            connections,
            request_connections: Rc::new(RequestConnections::new(share)),
            subscribers,
            decoder: Semaphore::new(1),
            sessions,
            published: Cell::new(0),
        }
    }

    /// Opens a stream on `conn` and returns its response body. With `may_detach`, the pump writes
    /// the stream once its preamble is sent.
    ///
    /// # Errors
    ///
    /// [`Busy`] says which bound is reached, or that the node is draining.
    pub(crate) fn open_stream(
        &self,
        conn: &Rc<Conn>,
        selectors: &[Selector],
        position: &Position,
        may_detach: bool,
    ) -> Result<StreamBody, Busy> {
        let session = self.open_session(conn, selectors, position)?;
        conn.lifecycle.set_may_detach(may_detach);
        conn.open_stream(session);
        Ok(StreamBody::new(Rc::clone(conn)))
    }

    fn open_session(
        &self,
        conn: &Rc<Conn>,
        selectors: &[Selector],
        position: &Position,
    ) -> Result<Session, Busy> {
        if conn.signals.is_ending() {
            return Err(Busy::Draining);
        }
        // Of connections without a stream none is in the way: they make room when one is needed.
        let streams = self.connections.len() - self.request_connections.len();
        let room = streams < self.core.shard_connections_for_streams;
        let permit = self.core.streams.try_permit().filter(|_| room).ok_or(Busy::Streams)?;
        let subscribe =
            |selector: &Selector, cursor| self.subscribers.subscribe(selector, conn, cursor);
        Session::open(&self.sessions, permit, subscribe, selectors, position)
            .map_err(|_| Busy::Topics)
    }

    /// Sets the time, since the shard started, by which sessions measure how long they have been
    /// behind.
    pub(crate) fn set_time(&self, now: Duration) {
        self.sessions.now.set(now);
    }

    /// The shard's reader of rings.
    pub(crate) fn reader(&self) -> &Reader {
        &self.sessions.reader
    }

    /// Records that an event was published on this shard.
    pub(crate) fn note_publish(&self) {
        self.published.set(self.published.get() + 1);
    }

    /// The events published since the last call to [`take_published`](Self::take_published).
    pub(crate) fn published(&self) -> usize {
        self.published.get()
    }

    /// Returns and resets [`published`](Self::published).
    pub(crate) fn take_published(&self) -> usize {
        self.published.take()
    }
}

#[cfg(all(test, not(ring_loom)))]
mod tests {
    use std::task::Context;

    use tokio::task::LocalSet;

    use super::*;
    use crate::config::Config;
    use crate::session::Next;

    fn handle(config: Config) -> ShardHandle {
        ShardHandle::new(Core::for_test(config), &Arc::new(Mailbox::new(0)))
    }

    fn conn(shard: &ShardHandle) -> Rc<Conn> {
        let conn = Rc::new(Conn::for_test());
        shard.connections.insert(&conn);
        conn
    }

    /// Opens a stream, which lasts as long as the body.
    fn open(shard: &ShardHandle, topics: &[&str]) -> Result<StreamBody, Busy> {
        let selectors: Vec<_> =
            topics.iter().map(|topic| Selector::parse(topic).unwrap()).collect();
        shard.open_stream(&conn(shard), &selectors, &Position::Live, true)
    }

    #[tokio::test]
    async fn a_session_that_panics_gives_up_its_subscriptions_and_no_others() {
        let shard = handle(Config::default());
        let (fine, doomed) = (open(&shard, &["a"]).unwrap(), open(&shard, &["a", "b"]).unwrap());
        assert_eq!((shard.core.registry.topics(), shard.core.streams.used()), (2, 2));
        let tasks = LocalSet::new();
        let panicked = tasks.spawn_local(async move {
            let _doomed = doomed;
            panic!("on purpose");
        });
        assert!(tasks.run_until(panicked).await.unwrap_err().is_panic());
        assert_eq!((shard.core.registry.topics(), shard.core.streams.used()), (1, 1));
        drop(fine);
        assert_eq!((shard.core.registry.topics(), shard.core.streams.used()), (0, 0));
    }

    /// Ensures that a client receives its reset before it receives a new position.
    ///
    /// Scenario: a stream asks to resume after an unknown id, and the node drains before the
    /// stream's preamble is taken.
    ///
    /// Cause: `shutdown` came first, with the position after the reset as its id; the client would
    /// resume from there and never learn that it had missed events.
    ///
    /// Fix: the preamble and the reset are always sent first.
    #[test]
    fn a_stream_that_drains_at_once_still_sends_its_reset() {
        let shard = handle(Config::default());
        let (conn, position) = (conn(&shard), Position::After("unknown".into()));
        let mut session = shard.open_session(&conn, &[Selector::All], &position).unwrap();
        conn.signals.request_end();
        let (texts, _) = texts(&mut session, &conn);
        assert!(texts[1].contains("event: reset"), "{texts:?}");
        assert!(texts[2].contains("event: shutdown") && texts.len() == 3, "{texts:?}");
    }

    fn texts(session: &mut Session, conn: &Conn) -> (Vec<String>, Next) {
        let mut texts = Vec::new();
        loop {
            match session.next_slice(&conn.signals) {
                Next::Slice(slice) => texts.push(String::from_utf8(slice.into()).unwrap()),
                end => return (texts, end),
            }
        }
    }

    /// Ensures that a shard never waits for a log that is being appended to.
    ///
    /// Scenario: streams are opened while the sequencer, which may be preempted, has the log.
    ///
    /// Cause: every opening and every page took the log's lock and waited for it.
    ///
    /// Fix: a stream that starts live needs no lock; another comes back when it is released.
    #[test]
    fn streams_open_while_the_log_is_written_and_come_back_for_their_replay() {
        let mailbox = Arc::new(Mailbox::new(0));
        let shard = ShardHandle::new(Core::for_test(Config::default()), &mailbox);
        let conn = conn(&shard);
        let open = |position| shard.open_session(&conn, &[Selector::All], &position).unwrap();
        let writer = shard.core.log.writer();
        let (received, end) = texts(&mut open(Position::Live), &conn);
        assert!(received.len() == 1 && matches!(end, Next::Wait), "{received:?}, {end:?}");
        let mut resuming = open(Position::After("unknown".into()));
        let (received, end) = texts(&mut resuming, &conn);
        assert!(received[0].contains("retry: ") && received.len() == 1, "{received:?}");
        assert!(matches!(end, Next::Later), "{end:?}");
        let is_woken = || {
            let woken = std::pin::pin!(mailbox.wait());
            woken.poll(&mut Context::from_waker(Waker::noop())).is_ready()
        };
        assert!(!is_woken());
        drop(writer);
        assert!(is_woken());
        let (received, end) = texts(&mut resuming, &conn);
        assert!(received[0].contains("event: reset") && received.len() == 1, "{received:?}");
        assert!(matches!(end, Next::Wait), "{end:?}");
    }

    #[test]
    fn a_refused_session_keeps_no_subscription() {
        let shard = handle(Config { topics_max: 2, streams_max: 2, ..Config::default() });
        assert_eq!(open(&shard, &["a", "b", "c"]).err(), Some(Busy::Topics));
        assert_eq!((shard.core.registry.topics(), shard.core.streams.used()), (0, 0));
        let _open = [open(&shard, &["a"]).unwrap(), open(&shard, &["a"]).unwrap()];
        assert_eq!(open(&shard, &["a"]).err(), Some(Busy::Streams));
    }
}
