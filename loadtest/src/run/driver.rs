//! The event loop of the parent process: drives a run by handling the messages of workers and
//! publisher while it waits for a condition.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use super::announcements::Announcements;
use super::record::Record;
use super::usage::MeasurementInterval;
use super::workers::{Message, Workers};
use crate::error::Error;
use crate::measure::clock::{self, SECOND};
use crate::publish::{Command, PublishPlan, PublishTemplate, Published, Publisher, PublisherEvent};
use crate::report::progress::Progress;
use crate::scenario::{Group, Scenario, Target};
use crate::subscribe::{FromWorker, ToWorker};

/// How often the interrupt flag and the server are checked.
const CHECK_INTERVAL: u64 = SECOND / 10;
/// The ramp ends, complete or not, when no stream has opened for this long.
const RAMP_TIMEOUT: u64 = 30 * SECOND;
const REPORT_TIMEOUT: u64 = 30 * SECOND;
/// For a response to a publish, besides the time in which the server is stopped.
const RESPONSE_TIMEOUT: u64 = 30 * SECOND;

/// Why a run stops before its end.
#[derive(Debug)]
pub(super) enum Stop {
    Interrupted,
    Problem(String),
}

/// Drives one run: its processes, and what they have reported.
pub(super) struct Driver<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) groups: Vec<Group>,
    workers: Workers,
    /// By group, once started.
    publishers: Vec<Publisher>,
    pub(super) announced: Announcements,
    pub(super) record: Record,
    pub(super) measurement: MeasurementInterval,
    pub(super) progress: Progress,
    /// Whether the server's memory is recorded with each tick.
    pub(super) ramping: bool,
    /// There were deliveries or responses since the server was last read.
    progressed: bool,
    interrupted: Arc<AtomicBool>,
}

impl<'a> Driver<'a> {
    pub(super) fn new(
        scenario: &'a Scenario,
        workers: Workers,
        record: Record,
        progress: Progress,
        interrupted: Arc<AtomicBool>,
    ) -> Self {
        Self {
            scenario,
            groups: scenario.groups(),
            workers,
            publishers: Vec::new(),
            announced: Announcements::default(),
            record,
            measurement: MeasurementInterval::default(),
            progress,
            ramping: false,
            progressed: false,
            interrupted,
        }
    }

    /// Starts the workers of a group.
    pub(super) fn start_workers(
        &mut self,
        group: usize,
        target: &Target,
        run_id: u32,
    ) -> Result<(), Error> {
        let before = self.workers.len();
        self.workers.start(self.scenario, group, target, run_id)?;
        (before..self.workers.len()).for_each(|_| self.record.add_worker(group));
        Ok(())
    }

    pub(super) fn workers(&self) -> usize {
        self.workers.len()
    }

    pub(super) fn workers_of(&self, group: usize) -> usize {
        self.workers.len_of(group)
    }

    pub(super) fn send(&mut self, message: &ToWorker) {
        if matches!(message, ToWorker::Storm { .. }) {
            self.announced.clear_settled();
        }
        self.workers.send(message);
    }

    /// Sends a command to the workers of a group.
    pub(super) fn send_to(&mut self, group: usize, message: &ToWorker) {
        self.workers.send_to(group, message);
    }

    /// Starts the publisher of each group.
    pub(super) fn start_publishers(&mut self, target: &Target, run_id: u32) -> Result<(), Stop> {
        for index in 0..self.groups.len() {
            let plan = self.plan(index, target, run_id);
            let messages = self.workers.sender();
            let send = move |event| drop(messages.send(Message::Publisher(index, event)));
            let publisher =
                Publisher::start(plan, send).map_err(|error| Stop::Problem(error.to_string()))?;
            self.publishers.push(publisher);
        }
        Ok(())
    }

