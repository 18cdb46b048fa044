//! The publishers' side: one thread, keep-alive connections, a schedule that does not wait for
//! answers.
//!
//! An event's due time comes from the schedule, not from when a connection was free: latency is
//! measured from it, so a server that stalls is charged for every event it held up.

mod connection;
mod event_loop;
mod response;
mod schedule;
pub mod template;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use rustix::event::{EventfdFlags, eventfd};

use crate::error::Fault;
use crate::measure::latency::Sparse;
use template::PublishTemplate;

/// Commands that may wait for the publisher's thread.
const COMMANDS_MAX: usize = 64;

/// What and how to publish.
#[derive(Clone, Debug)]
pub struct PublishPlan {
    /// Where the server listens.
    pub target: SocketAddr,
    /// The request.
    pub template: PublishTemplate,
    /// Keep-alive connections.
    pub connections: usize,
    /// Requests in flight on each; 1 is no pipelining.
    pub depth: usize,
    /// This run's mark.
    pub run: u32,
    /// Topics, taken in turn.
    pub topics: u32,
    /// Bytes of data.
    pub size: usize,
    /// Span of one point of the time series.
    pub tick: u64,
}

/// What the publisher is to do next.
#[derive(Clone, Copy, Debug)]
pub enum Command {
    /// So many events, all due at one time.
    Send {
        /// How many.
        count: u64,
        /// When they are due.
        due: u64,
    },
    /// Events at a fixed distance, until `count` are sent or their due time reaches `until`.
    Rate {
        /// When the first is due.
        start: u64,
        /// From one to the next.
        interval: u64,
        /// How many at most.
        count: u64,
        /// When to end.
        until: u64,
    },
    /// As many as the connections take; due when sent.
    Flat {
        /// How many at most.
        count: u64,
        /// When to end.
        until: u64,
    },
    /// Nothing more; answers in flight are awaited, then [`FromPublisher::Finished`].
    Finish,
    /// Nothing more, at once.
    Abort,
}

/// What the publisher tells.
#[derive(Debug)]
pub enum FromPublisher {
    /// What happened in one span of the time series.
    Tick(PublishTick),
    /// A `Rate` or `Flat` command has sent its last event.
    Exhausted,
    /// The last message: events sent by topic, and those not taken by the server.
    Finished {
        /// Events sent by topic.
        ends: Vec<u64>,
        /// Topic and number of those refused.
        excused: Vec<(u32, u64)>,
    },
}

/// One span of the time series.
#[derive(Clone, Debug, Default)]
pub struct PublishTick {
    /// Requests begun in it.
    pub sent: u64,
    /// Answers by status, or by what went wrong.
    pub answers: BTreeMap<String, u64>,
    /// From due to answered with 2xx.
    pub latency: Sparse,
}

/// The running publisher.
pub struct Publisher {
    commands: SyncSender<Command>,
    wake: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Publisher {
    /// Connects and starts the thread; what it has to tell goes to `tell`.
    pub fn start(
        plan: PublishPlan,
        tell: impl Fn(FromPublisher) + Send + 'static,
    ) -> Result<Self, Fault> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|error| Fault::system("open an eventfd", error))?;
        let wake = Arc::new(wake);
        let (commands, inbox) = sync_channel(COMMANDS_MAX);
        let mut publisher = event_loop::Loop::open(plan, Arc::clone(&wake), inbox)?;
        let thread = std::thread::Builder::new()
            .name("publisher".into())
            .spawn(move || publisher.run(&tell))
            .map_err(|error| Fault::system("start a thread", error))?;
        Ok(Self { commands, wake, thread: Some(thread) })
    }

    /// Gives a command. A publisher that has ended ignores it.
    pub fn command(&self, command: Command) {
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
