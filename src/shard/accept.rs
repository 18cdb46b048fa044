//! The accept loop of a shard's listener.

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::{spawn_local, yield_now};
use tokio::time::sleep;

use super::http_conn::HttpConn;
use super::log_limit::LogLimit;
use super::state::Shard;
use crate::conn::Conn;
use crate::quota::Permit;

/// Connections accepted in a row before other tasks run.
const ACCEPTS_MAX: usize = 16;

/// How often other tasks run so that a displaced connection ends. They run in the order in which
/// they were woken, dozens at a time.
const YIELDS_MAX: usize = 64;

/// How long the listener rests when the system has no descriptor or memory for a connection.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(50);

/// Accepts until the listener fails. For a connection over a bound, one without a stream is closed
/// or, if there is none, the new one at once: without a permit there is no memory for an answer.
///
/// # Errors
///
/// The listener can't be registered with tokio, or its readiness not be waited for.
///
/// # Cancel safety
///
/// Dropping the future closes at most one connection that was accepted, at a bound.
pub(super) async fn accept(listener: std::net::TcpListener, shard: &Rc<Shard>) -> io::Result<()> {
    // SAFETY: the `AsyncFd` owns the listener, whose descriptor never changes and lives as
    // long as the `AsyncFd`.
    let listener = unsafe { AsyncFd::register_with_interest(listener, Interest::READABLE) }?;
    let refusals = LogLimit::default();
    loop {
        let mut guard = listener.readable().await?;
        for _ in 0..ACCEPTS_MAX {
            match accept_with(listener.get_ref(), SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok(fd) => admit(fd, shard, &refusals).await,
                Err(Errno::AGAIN) => {
                    guard.clear_ready();
                    break;
                }
                Err(error) if is_shortage(error) => {
                    refusals.log(|| tracing::error!(%error, "can't accept connections"));
                    sleep(SHORTAGE_PAUSE).await;
                    break;
                }
                // The peer disconnected before it was accepted.
                Err(_) => {}
            }
        }
        yield_now().await;
    }
}

async fn admit(fd: OwnedFd, shard: &Rc<Shard>, refusals: &LogLimit) {
    let requests = &shard.handle.request_connections;
    let displaced = requests.is_full() && requests.displace();
    if displaced {
        let max = requests.max();
        refusals.log(|| {
            tracing::warn!(
                max,
                "limit of connections without a stream reached on this shard; closing those that \
                 have waited longest"
            );
        });
    }
    let Some(permit) = permit(shard, displaced).await else {
        let (max, of) = match has_room(shard) {
            true => (shard.core.connections.max(), "the node"),
            false => (shard.core.shard_connections_max, "this shard"),
        };
        refusals.log(|| {
            tracing::warn!(max, "connection limit of {of} reached; closing new connections");
        });
        return;
    };
    let conn = Rc::new(Conn::new(fd, permit, shard.now()));
    shard.handle.connections.insert(&conn);
    match shard.epoll.add(&conn) {
        Ok(()) => drop(spawn_local(HttpConn::new(conn, shard))),
        Err(error) => {
            refusals.log(|| tracing::error!(%error, "can't add a connection to epoll"));
            shard.close(&conn);
        }
    }
}

/// A permit for one more connection. If none is left, a connection without a stream makes room:
/// clients that send nothing would otherwise keep others from opening streams. `displaced` is
/// whether one has been told to already.
async fn permit(shard: &Shard, displaced: bool) -> Option<Permit> {
    let permit = try_permit(shard);
    if permit.is_some() || !(displaced || shard.handle.request_connections.displace()) {
        return permit;
    }
    for _ in 0..YIELDS_MAX {
        yield_now().await;
        if let Some(permit) = try_permit(shard) {
            return Some(permit);
        }
    }
    None
}

fn try_permit(shard: &Shard) -> Option<Permit> {
    shard.core.connections.try_permit().filter(|_| has_room(shard))
}

fn has_room(shard: &Shard) -> bool {
    shard.handle.connections.len() < shard.core.shard_connections_max
}

/// Whether the next accept would fail as well.
fn is_shortage(error: Errno) -> bool {
    matches!(error, Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)
}