    fn plan(&self, index: usize, target: &Target, run_id: u32) -> PublishPlan {
        let (scenario, group) = (self.scenario, &self.groups[index]);
        PublishPlan {
            target: target.address,
            template: PublishTemplate::new(scenario, group.names.clone(), target),
            connections: if index == 0 { scenario.connections } else { 1 },
            pipeline: scenario.pipeline,
            run_id,
            first_topic: group.first_topic,
            topics: group.topics,
            publishers: scenario.publishers(),
            size: scenario.size,
            tick: scenario.tick.nanos(),
            response_timeout: RESPONSE_TIMEOUT + scenario.pause.nanos(),
            urgent: index > 0 && scenario.is_fair(),
        }
    }

    pub(super) fn has_publishers(&self) -> bool {
        !self.publishers.is_empty()
    }

    pub(super) fn command(&self, group: usize, command: Command) {
        self.publishers[group].command(command);
    }

    /// Ends publishing.
    pub(super) fn finish_publishers(&self) {
        self.publishers.iter().for_each(|publisher| publisher.command(Command::Finish));
    }

    pub(super) fn begin_measurement(&mut self) {
        self.measurement.begin(self.record.usage());
    }

    /// The measurement reaches at least until now.
    pub(super) fn extend_measurement(&mut self) {
        self.measurement.extend_with(|| self.record.usage());
    }

    /// Reads the server if it is due; with progress since the last reading, the measurement reaches
    /// until this one.
    fn read_server(&mut self) {
        if self.record.read_server_if_due() && std::mem::take(&mut self.progressed) {
            self.measurement.extend_with(|| self.record.usage_at_reading());
        }
    }

    pub(super) fn end_measurement(&mut self) {
        self.measurement.end_with(false, || self.record.usage());
    }

    /// Ends the measurement at the last progress.
    pub(super) fn end_stalled_measurement(&mut self) {
        self.measurement.end_with(true, || self.record.usage());
    }

    pub(super) fn clear_interrupt(&self) {
        self.interrupted.store(false, Ordering::Relaxed);
    }

    pub(super) fn wait_until(&mut self, deadline: u64) -> Result<(), Stop> {
        self.wait_while(deadline, |_| true)
    }

    /// Waits until every worker has settled; returns when the last stream opened, or `None` if no
    /// stream has for [`RAMP_TIMEOUT`].
    pub(super) fn wait_settled(&mut self) -> Result<Option<u64>, Stop> {
        let workers = self.workers();
        let (mut last, mut changed) = (0, clock::now());
        while !self.announced.is_settled(workers) {
            let check = clock::now() + CHECK_INTERVAL;
            self.wait_while(check, |driver| !driver.announced.is_settled(workers))?;
            let open = self.record.open_streams();
            if open != last {
                (last, changed) = (open, clock::now());
            }
            if clock::now() - changed > RAMP_TIMEOUT {
                return Ok(None);
            }
        }
        Ok(self.announced.settled_at())
    }

    /// Waits until every stream of a group has received its events `from..=to`; returns when the
    /// last arrived.
    pub(super) fn wait_complete(
        &mut self,
        group: usize,
        (from, to): (u64, u64),
        deadline: u64,
    ) -> Result<u64, Stop> {
        let workers = self.workers_of(group);
        let mut next = from;
        self.wait_while(deadline, |driver| {
            while next <= to && driver.announced.is_complete((group, next), workers) {
                next += 1;
            }
            next <= to
        })?;
        let is_incomplete = |event: &u64| !self.announced.is_complete((group, *event), workers);
        if let Some(event) = (from..=to).find(is_incomplete) {
            let patience = self.scenario.patience;
            return Err(Stop::Problem(format!(
                "event {event} did not reach every stream within {patience}"
            )));
        }
        let last = (from..=to).filter_map(|event| self.announced.take_complete((group, event)));
        Ok(last.max().unwrap_or(0))
    }

    /// Waits until the publishers have sent their last scheduled events.
    pub(super) fn wait_exhausted(&mut self, deadline: u64) -> Result<(), Stop> {
        let publishers = self.publishers.len();
        self.wait_while(deadline, |driver| driver.announced.exhausted < publishers)?;
        if self.announced.exhausted >= publishers {
            return Ok(());
        }
        let patience = self.scenario.patience;
        Err(Stop::Problem(format!(
            "publishing fell more than {patience} behind its schedule and was stopped"
        )))
    }

