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
                let (tasks, core) = (LocalSet::new(), Arc::clone(&shard.core));
                let index = shard.mailbox.index;
                if let Err(error) =
                    self.0.block_on(tasks.run_until(run(shard, listener, config.commands)))
                {
                    // A node without all its shards can't serve all its connections: it takes no
                    // more events, and its health check fails.
                    tracing::error!(shard = index, %error, "a shard has failed");
                    core.queue.close();
                }
            }
            Err(error) => drop(step.send(Err(error))),
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
