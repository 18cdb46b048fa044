//! The state of one connection, shared by its HTTP task and by the shard's reactor, pump and timer.
//!
//! hyper serves a new connection, in a task of its own. Once hyper has sent the head and the
//! preamble of a stream, the connection is **detached**: the task ends, and the shard's pump writes
//! to the descriptor. Only this state and the session remain.

use std::cell::{Cell, RefCell};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::task::Waker;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::lifecycle::Lifecycle;
use super::readiness::{Millis, Readiness};
use super::unsent::Unsent;
use crate::quota::Permit;
use crate::session::{Next, Session, Signals};

/// A stream, and what of it the socket has not accepted.
pub(crate) struct Stream {
    pub(crate) session: Session,
    /// What was taken from the session and not yet sent; only while the socket is blocked.
    pub(crate) unsent: Option<Box<Unsent>>,
    /// Whether the session has ended; after `unsent` the connection is closed.
    pub(crate) ended: bool,
}

pub(crate) struct Conn {
    fd: OwnedFd,
    key: Cell<u32>,
    pub(crate) readiness: Readiness,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) signals: Signals,
    /// Whether the connection is in the shard's ready queue.
    scheduled: Cell<bool>,
    /// Whether a write for it waits to be sent; another one must wait for its result.
    write_pending: Cell<bool>,
    /// The HTTP task.
    task: Cell<Option<Waker>>,
    stream: RefCell<Option<Box<Stream>>>,
    _permit: Permit,
}

impl Conn {
    /// A connection just accepted.
    pub(crate) fn new(fd: OwnedFd, permit: Permit, now: Millis) -> Self {
        Self {
            fd,
            key: Cell::new(0),
            readiness: Readiness::new(now),
            lifecycle: Lifecycle::default(),
            signals: Signals::default(),
            scheduled: Cell::new(false),
            write_pending: Cell::new(false),
            task: Cell::new(None),
            stream: RefCell::new(None),
            _permit: permit,
        }
    }

    /// The socket.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The connection's key in the shard's [`Connections`](super::connections::Connections).
    pub(crate) fn key(&self) -> u32 {
        self.key.get()
    }

    pub(super) fn set_key(&self, key: u32) {
        self.key.set(key);
    }

    /// The stream, while there is one.
    pub(crate) fn stream(&self) -> &RefCell<Option<Box<Stream>>> {
        &self.stream
    }

    pub(super) fn open_stream(&self, session: Session) {
        let stream = Stream { session, unsent: None, ended: false };
        *self.stream.borrow_mut() = Some(Box::new(stream));
    }

    /// Drops the stream, which gives up its subscriptions.
    pub(crate) fn close_stream(&self) {
        let stream = self.stream.borrow_mut().take();
        drop(stream);
    }

    pub(crate) fn is_streaming(&self) -> bool {
        self.stream.try_borrow().map_or(true, |stream| stream.is_some())
    }

    /// How long the stream has had something to send that its socket does not accept. Unlike
    /// [`Readiness::blocked_for`], this goes on while the socket accepts a little now and then.
    pub(crate) fn unsent_for(&self, now: Millis) -> Option<Millis> {
        let stream = self.stream.try_borrow().ok()?;
        Some(stream.as_ref()?.unsent.as_ref()?.blocked_for(now))
    }

    /// Whether the socket would accept a write now, or refuse it for good. In doubt it is tried.
    pub(crate) fn accepts_bytes(&self) -> bool {
        let fd = self.fd();
        let mut fds = [PollFd::new(&fd, PollFlags::OUT)];
        poll(&mut fds, Some(&Timespec::default())) != Ok(0)
    }

    /// hyper has sent that many bytes of the stream.
    pub(crate) fn note_sent(&self, bytes: usize, now: Millis) {
        if let Ok(mut stream) = self.stream.try_borrow_mut()
            && let Some(unsent) = stream.as_mut().and_then(|stream| stream.unsent.as_mut())
        {
            unsent.note_sent(bytes, now);
        }
    }

    /// The socket is blocked: the stream gives back what it can read again.
    pub(crate) fn release_page(&self) {
        if let Ok(mut stream) = self.stream.try_borrow_mut()
            && let Some(stream) = stream.as_mut()
        {
            stream.session.release_page();
        }
    }

    /// Everything taken from the stream's session has been handed on.
    pub(super) fn sent(&self) {
        if let Some(stream) = self.stream.borrow_mut().as_mut() {
            stream.unsent = None;
        }
    }

    /// What the stream has to send now.
    pub(super) fn next_slice(&self) -> Next {
        match self.stream.borrow_mut().as_mut() {
            Some(stream) => stream.session.next_slice(&self.signals),
            None => Next::End,
        }
    }

    /// Remembers the HTTP task.
    pub(crate) fn register_task(&self, waker: &Waker) {
        let known = self.task.take().filter(|known| known.will_wake(waker));
        self.task.set(Some(known.unwrap_or_else(|| waker.clone())));
    }

    /// Forgets the HTTP task, which has ended.
    pub(crate) fn unregister_task(&self) {
        self.task.set(None);
    }

    /// Wakes the HTTP task.
    pub(crate) fn wake_task(&self) {
        let task = self.task.take();
        if let Some(task) = &task {
            task.wake_by_ref();
        }
        self.task.set(task);
    }

    /// Marks the connection as being in the ready queue; false if it is there already.
    pub(crate) fn schedule(&self) -> bool {
        !self.scheduled.replace(true)
    }

    /// The connection has left the ready queue.
    pub(crate) fn unschedule(&self) {
        self.scheduled.set(false);
    }

    pub(crate) fn begin_write(&self) {
        self.write_pending.set(true);
    }

    pub(crate) fn end_write(&self) {
        self.write_pending.set(false);
    }

    pub(crate) fn is_write_pending(&self) -> bool {
        self.write_pending.get()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::quota::Quota;

    impl Conn {
        /// A connection whose peer has closed.
        pub(crate) fn for_test() -> Self {
            let (fd, _) = std::os::unix::net::UnixStream::pair().unwrap();
            Self::new(fd.into(), Arc::new(Quota::new(1)).try_permit().unwrap(), 0)
        }
    }

    /// A node holds a million of these.
    #[test]
    fn the_state_of_a_stream_stays_small() {
        assert!(size_of::<Conn>() <= 88, "{}", size_of::<Conn>());
        assert!(size_of::<Stream>() <= 120, "{}", size_of::<Stream>());
    }
}
