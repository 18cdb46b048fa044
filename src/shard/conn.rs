//! One connection as its shard sees it: its descriptor, what the kernel said of it, whom to wake,
//! its stream.
//!
//! A connection begins with hyper, in a task of its own. Once the head of a stream's response is on
//! the wire it is **detached**: the task ends, and the shard's [`pump`](super::pump) writes to the
//! descriptor itself. What is left per stream is this and its session.
//!
//! Shared by the connection's task, its socket and the shard's reactor, pump and timer; all on the
//! shard's thread, so plain cells are enough.

use std::cell::{Cell, RefCell};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::task::Waker;

use bytes::Bytes;

use crate::quota::Permit;
use crate::session::Session;

/// Milliseconds since the shard started; wraps after 49 days, which intervals of minutes don't
/// notice.
pub type Millis = u32;

/// How far a connection is on its way from hyper to the pump.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// hyper reads and writes.
    #[default]
    Http,
    /// hyper has taken the stream's first bytes and been told to wait; the next flush puts them on
    /// the wire.
    Opened,
    /// They are on the wire.
    OnTheWire,
    /// The pump writes.
    Detached,
    /// Nobody does any more.
    Closed,
}

/// A stream and what of it the socket did not take.
pub struct Stream {
    /// Where it gets its events.
    pub session: Session,
    /// Runs taken from the session and not yet sent, the first of them perhaps in part.
    pub unsent: Vec<Bytes>,
    /// The session has ended; after `unsent` the connection is closed.
    pub ended: bool,
}

/// See the module.
pub struct Conn {
    fd: OwnedFd,
    key: Cell<u32>,
    wrote: Cell<Millis>,
    blocked: Cell<Option<Millis>>,
    stage: Cell<Stage>,
    readable: Cell<bool>,
    writable: Cell<bool>,
    hung_up: Cell<bool>,
    may_detach: Cell<bool>,
    heartbeat_due: Cell<bool>,
    leaving: Cell<bool>,
    killed: Cell<bool>,
    write_pending: Cell<bool>,
    scheduled: Cell<bool>,
    waker: Cell<Option<Waker>>,
    stream: RefCell<Option<Box<Stream>>>,
    _permit: Permit,
}

impl Conn {
    /// A connection just accepted.
    pub fn new(fd: OwnedFd, permit: Permit, now: Millis) -> Self {
        Self {
            fd,
            key: Cell::new(0),
            wrote: Cell::new(now),
            blocked: Cell::new(None),
            stage: Cell::default(),
            // Until the kernel has said otherwise by refusing.
            readable: Cell::new(true),
            writable: Cell::new(true),
            hung_up: Cell::new(false),
            may_detach: Cell::new(false),
            heartbeat_due: Cell::new(false),
            leaving: Cell::new(false),
            killed: Cell::new(false),
            write_pending: Cell::new(false),
            scheduled: Cell::new(false),
            waker: Cell::new(None),
            stream: RefCell::new(None),
            _permit: permit,
        }
    }

    /// The socket.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Its place in the shard's table.
    pub fn key(&self) -> u32 {
        self.key.get()
    }

    pub(super) fn set_key(&self, key: u32) {
        self.key.set(key);
    }

    /// Where it is on its way.
    pub fn stage(&self) -> Stage {
        self.stage.get()
    }

    /// Moves it on.
    pub fn set_stage(&self, stage: Stage) {
        self.stage.set(stage);
    }

    /// Whether the pump writes to it.
    pub fn is_detached(&self) -> bool {
        self.stage() == Stage::Detached
    }

    /// Says whether the response now begun can be taken from hyper: HTTP/1.1, whose chunks the
    /// encoder made.
    pub fn set_may_detach(&self, may: bool) {
        self.may_detach.set(may);
    }

    /// Whether it can.
    pub fn may_detach(&self) -> bool {
        self.may_detach.get()
    }

    /// Its stream, while it has one.
    pub fn stream(&self) -> &RefCell<Option<Box<Stream>>> {
        &self.stream
    }

    /// Gives it a stream.
    pub fn open_stream(&self, session: Session) {
        *self.stream.borrow_mut() =
            Some(Box::new(Stream { session, unsent: Vec::new(), ended: false }));
    }

    /// Takes the stream away; dropping it gives its subscriptions up.
    pub fn take_stream(&self) -> Option<Box<Stream>> {
        self.stream.borrow_mut().take()
    }

    /// Whether it has a stream.
    pub fn is_streaming(&self) -> bool {
        self.stream.try_borrow().map_or(true, |stream| stream.is_some())
    }

