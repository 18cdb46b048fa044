//! Takes connections off the shard's listener.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep};

use super::Shard;
use super::serve::Serve;

/// How long to leave the listener alone when the system has no descriptor or memory for another connection.
const SHORTAGE_PAUSE: Duration = Duration::from_millis(50);

/// Least time between two lines about the same trouble.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Accepts for ever. One connection too many is closed at once: with no permit there is no memory for a word.
///
/// # Cancel safety
///
/// Dropping it loses no connection that was accepted.
pub async fn accept(listener: &TcpListener, shard: &Rc<Shard>) {
    let mut said = None;
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) if is_shortage(&error) => {
                say(&mut said, || tracing::error!(%error, "can't accept connections"));
                sleep(SHORTAGE_PAUSE).await;
                continue;
            }
            // The peer was gone before it was accepted.
            Err(_) => continue,
        };
        match shard.core.connections.take() {
            Some(permit) => drop(spawn_local(Serve::new(stream, shard, permit))),
            None => say(&mut said, || {
                let max = shard.core.connections.max();
                tracing::warn!(max, "as many connections are open as there may be; closing new ones");
            }),
        }
    }
}

/// `EMFILE`, `ENFILE`, `ENOBUFS`, `ENOMEM`: the next accept would fail as well.
fn is_shortage(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}

/// A client can make this happen at will, so it is said now and then only.
fn say(said: &mut Option<Instant>, line: impl FnOnce()) {
    if said.is_none_or(|at| at.elapsed() >= LOG_INTERVAL) {
        *said = Some(Instant::now());
        line();
    }
}
