//! A run from the first connect to the report: ramp, settle, measure, drain, account.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use super::Scenario;
use super::fleet::{Fleet, Note};
use super::paces::Measured;
use super::record::Record;
use super::target::Target;
use crate::fault::Fault;
use crate::measure::clock::{self, SECOND};
use crate::measure::server::{self, Cost, Server};
use crate::publish::{Command, FromPublisher, PublishPlan, Publisher};
use crate::report::Report;
use crate::report::progress::Progress;
use crate::subscribe::message::{FromWorker, ToWorker};

/// Longest span without a look at the interrupt flag and the server.
const LOOK_INTERVAL: u64 = SECOND / 10;
/// A ramp without any stream more for this long is over, complete or not.
const RAMP_PATIENCE: u64 = 30 * SECOND;

/// Why the measured part ended before its end.
#[derive(Debug)]
pub enum Stop {
    /// By hand.
    Interrupted,
    /// Something that makes going on pointless.
    Problem(String),
}

/// An event's way to the last stream.
#[derive(Default)]
struct Complete {
    /// Workers all of whose streams have it.
    workers: BTreeSet<usize>,
    /// When the last of those had it.
    at: u64,
}

/// What the publisher sent in all.
struct Sent {
    /// Events by topic.
    ends: Vec<u64>,
    /// Topic and number of those refused.
    excused: Vec<(u32, u64)>,
}

/// A run under way.
pub struct Conductor<'a> {
    pub(super) scenario: &'a Scenario,
    fleet: Fleet,
    publisher: Option<Publisher>,
    pub(super) record: Record,
    progress: Progress,
    interrupted: Arc<AtomicBool>,
    /// By worker: told to be settled, and when.
    settled: BTreeMap<usize, (u64, u64)>,
    complete: BTreeMap<u64, Complete>,
    drained: usize,
    finals: usize,
    gone: usize,
    exhausted: bool,
    finished: Option<Sent>,
    failed: Option<String>,
    pub(super) begin: Option<Cost>,
    pub(super) end: Option<Cost>,
}

/// What the phases before and around the measured part found.
#[derive(Default)]
pub struct Phases {
    pub(super) began: u64,
    pub(super) before: Option<Cost>,
    pub(super) idle: Option<Cost>,
    pub(super) after: Option<Cost>,
    pub(super) ramp_nanos: u64,
    pub(super) ramped: u64,
    pub(super) published_nanos: u64,
    pub(super) socket_buffers: Option<u64>,
    pub(super) problems: Vec<String>,
    pub(super) interrupted: bool,
}

/// Runs a scenario. `server` is read for its cost; none is a run without it.
pub fn run(
    scenario: &Scenario,
    server: Option<Server>,
    interrupted: &Arc<AtomicBool>,
    progress: Progress,
) -> Result<Report, Fault> {
    let target = Target::parse(&scenario.url)?;
    let publish_target = match &scenario.publish_url {
        Some(url) => Target::parse(url)?,
        None => target.clone(),
    };
    let run = (clock::now() ^ u64::from(std::process::id()) << 16) as u32;
    let mut phases = Phases { began: clock::now(), ..Phases::default() };
    let mut record = Record::new(server, scenario.tick.nanos(), phases.began);
    phases.before = record.read_server();
    let fleet = Fleet::start(scenario, &target, run)?;
    let mut conductor = Conductor {
        scenario,
        fleet,
        publisher: None,
        record,
        progress,
        interrupted: Arc::clone(interrupted),
        settled: BTreeMap::new(),
        complete: BTreeMap::new(),
        drained: 0,
        finals: 0,
        gone: 0,
        exhausted: false,
        finished: None,
        failed: None,
        begin: None,
        end: None,
    };
    let mut measured = Measured::default();
    match conductor.all_phases(&publish_target, run, &mut phases, &mut measured) {
        Ok(()) => {}
        Err(Stop::Interrupted) => phases.interrupted = true,
        Err(Stop::Problem(problem)) => phases.problems.push(problem),
    }
    conductor.wind_up(&mut phases);
    conductor.progress.finish();
    Ok(super::sum_up::report(&conductor, &phases, &measured))
}