    /// Waits until the publishers have ended.
    pub(super) fn wait_published(&mut self) -> Result<Published, Stop> {
        let publishers = self.publishers.len();
        let deadline = clock::now() + self.scenario.patience.nanos();
        self.wait_while(deadline, |driver| driver.announced.finished < publishers)?;
        if self.announced.finished < publishers {
            return Err(Stop::Problem("the last publishes got no response".into()));
        }
        Ok(std::mem::take(&mut self.announced.published))
    }

    /// Waits until no event is missing, at most for the scenario's patience; true if none is.
    pub(super) fn wait_drained(&mut self) -> Result<bool, Stop> {
        let deadline = clock::now() + self.scenario.patience.nanos();
        self.wait_while(deadline, |driver| driver.announced.drained < driver.workers())?;
        Ok(self.announced.drained >= self.workers())
    }

    /// Waits for the workers' reports; returns how many are missing.
    pub(super) fn wait_reports(&mut self) -> usize {
        let workers = self.workers();
        let _ = self.wait_while(clock::now() + REPORT_TIMEOUT, |driver| {
            driver.announced.reported < workers && driver.announced.exited < workers
        });
        workers.saturating_sub(self.announced.reported)
    }

    /// Handles messages until `deadline`, or as long as `condition` holds.
    fn wait_while(
        &mut self,
        deadline: u64,
        mut condition: impl FnMut(&Self) -> bool,
    ) -> Result<(), Stop> {
        while condition(self) {
            // Ordering: Relaxed, a flag that publishes no data; checked again within the interval.
            if self.interrupted.load(Ordering::Relaxed) {
                return Err(Stop::Interrupted);
            }
            let now = clock::now();
            if now >= deadline {
                return Ok(());
            }
            if self.workers() == 0 {
                self.read_server();
            }
            let timeout = Duration::from_nanos((deadline - now).min(CHECK_INTERVAL));
            match self.workers.messages().recv_timeout(timeout) {
                Ok(message) => self.handle(message)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    unreachable!("the driver keeps a sender")
                }
            }
        }
        Ok(())
    }

    fn handle(&mut self, message: Message) -> Result<(), Stop> {
        match message {
            Message::Worker(worker, message) => self.handle_worker(worker, message),
            Message::Publisher(group, event) => self.handle_publisher(group, event),
            Message::WorkerExited => {
                self.announced.exited += 1;
                if self.announced.reported < self.announced.exited {
                    return Err(Stop::Problem("a worker ended unexpectedly".into()));
                }
            }
        }
        Ok(())
    }

    fn handle_publisher(&mut self, group: usize, event: PublisherEvent) {
        match event {
            PublisherEvent::Tick(tick) => {
                self.progressed |= !tick.answers.is_empty();
                self.record.add_published(group, tick, clock::now());
            }
            PublisherEvent::Exhausted => self.announced.exhausted += 1,
            PublisherEvent::Finished(published) => {
                self.announced.finished += 1;
                self.announced.published.add(published);
            }
        }
    }

    fn handle_worker(&mut self, worker: usize, message: FromWorker) {
        match message {
            FromWorker::Tick(tick) => {
                self.record.add_tick(worker, &tick);
                self.progressed |= tick.deliveries > 0;
                // Ticks are aligned: with the last worker's, all are up to date.
                if worker + 1 == self.workers() {
                    self.read_server();
                    if self.ramping {
                        self.record.monitor.record_memory(self.record.open_streams());
                    }
                }
                self.progress.show(&self.record.snapshot());
            }
            FromWorker::Settled { at } => self.announced.set_settled(worker, at),
            FromWorker::Complete { number, at } => {
                let event = (self.workers.group_of(worker), number);
                self.announced.set_complete(worker, event, at);
            }
            FromWorker::Recovered { storm, at } => self.announced.set_recovered(worker, storm, at),
            FromWorker::Drained => self.announced.drained += 1,
            FromWorker::Final(last) => {
                self.announced.reported += 1;
                self.record.add_final(worker, *last);
            }
        }
    }
}
