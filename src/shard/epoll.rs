//! A shard's own epoll instance: readiness of all its connections.
//!
//! Edge-triggered. Each connection is added once and never modified: hyper and the pump share the
//! registration, and a detached stream needs no task and no registration with tokio. A connection
//! leaves the instance when its descriptor is closed.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

use crate::conn::Conn;

/// Events taken from the kernel in one call.
pub(super) const EVENTS_MAX: usize = 64;

const INTEREST: EventFlags =
    EventFlags::IN.union(EventFlags::OUT).union(EventFlags::RDHUP).union(EventFlags::ET);

pub(super) struct Epoll(OwnedFd);

impl Epoll {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(epoll::create(CreateFlags::CLOEXEC)?))
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Watches a connection until its descriptor is closed.
    pub(super) fn add(&self, conn: &Conn) -> io::Result<()> {
        Ok(epoll::add(&self.0, conn.fd(), EventData::new_u64(token(conn)), INTEREST)?)
    }

    /// Takes the events there are, without waiting; at most [`EVENTS_MAX`].
    pub(super) fn take(&self, events: &mut Vec<Event>) -> io::Result<()> {
        events.clear();
        events.reserve(EVENTS_MAX);
        let now = Timespec::default();
        epoll::wait(&self.0, rustix::buffer::spare_capacity(events), Some(&now))?;
        Ok(())
    }
}

/// Identifies a connection in its epoll events: its key and its descriptor.
///
/// On close the key is reusable at once, but the descriptor stays open and watched until the last
/// `Rc<Conn>` is dropped. The token holds both, so a late event of the old connection can't match
/// the new one.
pub(super) fn token(conn: &Conn) -> u64 {
    u64::from(conn.key()) | (conn.fd().as_raw_fd() as u64) << 32
}

/// The key in a [`token`].
pub(super) fn key_of(token: u64) -> usize {
    token as u32 as usize
}
