//! What the kernel says of the shard's connections: one epoll of the shard's own, inside tokio's.
//!
//! Edge-triggered, each connection added once and never touched again: hyper and the pump share the registration, and
//! a detached stream needs no task and no registration with tokio. A connection leaves with its descriptor.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;

use libc::epoll_event;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::yield_now;

use super::Shard;
use super::conn::{Conn, Stage};

/// Events taken from the kernel in one call.
const EVENTS: usize = 256;

const WANTED: EventFlags =
    EventFlags::IN.union(EventFlags::OUT).union(EventFlags::RDHUP).union(EventFlags::ET);

const HUNG_UP: EventFlags = EventFlags::RDHUP.union(EventFlags::HUP).union(EventFlags::ERR);

/// The shard's epoll.
pub struct Reactor(OwnedFd);

impl Reactor {
    /// An empty one.
    pub fn new() -> io::Result<Self> {
        Ok(Self(epoll::create(CreateFlags::CLOEXEC)?))
    }

    /// Watches a connection under its key until its descriptor is closed.
    pub fn watch(&self, conn: &Conn) -> io::Result<()> {
        Ok(epoll::add(&self.0, conn.fd(), EventData::new_u64(conn.key().into()), WANTED)?)
    }

    /// Takes what there is to say, without waiting.
    ///
    /// With `epoll_wait(2)`: what rustix calls is `epoll_pwait2` (Linux 5.11) as soon as anything in the same build wants it
    /// to, and older kernels and container profiles don't have that.
    fn take(&self, events: &mut Vec<epoll_event>) -> io::Result<()> {
        events.clear();
        events.reserve(EVENTS);
        // SAFETY: the descriptor is open, and there is room for as many events as it is told.
        let taken = unsafe { libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), EVENTS as i32, 0) };
        let taken = usize::try_from(taken).map_err(|_| io::Error::last_os_error())?;
        // SAFETY: the kernel has filled in as many.
        unsafe { events.set_len(taken) };
        Ok(())
    }
}

/// The shard's reactor task: passes what the kernel says on to the connections.
pub async fn react(shard: Rc<Shard>) -> io::Result<()> {
    let epoll = rustix::io::dup(&shard.reactor.0)?;
    // SAFETY: it owns its descriptor, always the same one, and lives as long as what it is given to.
    let ready = unsafe { AsyncFd::register_with_interest(epoll, Interest::READABLE) }?;
    let mut events = Vec::with_capacity(EVENTS);
    loop {
        let mut guard = ready.readable().await?;
        match shard.reactor.take(&mut events) {
            // There was no more: what comes from here on makes the descriptor ready again.
            Ok(()) if events.len() < EVENTS => guard.clear_ready(),
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        shard.tick();
        for event in &events {
            pass_on(&shard, event);
        }
        // A full batch may not be the last: others have their turn first.
        if events.len() == EVENTS {
            yield_now().await;
        }
    }
}

fn pass_on(shard: &Rc<Shard>, event: &epoll_event) {
    let key = event.u64 as usize;
    // Gone meanwhile: closed by an event before this one.
    let Some(conn) = shard.table.conn(key) else { return };
    let flags = EventFlags::from_bits_retain(event.events);
    let (readable, writable) = (flags.contains(EventFlags::IN), flags.contains(EventFlags::OUT));
    let hung_up = flags.intersects(HUNG_UP);
    conn.note_ready(readable, writable, hung_up);
    let unblocked = writable && conn.blocked_for(0).is_some();
    match conn.stage() {
        Stage::Closed => {}
        Stage::Detached if hung_up => shard.close(&conn),
        Stage::Detached if unblocked => super::pump::resume(shard, &conn),
        // What a peer sends on a stream is left in the kernel's buffer: nothing it says changes the stream.
        Stage::Detached => {}
        _ if readable || hung_up || unblocked => conn.wake(),
        // A new socket is writable; that is no news.
        _ => {}
    }
}
