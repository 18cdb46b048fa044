//! The publisher: one thread, keep-alive connections, and a schedule that does not wait for
//! responses (an open-loop load generator).
//!
//! An event's due time comes from the schedule, not from when a connection was free. Latency is
//! measured from it, so a server that stalls is charged for every event it delayed (no coordinated
//! omission).

mod connection;
mod event_loop;
mod message;
mod poller;
mod pool;
mod response;
mod schedule;
mod stats;
mod template;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use rustix::event::{EventfdFlags, eventfd};

use crate::error::Error;
use event_loop::EventLoop;
pub(crate) use message::{Command, PublishPlan, PublishTick, Published, PublisherEvent};
pub(crate) use template::PublishTemplate;

/// Commands queued for the publisher's thread.
const COMMANDS_MAX: usize = 64;

/// Handle of the publisher's thread; dropping it aborts the publisher.
pub(crate) struct Publisher {
    commands: SyncSender<Command>,
    wake: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Publisher {
    /// Connects, then starts the thread, which reports to `send`.
    pub(crate) fn start(
        plan: PublishPlan,
        send: impl Fn(PublisherEvent) + Send + 'static,
    ) -> Result<Self, Error> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|error| Error::system("open an eventfd", error))?;
        let wake = Arc::new(wake);
        let (commands, receiver) = sync_channel(COMMANDS_MAX);
        let event_loop = EventLoop::open(plan, Arc::clone(&wake), receiver)?;
        let thread = std::thread::Builder::new()
            .name("publisher".into())
            .spawn(move || event_loop.run(&send))
            .map_err(|error| Error::system("start a thread", error))?;
        Ok(Self { commands, wake, thread: Some(thread) })
    }

    /// Sends a command; ignored if the publisher has ended.
    pub(crate) fn command(&self, command: Command) {
        let _ = self.commands.send(command);
        let _ = rustix::io::write(&*self.wake, &1u64.to_ne_bytes());
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.command(Command::Abort);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
