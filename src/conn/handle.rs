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
use super::readiness::Millis;
use super::request_connections::RequestConnections;
use super::subscribers::Subscribers;
use super::unsent::UnsentLedger;
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
    /// What the shard's blocked streams have yet to send.
    pub(crate) unsent: Rc<UnsentLedger>,
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
            subscription_quota: Arc::clone(&core.subscriptions),
        });
        let unsent = Rc::new(UnsentLedger::new(Arc::clone(&core.unsent), core.config.shards));
        let share = core.config.request_connections_max.div_ceil(core.config.shards);
        Self {
            core,
            connections,
            request_connections: Rc::new(RequestConnections::new(share)),
            subscribers,
            decoder: Semaphore::new(1),
            unsent,
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
        Ok(StreamBody::new(Rc::clone(conn), Rc::clone(&self.unsent)))
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
    }

    /// Sets the time, since the shard started, by which sessions measure how long they have been
    /// behind.
    pub(crate) fn set_time(&self, now: Duration) {
        self.sessions.now.set(now);
        // Truncation is the wrap that `Millis` documents.
        self.unsent.set_now(now.as_millis() as Millis);
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
    use crate::event::{Publication, Topic};
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
                Next::Slice(slice) => texts.push(String::from_utf8(slice.to_vec()).unwrap()),
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

    /// Publishes events to the topic `a`; returns their numbers as data.
    fn publish(shard: &ShardHandle, events: std::ops::Range<u32>) -> Vec<String> {
        let data: Vec<_> = events.map(|number| number.to_string()).collect();
        for data in &data {
            let publication = Publication {
                topics: [Topic::new("a").unwrap()].into(),
                data: data.clone(),
                id: None,
                event_type: None,
                retry: None,
            };
            let reservation = shard.core.queue.reserve(1).unwrap();
            let mut ack = shard.core.sequencer.submit(publication, reservation).unwrap();
            ack.try_recv().expect("this thread has run the batch");
        }
        data
    }

    /// The data of the next event, or its type if it is one of the node's own.
    fn next_event(session: &mut Session, conn: &Conn) -> Option<String> {
        let Next::Slice(slice) = session.next_slice(&conn.signals) else { return None };
        let text = String::from_utf8(slice.to_vec()).unwrap();
        let field = |name| text.lines().find_map(|line| line.strip_prefix(name));
        field("event: ").or(field("data: ")).map(str::to_owned)
    }

    #[test]
    fn a_page_that_is_given_back_is_read_again_each_event_once() {
        let shard = handle(Config::default());
        let expected = publish(&shard, 0..200);
        let conn = conn(&shard);
        let mut session = shard.open_session(&conn, &[Selector::All], &Position::Earliest).unwrap();
        assert_eq!(next_event(&mut session, &conn), None, "the preamble");
        let mut events = Vec::new();
        while let Some(event) = next_event(&mut session, &conn) {
            events.push(event);
            if events.len() % 7 == 0 {
                session.release_page();
            }
        }
        assert_eq!(events, expected);
    }

    /// Ensures that a stalled replay keeps no events that the history has evicted.
    ///
    /// Scenario: a stream's socket is blocked in the middle of a page of its replay, and the events
    /// of the page are evicted.
    ///
    /// Cause: the stream kept its page, up to 64 KiB or one event, without a bound for all streams.
    ///
    /// Fix: a blocked stream gives its page back, and reads it again when its socket is writable.
    #[test]
    fn a_page_that_was_evicted_after_it_was_given_back_is_announced_as_lost() {
        for selector in ["*", "a"] {
            let shard = handle(Config { history_events: 100, ..Config::default() });
            publish(&shard, 0..100);
            let (conn, selectors) = (conn(&shard), [Selector::parse(selector).unwrap()]);
            let mut session = shard.open_session(&conn, &selectors, &Position::Earliest).unwrap();
            let events: Vec<_> = (0..4).filter_map(|_| next_event(&mut session, &conn)).collect();
            assert_eq!(events, ["0", "1", "2"]);
            session.release_page();
            publish(&shard, 100..200);
            let (received, end) = texts(&mut session, &conn);
            assert!(received[0].contains("event: lagged"), "{received:?}");
            assert!(received[0].contains("\"missed\":97"), "{received:?}");
            assert!(received.len() == 1 && matches!(end, Next::End), "{received:?}, {end:?}");
        }
    }

    #[test]
    fn a_refused_session_keeps_no_subscription() {
        let shard = handle(Config { topics_max: 2, streams_max: 2, ..Config::default() });
        assert_eq!(open(&shard, &["a", "b", "c"]).err(), Some(Busy::Topics));
        assert_eq!((shard.core.registry.topics(), shard.core.streams.used()), (0, 0));
        assert_eq!(shard.core.subscriptions.used(), 0);
        let _open = [open(&shard, &["a"]).unwrap(), open(&shard, &["a"]).unwrap()];
        assert_eq!(open(&shard, &["a"]).err(), Some(Busy::Streams));
    }
}
