//! What the kernel says of the shard's connections: one epoll of the shard's own, inside tokio's.
//!
//! Edge-triggered, each connection added once and never touched again: hyper and the pump share the
//! registration, and a detached stream needs no task and no registration with tokio. A connection
//! leaves with its descriptor.

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

    /// Watches a connection until its descriptor is closed, under its key and its descriptor.
    ///
    /// Both, because a connection that is closed gives its key back at once, and its descriptor
    /// only when nobody holds on to it any more: what the kernel still says of it must not be taken
    /// for the next connection with that key.
    pub fn watch(&self, conn: &Conn) -> io::Result<()> {
        Ok(epoll::add(&self.0, conn.fd(), EventData::new_u64(name(conn)), WANTED)?)
    }

    /// Takes what there is to say, without waiting.
    ///
    /// With `epoll_wait(2)`: what rustix calls is `epoll_pwait2` (Linux 5.11) as soon as anything
    /// in the same build wants it to, and older kernels and container profiles don't have that.
    fn take(&self, events: &mut Vec<epoll_event>) -> io::Result<()> {
        events.clear();
        events.reserve(EVENTS);
        // SAFETY: the descriptor is open, and there is room for as many events as it is told.
        let taken =
            unsafe { libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), EVENTS as i32, 0) };
        let taken = usize::try_from(taken).map_err(|_| io::Error::last_os_error())?;
        // SAFETY: the kernel has filled in as many.
        unsafe { events.set_len(taken) };
        Ok(())
    }
}

/// What the kernel is told to call a connection.
fn name(conn: &Conn) -> u64 {
    u64::from(conn.key()) | (conn.fd().as_raw_fd() as u64) << 32
}

/// The shard's reactor task: passes what the kernel says on to the connections.
pub async fn react(shard: Rc<Shard>) -> io::Result<()> {
    let epoll = rustix::io::dup(&shard.reactor.0)?;
    // SAFETY: it owns its descriptor, always the same one, and lives as long as what it is given
    // to.
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
        // A full batch may not be the last: others have their batch first.
        if events.len() == EVENTS {
            yield_now().await;
        }
    }
}

fn pass_on(shard: &Rc<Shard>, event: &epoll_event) {
    let (key, said_of) = (event.u64 as u32, event.u64);
    // Gone meanwhile, or its key is another's now.
    let Some(conn) = shard.table.conn(key as usize).filter(|conn| name(conn) == said_of) else {
        return;
    };
    let flags = EventFlags::from_bits_retain(event.events);
    let (readable, writable) = (flags.contains(EventFlags::IN), flags.contains(EventFlags::OUT));
    let hung_up = flags.intersects(HUNG_UP);
    conn.note_ready(readable, writable, hung_up);
    let unblocked = writable && conn.blocked_for(0).is_some();
    match conn.stage() {
        Stage::Closed => {}
        Stage::Detached if hung_up => shard.close(&conn),
        Stage::Detached if unblocked => super::pump::resume(shard, &conn),
        // What a peer sends on a stream is left in the kernel's buffer: nothing it says changes the
        // stream.
        Stage::Detached => {}
        _ if readable || hung_up || unblocked => conn.wake(),
        // A new socket is writable; that is no news.
        _ => {}
    }
}

#[cfg(all(test, not(ring_loom)))]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;

    use super::*;
    use crate::config::{Config, Io};
    use crate::node::Core;
    use crate::quota::Quota;

    /// Ensures a connection isn't closed for what happened to another one.
    ///
    /// Scenario: a connection is closed while the pump still holds on to it, a new one is given its
    /// key, and then the old one's peer goes away. Cause: the descriptor was still open and watched
    /// under that key, so the new stream was cut off. Fix: what the kernel says names the
    /// descriptor as well.
    #[test]
    fn what_is_said_of_a_closed_connection_is_not_taken_for_the_next_with_its_key() {
        let shard = Rc::new(
            Shard::new(Arc::new(Core::new(Config::default(), Io::Send)), Arc::default()).unwrap(),
        );
        let quota = Quota::new(2);
        let open = || {
            let (near, far) = UnixStream::pair().unwrap();
            let conn = Rc::new(Conn::new(near.into(), quota.take().unwrap(), 0));
            shard.table.admit(&conn);
            shard.reactor.watch(&conn).unwrap();
            (conn, far)
        };
        let (old, old_peer) = open();
        shard.close(&old);
        let (new, new_peer) = open();
        assert_eq!(old.key(), new.key());
        let hear = || {
            let mut events = Vec::new();
            shard.reactor.take(&mut events).unwrap();
            events.iter().for_each(|event| pass_on(&shard, event));
            events.len()
        };
        drop(old_peer);
        assert!(hear() > 0);
        assert!(!new.is_hung_up());
        drop(new_peer);
        assert!(hear() > 0);
        assert!(new.is_hung_up());
    }
}
