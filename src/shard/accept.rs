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
use tokio::time::{Instant, sleep};

use super::http_conn::HttpConn;
use super::state::Shard;
use crate::conn::Conn;

/// Connections accepted in a row before other tasks run.
const ACCEPTS_MAX: usize = 64;

/// How long the listener rests when the system has no descriptor or memory for a connection.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(50);

/// Least time between two log lines about refused connections.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Accepts until the listener fails. A connection over the bound is closed at once: without a
/// permit there is no memory for an answer.
///
/// # Errors
///
/// The listener can't be registered with tokio, or its readiness not be waited for.
///
/// # Cancel safety
///
/// Dropping the future loses no connection that was accepted.
pub(super) async fn accept(listener: std::net::TcpListener, shard: &Rc<Shard>) -> io::Result<()> {
    // SAFETY: the `AsyncFd` owns the listener, whose descriptor never changes and lives as long.
    let listener = unsafe { AsyncFd::register_with_interest(listener, Interest::READABLE) }?;
    let mut refusals = RateLimitedLog::default();
    loop {
        let mut guard = listener.readable().await?;
        for _ in 0..ACCEPTS_MAX {
            match accept_with(listener.get_ref(), SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok(fd) => admit(fd, shard, &mut refusals),
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

fn admit(fd: OwnedFd, shard: &Rc<Shard>, refusals: &mut RateLimitedLog) {
    let room = shard.handle.connections.len() < shard.core.shard_connections_max;
    let Some(permit) = shard.core.connections.try_permit().filter(|_| room) else {
        let (max, of) = match room {
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

/// Whether the next accept would fail as well.
fn is_shortage(error: Errno) -> bool {
    matches!(error, Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)
}

/// Drops log lines within [`LOG_INTERVAL`] of the last one: clients can cause them at will.
#[derive(Default)]
struct RateLimitedLog(Option<Instant>);

impl RateLimitedLog {
    fn log(&mut self, line: impl FnOnce()) {
        if self.0.is_none_or(|at| at.elapsed() >= LOG_INTERVAL) {
            self.0 = Some(Instant::now());
            line();
        }
    }
}
