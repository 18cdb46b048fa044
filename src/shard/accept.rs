//! Takes connections off the shard's listener.

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::{spawn_local, yield_now};
use tokio::time::{Instant, sleep};

use super::Shard;
use super::conn::Conn;
use super::http_conn::Serve;

/// Connections taken before everything else has its batch.
const ACCEPT_BATCH: usize = 64;

/// How long to leave the listener alone when the system has no descriptor or memory for another
/// connection.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(50);

/// Least time between two lines about the same trouble.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Accepts for ever. One connection too many is closed at once: with no permit there is no memory
/// for a word.
///
/// # Cancel safety
///
/// Dropping it loses no connection that was accepted.
pub async fn accept(listener: std::net::TcpListener, shard: &Rc<Shard>) -> io::Result<()> {
    // SAFETY: the listener owns its descriptor, always the same one, and lives as long as what it
    // is given to.
    let listener = unsafe { AsyncFd::register_with_interest(listener, Interest::READABLE) }?;
    let mut said = None;
    loop {
        let mut guard = listener.readable().await?;
        for _ in 0..ACCEPT_BATCH {
            match accept_with(listener.get_ref(), SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok(fd) => admit(fd, shard, &mut said),
                Err(Errno::AGAIN) => {
                    guard.clear_ready();
                    break;
                }
                Err(error) if is_shortage(error) => {
                    say(&mut said, || tracing::error!(%error, "can't accept connections"));
                    sleep(SHORTAGE_PAUSE).await;
                    break;
                }
                // The peer was gone before it was accepted.
                Err(_) => {}
            }
        }
        yield_now().await;
    }
}

fn admit(fd: OwnedFd, shard: &Rc<Shard>, said: &mut Option<Instant>) {
    let room = shard.table.connections() < shard.core.shard_connections_max;
    let Some(permit) = shard.core.connections.take().filter(|_| room) else {
        let max = shard.core.connections.max();
        say(said, || {
            tracing::warn!(max, "as many connections are open as there may be; closing new ones")
        });
        return;
    };
    let conn = Rc::new(Conn::new(fd, permit, shard.now()));
    shard.table.admit(&conn);
    match shard.reactor.watch(&conn) {
        Ok(()) => drop(spawn_local(Serve::new(conn, shard))),
        Err(error) => {
            say(said, || tracing::error!(%error, "can't watch connections"));
            shard.close(&conn);
        }
    }
}

/// The next accept would fail as well.
fn is_shortage(error: Errno) -> bool {
    matches!(error, Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)
}

/// A client can make this happen at will, so it is said now and then only.
fn say(said: &mut Option<Instant>, line: impl FnOnce()) {
    if said.is_none_or(|at| at.elapsed() >= LOG_INTERVAL) {
        *said = Some(Instant::now());
        line();
    }
}
