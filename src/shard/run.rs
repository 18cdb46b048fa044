//! All tasks of a shard, until the node commands it to drain or to end.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::spawn_local;

use super::state::Shard;
use super::{accept, drain, pump, reactor, timer};

/// What the node tells its shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Serve,
    /// Leave service within this time, then end.
    Drain(Duration),
    /// End at once.
    End,
}

/// Runs a shard to its end. Every connection is closed when it returns.
///
/// # Errors
///
/// A failing listener or epoll, or a task that panicked: the shard can't serve any more.
pub(super) async fn run(
    shard: Rc<Shard>,
    listener: std::net::TcpListener,
    mut commands: watch::Receiver<Command>,
) -> io::Result<()> {
    let pump = spawn_local(pump::pump(Rc::clone(&shard)));
    let timer = spawn_local(timer::run_timer(Rc::clone(&shard)));
    let reactor = spawn_local(reactor::run_reactor(Rc::clone(&shard)));
    let ended = tokio::select! {
        ended = accept::accept(listener, &shard) => ended.map(|()| None),
        ended = reactor => {
            ended.unwrap_or_else(|error| Err(io::Error::other(error))).map(|()| None)
        }
        // Neither ends but by a panic; without them the shard's streams would be silent.
        ended = pump => ended.map_err(io::Error::other).map(|()| None),
        ended = timer => ended.map_err(io::Error::other).map(|()| None),
        time = drain_time(&mut commands) => Ok(time),
    };
    if let Ok(Some(time)) = ended {
        drain::drain(Rc::clone(&shard), time).await;
    }
    shard.close_all();
    ended.map(drop)
}

/// Waits for the command to drain, or to end at once (`None`), as when the node was dropped.
async fn drain_time(commands: &mut watch::Receiver<Command>) -> Option<Duration> {
    match commands.wait_for(|command| *command != Command::Serve).await.as_deref() {
        Ok(Command::Drain(time)) => Some(*time),
        _ => None,
    }
}
