//! How a shard starts: in steps, so that everything that can fail does so before the node says it
//! listens.
//!
//! 1. All runtimes are built on the caller's thread: tokio's wake-up descriptors must be in the
//!    table that shards copy, since other threads wake them by number.
//! 2. Each shard's thread starts and, where the plan says so, takes a descriptor table of its own
//!    (`unshare(CLONE_FILES)`, no privilege needed). `RLIMIT_NOFILE` is per table, so each shard
//!    then has all of it; and no system call counts references on a table that others use.
//! 3. When all have, the address is reserved. Before, the tables would have copied the reservation
//!    and held the port.
//! 4. Each shard opens its listener, its epoll and its sender, in its own table, and serves.

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

use super::listener::{Options, listen};
use super::{Command, Shard, run};
use crate::node::Core;
use crate::ring::Mailbox;

/// A shard whose runtime is built.
pub struct Prepared(Runtime);

/// What a shard is given on its way.
pub struct Plan {
    /// What it shares with the others.
    pub core: Arc<Core>,
    /// Where its wakers come in.
    pub mailbox: Arc<Mailbox>,
    /// What the node tells it.
    pub commands: watch::Receiver<Command>,
    /// Whether it takes a descriptor table of its own.
    pub own_descriptors: bool,
    /// Of its listener.
    pub options: Options,
}

/// A shard whose thread has started.
pub struct Starting {
    thread: JoinHandle<()>,
    addr: SyncSender<SocketAddr>,
    steps: Receiver<io::Result<()>>,
}

impl Prepared {
    /// Builds the runtime.
    pub fn new() -> io::Result<Self> {
        Builder::new_current_thread().enable_all().build().map(Self)
    }

    /// Starts the shard's thread, which waits for the address, and ends after it was ordered to
    /// drain.
    pub fn start(self, plan: Plan) -> io::Result<Starting> {
        let (addr, given) = sync_channel(1);
        let (step, steps) = sync_channel(2);
        let name = format!("shard-{}", plan.mailbox.index);
        let thread =
            std::thread::Builder::new().name(name).spawn(move || self.live(plan, &given, &step))?;
        Ok(Starting { thread, addr, steps })
    }

    fn live(self, plan: Plan, given: &Receiver<SocketAddr>, step: &SyncSender<io::Result<()>>) {
        // Who started it may have given up; then there is nobody to tell, and no address comes.
        let _ = step.send(if plan.own_descriptors { take_descriptor_table() } else { Ok(()) });
        let Ok(addr) = given.recv() else { return };
        let opened = listen(addr, plan.options).and_then(|listener| {
            let shard = Shard::new(plan.core, plan.mailbox)?;
            Ok((listener, Rc::new(shard)))
        });
        match opened {
            Ok((listener, shard)) => {
                let _ = step.send(Ok(()));
                let (tasks, core) = (LocalSet::new(), Arc::clone(&shard.core));
                if let Err(error) =
                    self.0.block_on(tasks.run_until(run(shard, listener, plan.commands)))
                {
                    // The node is not whole any more: it takes no events, and the health check says
                    // so.
                    tracing::error!(%error, "a shard has ended");
                    core.queue.close();
                }
            }
            Err(error) => drop(step.send(Err(error))),
        }
    }
}

impl Starting {
    /// Waits until the shard has its descriptor table.
    pub fn own_table(&self) -> io::Result<()> {
        self.step()
    }

    /// Has the shard listen on `addr`, and waits until it does.
    pub fn listen(self, addr: SocketAddr) -> io::Result<JoinHandle<()>> {
        // If it has ended, the step says so.
        let _ = self.addr.send(addr);
        self.step()?;
        Ok(self.thread)
    }

    fn step(&self) -> io::Result<()> {
        self.steps.recv().unwrap_or_else(|_| Err(io::Error::other("the shard's thread has ended")))
    }
}

/// Whether a thread can have a descriptor table of its own here. Some container profiles forbid
/// `unshare`.
pub fn can_own_descriptors() -> bool {
    std::thread::spawn(take_descriptor_table).join().is_ok_and(|taken| taken.is_ok())
}

fn take_descriptor_table() -> io::Result<()> {
    // SAFETY: the table is copied, so every descriptor this thread was given stays valid here; and
    // what it opens from here on stays on this thread, as everything of a shard does.
    unsafe { unshare_unsafe(UnshareFlags::FILES) }?;
    Ok(())
}
