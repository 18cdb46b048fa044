//! The worker processes: spawned with their assignments, sent commands, and killed with the run.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use serde::Serialize;

use crate::connect;
use crate::error::Error;
use crate::publish::PublisherEvent;
use crate::scenario::{Scenario, Target};
use crate::subscribe::{Assignment, FromWorker, RequestTemplate, ToWorker};

/// Messages queued for the driver; workers and publisher block beyond it.
const MESSAGES_MAX: usize = 4096;

/// A message to the driver.
pub(super) enum Message {
    /// From the worker of this index.
    Worker(usize, FromWorker),
    Publisher(PublisherEvent),
    WorkerExited,
}

pub(super) struct Workers {
    processes: Vec<(Child, ChildStdin)>,
    messages: Receiver<Message>,
    sender: SyncSender<Message>,
}

impl Workers {
    /// Spawns as many workers as the scenario needs; they open their streams immediately.
    pub(super) fn start(scenario: &Scenario, target: &Target, run_id: u32) -> Result<Self, Error> {
        let (sender, messages) = sync_channel(MESSAGES_MAX);
        let mut workers = Self { processes: Vec::new(), messages, sender };
        for assignment in assignments(scenario, target, run_id) {
            workers.spawn(&assignment).map_err(|error| Error::system("start a worker", error))?;
        }
        Ok(workers)
    }

    fn spawn(&mut self, assignment: &Assignment) -> std::io::Result<()> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("worker")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdin = child.stdin.take().expect("piped");
        let stdout = child.stdout.take().expect("piped");
        let index = self.processes.len();
        // Owned from here on, so that an error below kills it.
        self.processes.push((child, stdin));
        let sender = self.sender.clone();
        std::thread::Builder::new()
            .name("worker-reader".into())
            .spawn(move || forward(stdout, index, &sender))?;
        let (_, stdin) = self.processes.last_mut().expect("just added");
        write_line(stdin, assignment)
    }

    pub(super) fn len(&self) -> usize {
        self.processes.len()
    }

    pub(super) fn messages(&self) -> &Receiver<Message> {
        &self.messages
    }

    /// The sender for the publisher's messages.
    pub(super) fn sender(&self) -> SyncSender<Message> {
        self.sender.clone()
    }

    /// Sends a command to every worker.
    pub(super) fn send(&mut self, command: &ToWorker) {
        for (_, stdin) in &mut self.processes {
            // A worker that has ended is reported by its reader.
            let _ = write_line(stdin, command);
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        for (child, _) in &mut self.processes {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Forwards a worker's messages until it ends.
fn forward(stdout: ChildStdout, index: usize, sender: &SyncSender<Message>) {
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        let Ok(message) = serde_json::from_str(&line) else { break };
        if sender.send(Message::Worker(index, message)).is_err() {
            return;
        }
    }
    let _ = sender.send(Message::WorkerExited);
}

fn write_line(stdin: &mut ChildStdin, message: &impl Serialize) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    stdin.write_all(&line)
}

/// Spreads the streams over as many workers as their descriptor limit requires.
fn assignments(scenario: &Scenario, target: &Target, run_id: u32) -> Vec<Assignment> {
    let streams_per_worker = connect::raise_descriptor_limit();
    let streams = scenario.streams;
    let workers = scenario.processes.unwrap_or(1).max(streams.div_ceil(streams_per_worker));
    let workers = workers.min(streams);
    let sources = connect::sources(&scenario.source, target.address.ip(), streams);
    let streams_per_source = match sources.len() as u64 {
        0 => 1,
        sources => streams.div_ceil(sources).max(1),
    };
    let first = |worker: u64| streams * worker / workers;
    let assignment = |worker: u64| Assignment {
        first: first(worker),
        streams: (first(worker + 1) - first(worker)) as u32,
        target: target.address,
        request: RequestTemplate::new(scenario, target),
        sources: sources.clone(),
        streams_per_source,
        receive_buffer_bytes: scenario.receive_buffer,
        run_id,
        topics: scenario.topics,
        ramp: scenario.ramp / workers as f64,
        in_flight: (scenario.in_flight / workers as u32).max(1),
        open_timeout: scenario.open_timeout.nanos(),
        retry: scenario.retry.then(|| scenario.retry_delay.nanos()),
        resume: scenario.resume,
        slow_share: scenario.slow_share,
        slow_bytes_per_second: scenario.slow_read,
        warmup: scenario.warmup_events(),
        announce: scenario.is_closed_loop(),
        tick: scenario.tick.nanos(),
    };
    (0..workers).map(assignment).collect()
}
