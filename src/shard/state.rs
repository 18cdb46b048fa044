//! What the tasks of a shard share; on its thread only.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;

use super::clock::Clock;
use super::epoll::Epoll;
use super::log_limit::LogLimit;
use super::quantum::Quantum;
use super::sender::Sender;
use crate::conn::{Conn, Millis, ShardHandle};
use crate::core::Core;
use crate::ring::Mailbox;

/// How long after a time in which the shard stood still the readiness of its connections is in
/// doubt: in a second, the reactor takes the edges of 100,000 connections.
const STALE: Millis = 1000;

/// What a shard could not open.
#[derive(Debug)]
pub(crate) enum OpenError {
    /// Its thread, which has ended.
    Thread(io::Error),
    /// Its own descriptor table.
    Table(io::Error),
    Listener(io::Error),
    Epoll(io::Error),
    /// The ring that `FANFARE_IO=uring` asks for.
    Sender(io::Error),
}

pub(super) struct Shard {
    pub(super) core: Arc<Core>,
    pub(super) handle: Rc<ShardHandle>,
    /// Where the sequencer puts the wakers of rings to read.
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) epoll: Epoll,
    pub(super) sender: RefCell<Sender>,
    quantum: RefCell<Quantum>,
    /// Scheduled connections for the pump; each is there once.
    ready: RefCell<VecDeque<Rc<Conn>>>,
    /// Connections that need the log, which the sequencer has just then; each is there once.
    postponed: RefCell<Vec<Rc<Conn>>>,
    /// For streams closed at the budget for unsent bytes.
    pub(super) over_budget: LogLimit,
    pub(super) clock: Clock,
}

impl Shard {
    pub(super) fn new(core: Arc<Core>, mailbox: Arc<Mailbox>) -> Result<Self, OpenError> {
        let sender = Sender::new(core.config.io, core.io).map_err(OpenError::Sender)?;
        Ok(Self {
            handle: Rc::new(ShardHandle::new(Arc::clone(&core), &mailbox)),
            epoll: Epoll::new().map_err(OpenError::Epoll)?,
            sender: RefCell::new(sender),
            quantum: RefCell::new(Quantum::new(core.config.quantum_streams)),
            ready: RefCell::default(),
            postponed: RefCell::default(),
            over_budget: LogLimit::default(),
            clock: Clock::new(&core.config),
            core,
            mailbox,
        })
    }

    /// Streams the pump may visit before it yields.
    pub(super) fn quantum(&self) -> usize {
        self.quantum.borrow().streams(self.handle.published())
    }

    /// Records that the pump yields.
    pub(super) fn end_quantum(&self) {
        self.quantum.borrow_mut().end(self.handle.take_published());
    }

    /// Schedules a connection: wakes its HTTP task or, if detached, queues it for the pump.
    pub(super) fn schedule(&self, conn: &Rc<Conn>) {
        if !conn.lifecycle.is_detached() {
            conn.wake_task();
        } else if conn.schedule() {
            self.ready.borrow_mut().push_back(Rc::clone(conn));
            self.mailbox.wake();
        }
    }

    /// Puts a detached connection off until the pump is woken next, or yields.
    pub(super) fn postpone(&self, conn: &Rc<Conn>) {
        if conn.schedule() {
            self.postponed.borrow_mut().push(Rc::clone(conn));
        }
    }

    /// Queues the connections that were put off for the pump.
    pub(super) fn resume_postponed(&self) {
        self.ready.borrow_mut().extend(self.postponed.borrow_mut().drain(..));
    }

    /// Takes up to `limit` scheduled connections, the longest waiting first; false if there are
    /// none.
    pub(super) fn take_ready(&self, limit: usize, out: &mut Vec<Rc<Conn>>) -> bool {
        let mut ready = self.ready.borrow_mut();
        let taken = limit.min(ready.len());
        out.extend(ready.drain(..taken).inspect(|conn| conn.unschedule()));
        if ready.is_empty() {
            ready.shrink_to(self.core.config.quantum_streams);
        }
        taken > 0
    }

    /// Closes a connection in any stage and releases what it holds.
    pub(super) fn close(&self, conn: &Rc<Conn>) {
        if !conn.lifecycle.close() {
            return;
        }
        conn.close_stream();
        if conn.lifecycle.is_abort_requested() {
            // A TCP RST instead of an orderly close: the kernel frees the unsent bytes now, not
            // when it gives up a peer that does not read. If the option can't be set, they are
            // freed after TCP_USER_TIMEOUT.
            let _ = SockRef::from(&conn.fd()).set_linger(Some(Duration::ZERO));
        }
        self.handle.connections.remove(conn);
    }

    /// Closes every connection. Detached streams and the shard refer to each other, so none is
    /// dropped by itself.
    pub(super) fn close_all(&self) {
        let mut left = Vec::new();
        self.handle.connections.for_each(|_, conn| left.push(Rc::clone(conn)));
        for conn in left {
            self.close(&conn);
        }
    }

    /// The shard's clock, as of its last [`tick`](Self::tick): how long the shard has been running.
    pub(super) fn now(&self) -> Millis {
        self.clock.now()
    }

    /// Whether the shard stood still a short time ago, and the reactor may not have taken all that
    /// happened meanwhile. Reads the clock, since the caller may be the first to run after it.
    pub(super) fn has_stood_still(&self) -> bool {
        self.clock.tick();
        self.clock.stood_still(STALE) > 0
    }

    /// Reads the time into the clock: once per wake-up, not once per write.
    pub(super) fn tick(&self) {
        self.clock.tick();
        self.handle.set_time(self.clock.ran());
    }
}

#[cfg(all(test, not(ring_loom)))]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::config::Config;
    use crate::event::{Position, Selector};

    impl Shard {
        pub(in crate::shard) fn for_test(config: Config) -> Rc<Self> {
            Rc::new(Self::new(Core::for_test(config), Arc::default()).unwrap())
        }

        /// A detached stream and its peer, which has received nothing yet.
        pub(in crate::shard) fn stream_for_test(
            &self,
            selector: &str,
            position: &Position,
        ) -> (Rc<Conn>, UnixStream) {
            let (near, far) = UnixStream::pair().unwrap();
            for socket in [&near, &far] {
                socket.set_nonblocking(true).unwrap();
            }
            let permit = self.core.connections.try_permit().unwrap();
            let conn = Rc::new(Conn::new(near.into(), permit, self.now()));
            self.handle.connections.insert(&conn);
            let selectors = [Selector::parse(selector).unwrap()];
            let body = self.handle.open_stream(&conn, &selectors, position, true);
            conn.lifecycle.detached();
            drop(body.unwrap());
            (conn, far)
        }
    }
}
