//! The worker processes: started, told, listened to, and ended with the run.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use crate::connect;
use crate::error::Fault;
use crate::publish::FromPublisher;
use crate::scenario::Scenario;
use crate::scenario::target::Target;
use crate::subscribe::message::{Assignment, FromWorker, ToWorker};

/// Messages that may wait for the conductor; workers and publisher wait beyond it.
const NOTES_MAX: usize = 4096;

/// What reaches the conductor.
pub enum Note {
    /// From a worker.
    Worker(usize, FromWorker),
    /// From the publisher.
    Publisher(FromPublisher),
    /// A worker has ended.
    Gone,
}

/// The running workers.
pub struct Fleet {
    workers: Vec<(Child, ChildStdin)>,
    notes: Receiver<Note>,
    sender: SyncSender<Note>,
}

impl Fleet {
    /// Starts the workers a scenario needs; they open their streams at once.
    pub fn start(scenario: &Scenario, target: &Target, run: u32) -> Result<Self, Fault> {
        let (sender, notes) = sync_channel(NOTES_MAX);
        let mut fleet = Self { workers: Vec::new(), notes, sender };
        for assignment in assignments(scenario, target, run) {
            fleet.spawn(&assignment)?;
        }
        Ok(fleet)
    }

    fn spawn(&mut self, assignment: &Assignment) -> Result<(), Fault> {
        let failed = |error: std::io::Error| Fault::system("start a worker", error);
        let program = std::env::current_exe().map_err(failed)?;
        let mut child = Command::new(program)
            .arg("worker")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let (stdin, stdout) =
            (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        let index = self.workers.len();
        self.workers.push((child, stdin));
        let notes = self.sender.clone();
        let listen = move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let Ok(message) = serde_json::from_str(&line) else { break };
                if notes.send(Note::Worker(index, message)).is_err() {
                    return;
                }
            }
            let _ = notes.send(Note::Gone);
        };
        std::thread::Builder::new().name("worker-reader".into()).spawn(listen).map_err(failed)?;
        let (_, stdin) = self.workers.last_mut().expect("just added");
        write_line(stdin, assignment).map_err(failed)
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    /// Where notes arrive.
    pub fn notes(&self) -> &Receiver<Note> {
        &self.notes
    }

    /// Where the publisher's notes go.
    pub fn sender(&self) -> SyncSender<Note> {
        self.sender.clone()
    }

    /// Tells every worker; the share of a rate is each worker's own.
    pub fn tell(&mut self, message: &ToWorker) {
        for (_, stdin) in &mut self.workers {
            // A worker that is gone is noticed by its reader.
            let _ = write_line(stdin, message);
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for (child, _) in &mut self.workers {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn write_line(stdin: &mut ChildStdin, message: &impl serde::Serialize) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    stdin.write_all(&line)
}

/// Spreads the streams over the workers.
fn assignments(scenario: &Scenario, target: &Target, run: u32) -> Vec<Assignment> {
    let per_table = connect::raise_descriptor_limit();
    let streams = scenario.streams;
    let workers = scenario.processes.unwrap_or(1).max(streams.div_ceil(per_table));
    let workers = workers.min(streams);
    let sources = connect::sources(&scenario.source, target.address.ip(), streams);
    let per_source = match sources.len() as u64 {
        0 => 1,
        sources => streams.div_ceil(sources).max(1),
    };
    let first = |worker: u64| streams * worker / workers;
    let assignment = |worker: u64| Assignment {
        first: first(worker),
        streams: (first(worker + 1) - first(worker)) as u32,
        target: target.address,
        request: scenario.request(target),
        sources: sources.clone(),
        streams_per_source: per_source,
        receive_buffer_bytes: scenario.receive_buffer,
        run,
        topics: scenario.topics,
        ramp: scenario.ramp / workers as f64,
        in_flight: (scenario.in_flight / workers as u32).max(1),
        open_timeout: scenario.open_timeout.nanos(),
        retry: scenario.retry.then(|| scenario.retry_delay.nanos()),
        resume: scenario.resume,
        slow_share: scenario.slow_share,
        slow_bytes_per_second: scenario.slow_read,
        warmup: scenario.warmup_events(),
        announce: scenario.waits_for_all(),
        tick: scenario.tick.nanos(),
    };
    (0..workers).map(assignment).collect()
}