impl Conductor<'_> {
    fn all_phases(
        &mut self,
        target: &Target,
        run: u32,
        phases: &mut Phases,
        measured: &mut Measured,
    ) -> Result<(), Stop> {
        self.progress.phase("opening");
        let ramped = self.wait_settled();
        phases.ramped = self.record.present();
        let at = self.settled.values().map(|(_, at)| *at).max().unwrap_or_else(clock::now);
        phases.ramp_nanos = at.saturating_sub(phases.began);
        ramped?;
        if phases.ramped < self.scenario.streams {
            let (open, asked) = (phases.ramped, self.scenario.streams);
            phases.problems.push(format!("only {open} of {asked} streams could be opened"));
        }
        self.wait_until(clock::now() + self.scenario.settle.nanos())?;
        phases.idle = self.record.read_server();
        phases.socket_buffers = server::socket_buffers();
        if self.scenario.pace != super::Pace::None {
            self.start_publisher(target, run)?;
        }
        self.progress.phase("measuring");
        self.begin_measuring();
        let began = clock::now();
        let played = self.play(measured);
        if matches!(played, Err(Stop::Interrupted)) {
            // Ended early, but what was sent is still accounted for; a second interrupt ends that too.
            self.interrupted.store(false, Ordering::Relaxed);
        }
        phases.published_nanos = clock::now() - began;
        self.progress.phase("waiting for the last");
        let drained = self.drain();
        self.end_measuring();
        played.and(drained)
    }

    fn start_publisher(&mut self, target: &Target, run: u32) -> Result<(), Stop> {
        let scenario = self.scenario;
        let plan = PublishPlan {
            target: target.address,
            template: scenario.publish_template(target),
            connections: scenario.connections,
            depth: scenario.pipeline,
            run,
            topics: scenario.topics,
            size: scenario.size,
            tick: scenario.tick.nanos(),
        };
        let notes = self.fleet.sender();
        let tell = move |message| drop(notes.send(Note::Publisher(message)));
        let publisher = Publisher::start(plan, tell).map_err(|fault| Stop::Problem(fault.to_string()))?;
        self.publisher = Some(publisher);
        Ok(())
    }

    /// No more events; waits for what is on its way.
    fn drain(&mut self) -> Result<(), Stop> {
        if self.publisher.is_none() {
            let ends = vec![0; self.scenario.topics as usize];
            self.tell(&ToWorker::Finish { ends, excused: Vec::new() });
            return Ok(());
        }
        self.command(Command::Finish);
        let until = clock::now() + self.scenario.patience.nanos();
        self.pump_while(until, |conductor| conductor.finished.is_none())?;
        let Some(Sent { ends, excused }) = self.finished.take() else {
            return Err(Stop::Problem("the publisher's last requests were not answered".into()));
        };
        self.tell(&ToWorker::Finish { ends, excused });
        let until = clock::now() + self.scenario.patience.nanos();
        // What is still missing then is the account's to tell.
        self.pump_while(until, |conductor| conductor.drained < conductor.fleet.workers())
    }

    /// Ends the run, however it went: the workers' last words are worth having.
    fn wind_up(&mut self, phases: &mut Phases) {
        phases.after = self.record.read_server();
        self.interrupted.store(false, Ordering::Relaxed);
        self.tell(&ToWorker::Report);
        let until = clock::now() + 30 * SECOND;
        let workers = self.fleet.workers();
        let waiting = |conductor: &Self| conductor.finals < workers && conductor.gone < workers;
        let _ = self.pump_while(until, waiting);
        if self.finals < workers {
            phases.problems.push(format!("{} of {workers} workers gave no account", workers - self.finals));
        }
    }

    pub(super) fn begin_measuring(&mut self) {
        self.begin = self.record.read_server();
        self.end = None;
    }

    /// The first call after [`begin_measuring`](Self::begin_measuring) counts.
    pub(super) fn end_measuring(&mut self) {
        if self.end.is_none() {
            self.end = self.record.read_server();
        }
    }

    pub(super) fn tell(&mut self, message: &ToWorker) {
        if matches!(message, ToWorker::Storm) {
            self.settled.clear();
        }
        self.fleet.tell(message);
    }

    pub(super) fn command(&self, command: Command) {
        if let Some(publisher) = &self.publisher {
            publisher.command(command);
        }
    }

    pub(super) fn workers(&self) -> usize {
        self.fleet.workers()
    }

    /// Streams that are open and read.
    pub(super) fn listeners(&self) -> u64 {
        self.record.present()
    }

    pub(super) fn wait_until(&mut self, until: u64) -> Result<(), Stop> {
        self.pump_while(until, |_| true)
    }

    /// Until every worker is settled, or nothing moves any more; when the last stream opened.
    pub(super) fn wait_settled(&mut self) -> Result<u64, Stop> {
        let (mut best, mut moved) = (0, clock::now());
        while self.settled.len() < self.fleet.workers() {
            self.pump_while(clock::now() + LOOK_INTERVAL, |c| c.settled.len() < c.fleet.workers())?;
            let present = self.record.present();
            if present > best {
                (best, moved) = (present, clock::now());
            }
            if clock::now() - moved > RAMP_PATIENCE {
                return Ok(moved);
            }
        }
        Ok(self.settled.values().map(|(_, at)| *at).max().unwrap_or(0))
    }

    /// Until every stream has the events `from..=to`; when the last had the last of them.
    pub(super) fn wait_complete(&mut self, from: u64, to: u64, until: u64) -> Result<u64, Stop> {
        let workers = self.fleet.workers();
        let has = |c: &Self, number| {
            c.complete.get(&number).is_some_and(|complete| complete.workers.len() >= workers)
        };
        let mut awaited = from;
        let lacks = |c: &Self| {
            while awaited <= to && has(c, awaited) {
                awaited += 1;
            }
            awaited <= to
        };
        self.pump_while(until, lacks)?;
        if let Some(number) = (from..=to).find(|&number| !has(self, number)) {
            return Err(Stop::Problem(format!(
                "event {number} did not reach every stream within {}",
                self.scenario.patience
            )));
        }
        let last =
            (from..=to).filter_map(|number| self.complete.remove(&number)).map(|complete| complete.at).max();
        Ok(last.unwrap_or(0))
    }

    pub(super) fn wait_exhausted(&mut self, until: u64) -> Result<(), Stop> {
        self.pump_while(until, |conductor| !conductor.exhausted)
    }

    /// Takes notes until `until` or as long as `go_on`.
    fn pump_while(&mut self, until: u64, mut go_on: impl FnMut(&Self) -> bool) -> Result<(), Stop> {
        while go_on(self) {
            // Ordering: Relaxed, a flag without data behind it; seen within a look.
            if self.interrupted.load(Ordering::Relaxed) {
                return Err(Stop::Interrupted);
            }
            if let Some(problem) = self.failed.take() {
                return Err(Stop::Problem(problem));
            }
            let now = clock::now();
            if now >= until {
                return Ok(());
            }
            self.record.read_server_if_due(now);
            let span = Duration::from_nanos((until - now).min(LOOK_INTERVAL));
            match self.fleet.notes().recv_timeout(span) {
                Ok(note) => self.note(note),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(Stop::Problem("all workers ended".into())),
            }
        }
        Ok(())
    }

    fn note(&mut self, note: Note) {
        match note {
            Note::Worker(worker, message) => self.note_worker(worker, message),
            Note::Publisher(FromPublisher::Tick(tick)) => self.record.published(tick, clock::now()),
            Note::Publisher(FromPublisher::Exhausted) => self.exhausted = true,
            Note::Publisher(FromPublisher::Finished { ends, excused }) => {
                self.finished = Some(Sent { ends, excused });
            }
            Note::Publisher(FromPublisher::Failed(why)) => self.failed = Some(why),
            Note::Gone => {
                self.gone += 1;
                if self.finals < self.gone {
                    self.failed = Some("a worker ended before its time".into());
                }
            }
        }
    }

    fn note_worker(&mut self, worker: usize, message: FromWorker) {
        match message {
            FromWorker::Tick(tick) => {
                self.record.tick(worker, tick);
                self.progress.show(&self.record);
            }
            FromWorker::Settled { present, at } => {
                self.settled.insert(worker, (present, at));
            }
            FromWorker::Complete { number, at } => {
                let complete = self.complete.entry(number).or_default();
                complete.workers.insert(worker);
                complete.at = complete.at.max(at);
            }
            FromWorker::Drained => self.drained += 1,
            FromWorker::Final(last) => {
                self.finals += 1;
                self.record.last_words(*last);
            }
        }
    }
}
