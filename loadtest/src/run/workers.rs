//! The worker processes: spawned with their assignments, sent commands, and killed with the run.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use serde::Serialize;

use crate::connect;
use crate::error::Error;
use crate::publish::PublisherEvent;
use crate::scenario::{Group, Scenario, Target};
use crate::subscribe::{Assignment, FromWorker, RequestTemplate, ToWorker};

/// Messages queued for the driver; workers and publisher block beyond it.
const MESSAGES_MAX: usize = 4096;

/// A message to the driver.
pub(super) enum Message {
    /// From the worker of this index.
    Worker(usize, FromWorker),
    /// From the publisher of this group.
    Publisher(usize, PublisherEvent),
    WorkerExited,
}

pub(super) struct Workers {
    processes: Vec<(Child, ChildStdin)>,
    /// The group of each.
    groups: Vec<usize>,
    messages: Receiver<Message>,
    sender: SyncSender<Message>,
}

impl Workers {
    pub(super) fn new() -> Self {
        let (sender, messages) = sync_channel(MESSAGES_MAX);
        Self { processes: Vec::new(), groups: Vec::new(), messages, sender }
    }

    /// Spawns as many workers as group `index` needs; they open their streams immediately.
    pub(super) fn start(
        &mut self,
        scenario: &Scenario,
        index: usize,
        target: &Target,
        run_id: u32,
    ) -> Result<(), Error> {
        let group = &scenario.groups()[index];
        for mut assignment in assignments(scenario, group, target, run_id) {
            assignment.urgent = index > 0 && scenario.is_fair();
            assignment.warmup = if assignment.urgent { 0 } else { scenario.warmup_events() };
            assignment.announce = scenario.is_closed_loop() && !assignment.urgent;
            self.groups.push(index);
            self.spawn(&assignment).map_err(|error| Error::system("start a worker", error))?;
        }
        Ok(())
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

    /// Workers of a group.
    pub(super) fn len_of(&self, group: usize) -> usize {
        self.groups.iter().filter(|of| **of == group).count()
    }

    pub(super) fn group_of(&self, worker: usize) -> usize {
        self.groups[worker]
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

    /// Sends a command to every worker of a group.
    pub(super) fn send_to(&mut self, group: usize, command: &ToWorker) {
        for ((_, stdin), of) in self.processes.iter_mut().zip(&self.groups) {
            if *of == group {
                let _ = write_line(stdin, command);
            }
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

/// Spreads the streams of a group over as many workers as their descriptor limit requires.
fn assignments(
    scenario: &Scenario,
    group: &Group,
    target: &Target,
    run_id: u32,
) -> Vec<Assignment> {
    let streams_per_worker = connect::raise_descriptor_limit();
    let (streams, in_all) = (group.streams, scenario.streams_in_all());
    let workers = scenario.processes.unwrap_or(1).max(streams.div_ceil(streams_per_worker));
    let workers = workers.min(streams);
    let sources = connect::sources(&scenario.source, target.address.ip(), in_all);
    let streams_per_source = match sources.len() as u64 {
        0 => 1,
        sources => in_all.div_ceil(sources).max(1),
    };
    let first = |worker: u64| group.first + streams * worker / workers;
    let assignment = |worker: u64| Assignment {
        first: first(worker),
        first_of_group: group.first,
        streams: (first(worker + 1) - first(worker)) as u32,
        target: target.address,
        request: RequestTemplate::new(scenario, group.names.clone(), target),
        sources: sources.clone(),
        streams_per_source,
        receive_buffer_bytes: scenario.receive_buffer,
        run_id,
        first_topic: group.first_topic,
        topics: group.topics,
        publishers: scenario.publishers(),
        ramp: scenario.ramp / workers as f64,
        in_flight: (scenario.in_flight / workers as u32).max(1),
        open_timeout: scenario.open_timeout.nanos(),
        retry: scenario.retry.then(|| scenario.retry_delay.nanos()),
        resume: scenario.resume,
        slow_share: scenario.slow_share,
        slow_bytes_per_second: scenario.slow_read,
        warmup: 0,
        announce: false,
        tick: scenario.tick.nanos(),
        urgent: false,
    };
    (0..workers).map(assignment).collect()
}
