//! The readiness reactor of a shard: passes epoll's events on to the connections.
//!
//! tokio watches the shard's epoll instance, which is nested in tokio's own, and polls this task
//! when there are events.

use std::io;
use std::rc::Rc;

use rustix::event::epoll::{Event, EventFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::yield_now;

use super::epoll::{EVENTS_MAX, key_of, token};
use super::state::Shard;
use crate::conn::Stage;

const HUNG_UP: EventFlags = EventFlags::RDHUP.union(EventFlags::HUP).union(EventFlags::ERR);

/// The shard's reactor task.
///
/// # Errors
///
/// What `epoll_wait(2)` fails with; the shard can't go on then.
pub(super) async fn run_reactor(shard: Rc<Shard>) -> io::Result<()> {
    let epoll = rustix::io::dup(shard.epoll.fd())?;
    // SAFETY: the `AsyncFd` owns the descriptor, which never changes and lives as long as it.
    let ready = unsafe { AsyncFd::register_with_interest(epoll, Interest::READABLE) }?;
    let mut events = Vec::with_capacity(EVENTS_MAX);
    loop {
        let mut guard = ready.readable().await?;
        match shard.epoll.take(&mut events) {
            // There were no more: a later event makes the descriptor ready again.
            Ok(()) if events.len() < EVENTS_MAX => guard.clear_ready(),
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        shard.tick();
        for event in &events {
            dispatch(&shard, event);
        }
        // After a full list there may be more: other tasks run first.
        if events.len() == EVENTS_MAX {
            yield_now().await;
        }
    }
}

fn dispatch(shard: &Rc<Shard>, event: &Event) {
    let name = event.data.u64();
    // The connection may be closed, and its key given to another one.
    let conn = shard.handle.connections.get(key_of(name));
    let Some(conn) = conn.filter(|conn| token(conn) == name) else { return };
    let flags = event.flags;
    let (readable, writable) = (flags.contains(EventFlags::IN), flags.contains(EventFlags::OUT));
    let hung_up = flags.intersects(HUNG_UP);
    conn.readiness.note(readable, writable, hung_up);
    let unblocked = writable && conn.readiness.is_blocked();
    match conn.lifecycle.stage() {
        Stage::Closed => {}
        Stage::Detached if hung_up => shard.close(&conn),
        Stage::Detached if unblocked => {
            conn.readiness.unblock();
            shard.schedule(&conn);
        }
        // What a peer sends on a stream stays in the kernel's buffer: it can't change the stream.
        Stage::Detached => {}
        _ if readable || hung_up || unblocked => conn.wake_task(),
        // A new socket is writable; nobody waits for that.
        _ => {}
    }
}

#[cfg(all(test, not(ring_loom)))]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;

    use super::*;
    use crate::config::Config;
    use crate::conn::Conn;
    use crate::core::Core;
    use crate::quota::Quota;

    /// Ensures that a connection is not closed for an event of another one.
    ///
    /// Scenario: a connection is closed while the pump still holds a reference, a new one is given
    /// its key, and then the old one's peer disconnects.
    ///
    /// Cause: the descriptor was still open and watched under that key, so the new stream was
    /// closed.
    ///
    /// Fix: the token of an event contains the descriptor as well.
    #[test]
    fn an_event_of_a_closed_connection_is_ignored_after_its_key_is_reused() {
        let core = Core::for_test(Config::default());
        let shard = Rc::new(Shard::new(core, Arc::default()).unwrap());
        let quota = Arc::new(Quota::new(2));
        let open = || {
            let (near, far) = UnixStream::pair().unwrap();
            let conn = Rc::new(Conn::new(near.into(), quota.try_permit().unwrap(), 0));
            shard.handle.connections.insert(&conn);
            shard.epoll.add(&conn).unwrap();
            (conn, far)
        };
        let (old, old_peer) = open();
        shard.close(&old);
        let (new, new_peer) = open();
        assert_eq!(old.key(), new.key());
        let react = || {
            let mut events = Vec::new();
            shard.epoll.take(&mut events).unwrap();
            events.iter().for_each(|event| dispatch(&shard, event));
            events.len()
        };
        drop(old_peer);
        assert!(react() > 0);
        assert!(!new.readiness.is_hung_up());
        drop(new_peer);
        assert!(react() > 0);
        assert!(new.readiness.is_hung_up());
    }
}
