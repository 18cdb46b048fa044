//! A run from the first connect to the report: ramp, settle, measure, drain, account.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::pacing::Measured;
use super::record::{Record, Usage};
use super::workers::{Fleet, Note};
use crate::error::Fault;
use crate::measure::clock::{self, SECOND};
use crate::measure::server::{self, Cost, Server};
use crate::publish::{Command, PublishPlan, Publisher};
use crate::report::Report;
use crate::report::progress::Progress;
use crate::scenario::Scenario;
use crate::scenario::target::Target;
use crate::subscribe::message::ToWorker;

/// Why the measured part ended before its end.
#[derive(Debug)]
pub enum Stop {
    /// By hand.
    Interrupted,
    /// Something that makes going on pointless.
    Problem(String),
}

/// The way of an event, or of all that was missed in a storm, to the last stream.
#[derive(Default)]
pub(super) struct Complete {
    /// Workers all of whose streams have it.
    pub(super) workers: BTreeSet<usize>,
    /// When the last of those had it.
    pub(super) at: u64,
}

/// What the publisher sent in all.
pub(super) struct Sent {
    /// Events by topic.
    pub(super) ends: Vec<u64>,
    /// Topic and number of those refused.
    pub(super) excused: Vec<(u32, u64)>,
}

/// A run under way.
pub struct Conductor<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) fleet: Fleet,
    publisher: Option<Publisher>,
    pub(super) record: Record,
    pub(super) progress: Progress,
    pub(super) interrupted: Arc<AtomicBool>,
    /// By worker: told to be settled, and when.
    pub(super) settled: BTreeMap<usize, (u64, u64)>,
    pub(super) complete: BTreeMap<u64, Complete>,
    /// By storm: who has had all that was missed.
    pub(super) whole: BTreeMap<u32, Complete>,
    pub(super) drained: usize,
    pub(super) finals: usize,
    pub(super) gone: usize,
    pub(super) opening: bool,
    pub(super) exhausted: bool,
    pub(super) finished: Option<Sent>,
    pub(super) failed: Option<String>,
    pub(super) begin: Option<Usage>,
    pub(super) end: Option<Usage>,
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
    let record = Record::new(server, scenario.tick.nanos(), phases.began);
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
        whole: BTreeMap::new(),
        drained: 0,
        finals: 0,
        gone: 0,
        opening: true,
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
    Ok(super::summary::report(&conductor, &phases, &measured))
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
        self.opening = false;
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
        if self.scenario.pace != crate::scenario::Pace::None {
            self.start_publisher(target, run)?;
        }
        self.progress.phase("measuring");
        self.begin_measuring();
        let began = clock::now();
        let played = self.play(measured);
        if matches!(played, Err(Stop::Interrupted)) {
            // Ended early, but what was sent is still accounted for; a second interrupt ends that
            // too.
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
        let publisher =
            Publisher::start(plan, tell).map_err(|fault| Stop::Problem(fault.to_string()))?;
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
            phases
                .problems
                .push(format!("{} of {workers} workers gave no account", workers - self.finals));
        }
    }

    pub(super) fn begin_measuring(&mut self) {
        self.begin = Some(self.record.usage());
        self.end = None;
    }

    /// The first call after [`begin_measuring`](Self::begin_measuring) counts.
    pub(super) fn end_measuring(&mut self) {
        if self.end.is_none() {
            self.end = Some(self.record.usage());
        }
    }

    pub(super) fn tell(&mut self, message: &ToWorker) {
        if matches!(message, ToWorker::Storm { .. }) {
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
}
