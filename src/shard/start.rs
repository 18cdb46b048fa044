//! How a shard starts: in steps, so that everything that can fail does so before the node reports
//! that it listens.
//!
//! 1. All runtimes are built on the caller's thread: tokio's wake-up descriptors must be in the
//!    table that shards copy, since other threads wake them by number.
//! 2. Each shard's thread starts and, if each shard is to have its own descriptor table, takes it
//!    (`unshare(CLONE_FILES)`, no privilege needed). `RLIMIT_NOFILE` is per table, so each shard
//!    then has all of it; and the kernel skips descriptor reference counting for a table used by
//!    one thread.
//! 3. When all have, the node reserves the address. Reserved earlier, each table would hold a copy
//!    of the socket and keep the port bound.
//! 4. Each shard opens its listener, its epoll instance and its sender, in its own table, and
//!    serves.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use rustix::thread::{UnshareFlags, unshare_unsafe};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::LocalSet;

use super::listener::{ListenerOptions, listen};
use super::run::{Command, run};
use super::state::{OpenError, Shard};
use crate::core::Core;
use crate::ring::Mailbox;

/// A shard whose runtime is built.
pub(crate) struct ShardRuntime(Runtime);

/// What a shard starts with.
pub(crate) struct ShardConfig {
    pub(crate) core: Arc<Core>,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) commands: watch::Receiver<Command>,
}

/// A shard whose thread has started.
pub(crate) struct StartingShard {
    thread: JoinHandle<()>,
    addr: SyncSender<SocketAddr>,
    steps: Receiver<Result<(), OpenError>>,
}

impl ShardRuntime {
    pub(crate) fn new() -> io::Result<Self> {
        Builder::new_current_thread().enable_all().build().map(Self)
    }

    /// Starts the shard's thread, which waits for the address, and ends after the command to
    /// drain.
    pub(crate) fn start(self, config: ShardConfig) -> io::Result<StartingShard> {
        let (addr, addr_rx) = sync_channel(1);
        let (step, steps) = sync_channel(2);
        let name = format!("shard-{}", config.mailbox.index);
        let thread = std::thread::Builder::new()
            .name(name)
            .spawn(move || self.run_thread(config, &addr_rx, &step))?;
        Ok(StartingShard { thread, addr, steps })
    }

    fn run_thread(
        self,
        config: ShardConfig,
        addr_rx: &Receiver<SocketAddr>,
        step: &SyncSender<Result<(), OpenError>>,
    ) {
        // If the node has failed to start, nothing receives this, and no address comes.
        let _ = step.send(if config.core.own_descriptor_tables {
            take_descriptor_table().map_err(OpenError::Table)
        } else {
            Ok(())
        });
        let Ok(addr) = addr_rx.recv() else { return };
        let options = ListenerOptions::from(&config.core.config);
        let opened = listen(addr, options).map_err(OpenError::Listener).and_then(|listener| {
            let shard = Shard::new(config.core, config.mailbox)?;
            Ok((listener, Rc::new(shard)))
        });
        match opened {
            Ok((listener, shard)) => {
                let _ = step.send(Ok(()));
                let root = run(Rc::clone(&shard), listener, config.commands);
                block_on(&self.0, &shard, root);
            }
            Err(error) => drop(step.send(Err(error))),
        }
    }
}

/// Runs all tasks of a shard until its root future ends. A shard that fails, or whose root future
/// panics, fails the node: a node without all its shards can't serve all its connections. It takes
/// no more events, and its health check fails.
fn block_on(runtime: &Runtime, shard: &Rc<Shard>, root: impl Future<Output = io::Result<()>>) {
    let tasks = LocalSet::new();
    let _fail_on_panic = FailOnPanic(shard);
    if let Err(error) = runtime.block_on(tasks.run_until(root)) {
        tracing::error!(shard = shard.mailbox.index, %error, "a shard has failed");
        shard.core.queue.close();
    }
}

/// Fails the node if the shard's thread panics, and closes the shard's connections: clients of
/// streams that nobody writes to any more must learn it, to reconnect.
struct FailOnPanic<'a>(&'a Rc<Shard>);

impl Drop for FailOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(shard = self.0.mailbox.index, "a shard has panicked");
            self.0.core.queue.close();
            self.0.close_all();
        }
    }
}

impl StartingShard {
    /// Waits until the shard has its descriptor table.
    pub(crate) fn wait_for_table(&self) -> Result<(), OpenError> {
        self.step()
    }

    /// Makes the shard listen on `addr`, and waits until it does.
    pub(crate) fn listen(self, addr: SocketAddr) -> Result<JoinHandle<()>, OpenError> {
        // If the thread has ended, the step reports it.
        let _ = self.addr.send(addr);
        self.step()?;
        Ok(self.thread)
    }

    fn step(&self) -> Result<(), OpenError> {
        let ended = || OpenError::Thread(io::Error::other("the shard's thread has ended"));
        self.steps.recv().unwrap_or_else(|_| Err(ended()))
    }
}

/// Whether a thread can take its own descriptor table here. Some container profiles forbid
/// `unshare`.
pub(crate) fn can_own_descriptor_table() -> bool {
    std::thread::spawn(take_descriptor_table).join().is_ok_and(|taken| taken.is_ok())
}

fn take_descriptor_table() -> io::Result<()> {
    // SAFETY: the table is copied, so every descriptor this thread was given stays valid here; and
    // what it opens from here on stays on this thread, as everything of a shard does.
    unsafe { unshare_unsafe(UnshareFlags::FILES) }?;
    Ok(())
}

#[cfg(all(test, not(ring_loom)))]
mod tests {
    use std::io::Read;

    use hyper::StatusCode;

    use super::*;
    use crate::admin::health;
    use crate::config::Config;
    use crate::event::Position;

    /// Ensures that a shard that has panicked is noticed.
    ///
    /// Scenario: the accept loop of a shard panics, or its drain, which run in its root future.
    ///
    /// Cause: the panic ended the shard's thread and nothing else. Publishers went on to receive
    /// 200, `/healthz` on other shards said `ok`, and the shard's detached streams stayed open and
    /// silent.
    ///
    /// Fix: a guard closes the queue and the shard's connections.
    #[test]
    fn a_panic_in_a_shards_root_future_fails_the_node_and_closes_its_streams() {
        let core = Core::for_test(Config::default());
        let (peer, received) = tokio::sync::oneshot::channel();
        let thread = std::thread::spawn({
            let core = Arc::clone(&core);
            move || {
                let shard = Rc::new(Shard::new(Arc::clone(&core), Arc::default()).unwrap());
                peer.send(shard.stream_for_test("*", &Position::Live).1).unwrap();
                assert_eq!(health(&core).0, StatusCode::OK);
                let ShardRuntime(runtime) = ShardRuntime::new().unwrap();
                block_on(&runtime, &shard, async { panic!("on purpose") });
            }
        });
        assert_eq!(thread.join().unwrap_err().downcast_ref(), Some(&"on purpose"));
        assert!(core.queue.is_closed());
        assert_eq!(health(&core).0, StatusCode::SERVICE_UNAVAILABLE);
        let mut peer = received.blocking_recv().unwrap();
        assert_eq!(peer.read(&mut [0]).unwrap(), 0, "the stream has ended");
        assert_eq!((core.connections.used(), core.streams.used()), (0, 0));
    }
}