    /// Remembers the task to wake.
    pub fn register(&self, waker: &Waker) {
        let known = self.waker.take().filter(|known| known.will_wake(waker));
        self.waker.set(Some(known.unwrap_or_else(|| waker.clone())));
    }

    /// Forgets the task, which has ended.
    pub fn unregister(&self) {
        self.waker.set(None);
    }

    /// Has the connection's task polled.
    pub fn wake(&self) {
        let waker = self.waker.take();
        if let Some(waker) = &waker {
            waker.wake_by_ref();
        }
        self.waker.set(waker);
    }

    /// What the kernel said.
    pub fn note_ready(&self, readable: bool, writable: bool, hung_up: bool) {
        self.readable.set(self.readable.get() | readable | hung_up);
        self.writable.set(self.writable.get() | writable | hung_up);
        self.hung_up.set(self.hung_up.get() | hung_up);
    }

    /// Whether a read may find something. Cleared by the reader that found nothing.
    pub fn readable(&self) -> &Cell<bool> {
        &self.readable
    }

    /// Whether a write may be taken. Cleared by the writer that was refused.
    pub fn writable(&self) -> &Cell<bool> {
        &self.writable
    }

    /// Whether the peer has ended its side, or all of it.
    pub fn is_hung_up(&self) -> bool {
        self.hung_up.get()
    }

    /// The socket took bytes.
    pub fn wrote(&self, now: Millis) {
        self.wrote.set(now);
        self.blocked.set(None);
    }

    /// The socket took nothing, or not all.
    pub fn block(&self, now: Millis) {
        self.writable.set(false);
        if self.blocked.get().is_none() {
            self.blocked.set(Some(now));
        }
    }

    /// How long the socket has been taking nothing.
    pub fn blocked_for(&self, now: Millis) -> Option<Millis> {
        self.blocked.get().map(|since| now.wrapping_sub(since))
    }

    /// How long since anything was written.
    pub fn idle_for(&self, now: Millis) -> Millis {
        now.wrapping_sub(self.wrote.get())
    }

    /// Has the session send a heartbeat unless it has something better to send.
    pub fn ask_heartbeat(&self) {
        self.heartbeat_due.set(true);
    }

    /// Whether a heartbeat was asked for since the last time.
    pub fn take_heartbeat(&self) -> bool {
        self.heartbeat_due.take()
    }

    /// Has the connection end: a session says `shutdown`, a request under way is answered.
    pub fn leave(&self) {
        self.leaving.set(true);
    }

    /// Whether it was told to end.
    pub fn is_leaving(&self) -> bool {
        self.leaving.get()
    }

    /// Whether it is among those the pump is to look at, so that it is there once.
    pub fn scheduled(&self) -> &Cell<bool> {
        &self.scheduled
    }

    /// Whether a write for it waits to be sent; another one has to wait for what becomes of it.
    pub fn write_pending(&self) -> &Cell<bool> {
        &self.write_pending
    }

    /// Has the connection closed at once, unsent bytes thrown away.
    pub fn kill(&self) {
        self.killed.set(true);
    }

    /// Whether it is to be closed at once.
    pub fn is_killed(&self) -> bool {
        self.killed.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::Quota;

    impl Conn {
        /// A connection whose peer has gone.
        pub(crate) fn for_test() -> Self {
            let (fd, _) = std::os::unix::net::UnixStream::pair().unwrap();
            Self::new(fd.into(), Quota::new(1).take().unwrap(), 0)
        }
    }

    #[test]
    fn blocking_counts_from_the_first_refused_write_to_the_next_taken_one() {
        let conn = Conn::for_test();
        assert_eq!(conn.blocked_for(5), None);
        conn.block(10);
        conn.block(20);
        assert_eq!(conn.blocked_for(25), Some(15));
        conn.wrote(30);
        assert_eq!(conn.blocked_for(40), None);
        assert_eq!(conn.idle_for(40), 10);
    }

    #[test]
    fn intervals_survive_the_wrap_of_the_clock() {
        let conn = Conn::for_test();
        conn.wrote(u32::MAX - 5);
        assert_eq!(conn.idle_for(4), 10);
    }

    /// Memory per stream is the product: a million of these are held.
    #[test]
    fn what_a_stream_is_made_of_stays_small() {
        assert!(size_of::<Conn>() <= 88, "{}", size_of::<Conn>());
        assert!(size_of::<Stream>() <= 136, "{}", size_of::<Stream>());
    }
}
