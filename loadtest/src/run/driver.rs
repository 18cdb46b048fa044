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
use crate::measure::clock::{self, SECOND};
use crate::publish::{Command, PublishPlan, PublishTemplate, Published, Publisher, PublisherEvent};
use crate::report::progress::Progress;
use crate::scenario::{Scenario, Target};
use crate::subscribe::{FromWorker, ToWorker};

/// How often the interrupt flag and the server are checked.
const CHECK_INTERVAL: u64 = SECOND / 10;
/// The ramp ends, complete or not, when no stream has opened for this long.
const RAMP_TIMEOUT: u64 = 30 * SECOND;
const REPORT_TIMEOUT: u64 = 30 * SECOND;

/// Why a run stops before its end.
#[derive(Debug)]
pub(super) enum Stop {
    Interrupted,
    Problem(String),
}

/// Drives one run: its processes, and what they have reported.
pub(super) struct Driver<'a> {
    pub(super) scenario: &'a Scenario,
    workers: Workers,
    publisher: Option<Publisher>,
    pub(super) announced: Announcements,
    pub(super) record: Record,
    pub(super) measurement: MeasurementInterval,
    pub(super) progress: Progress,
    /// Whether the server's memory is recorded with each tick.
    pub(super) ramping: bool,
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
            workers,
            publisher: None,
            announced: Announcements::default(),
            record,
            measurement: MeasurementInterval::default(),
            progress,
            ramping: false,
            interrupted,
        }
    }

    pub(super) fn workers(&self) -> usize {
        self.workers.len()
    }

    pub(super) fn send(&mut self, message: &ToWorker) {
        if matches!(message, ToWorker::Storm { .. }) {
            self.announced.clear_settled();
        }
        self.workers.send(message);
    }

    pub(super) fn start_publisher(&mut self, target: &Target, run_id: u32) -> Result<(), Stop> {
        let scenario = self.scenario;
        let plan = PublishPlan {
            target: target.address,
            template: PublishTemplate::new(scenario, target),
            connections: scenario.connections,
            pipeline: scenario.pipeline,
            run_id,
            topics: scenario.topics,
            size: scenario.size,
            tick: scenario.tick.nanos(),
        };
        let messages = self.workers.sender();
        let send = move |event| drop(messages.send(Message::Publisher(event)));
        let publisher =
            Publisher::start(plan, send).map_err(|error| Stop::Problem(error.to_string()))?;
        self.publisher = Some(publisher);
        Ok(())
    }

    pub(super) fn has_publisher(&self) -> bool {
        self.publisher.is_some()
    }

    pub(super) fn command(&self, command: Command) {
        if let Some(publisher) = &self.publisher {
            publisher.command(command);
        }
    }

    pub(super) fn begin_measurement(&mut self) {
        self.measurement.begin(self.record.usage());
    }

    pub(super) fn end_measurement(&mut self) {
        self.measurement.end_with(|| self.record.usage());
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

    /// Waits until every stream has received the events `from..=to`; returns when the last arrived.
    pub(super) fn wait_complete(&mut self, from: u64, to: u64, deadline: u64) -> Result<u64, Stop> {
        let workers = self.workers();
        let mut next = from;
        self.wait_while(deadline, |driver| {
            while next <= to && driver.announced.is_complete(next, workers) {
                next += 1;
            }
            next <= to
        })?;
        if let Some(event) = (from..=to).find(|&event| !self.announced.is_complete(event, workers))
        {
            let patience = self.scenario.patience;
            return Err(Stop::Problem(format!(
                "event {event} did not reach every stream within {patience}"
            )));
        }
        let last = (from..=to).filter_map(|event| self.announced.take_complete(event)).max();
        Ok(last.unwrap_or(0))
    }

    /// Waits until the publisher has sent its last scheduled event.
    pub(super) fn wait_exhausted(&mut self, deadline: u64) -> Result<(), Stop> {
        self.wait_while(deadline, |driver| !driver.announced.exhausted)?;
        if self.announced.exhausted {
            return Ok(());
        }
        let patience = self.scenario.patience;
        Err(Stop::Problem(format!(
            "publishing fell more than {patience} behind its schedule and was stopped"
        )))
    }

    /// Waits until the publisher has ended.
    pub(super) fn wait_published(&mut self) -> Result<Published, Stop> {
        let deadline = clock::now() + self.scenario.patience.nanos();
        self.wait_while(deadline, |driver| driver.announced.published.is_none())?;
        let published = self.announced.published.take();
        published.ok_or_else(|| Stop::Problem("the last publishes got no response".into()))
    }

    /// Waits until no event is missing, at most for the scenario's patience.
    pub(super) fn wait_drained(&mut self) -> Result<(), Stop> {
        let deadline = clock::now() + self.scenario.patience.nanos();
        self.wait_while(deadline, |driver| driver.announced.drained < driver.workers())
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
                self.record.read_server_if_due();
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
            Message::Publisher(PublisherEvent::Tick(tick)) => {
                self.record.add_published(tick, clock::now());
            }
            Message::Publisher(PublisherEvent::Exhausted) => self.announced.exhausted = true,
            Message::Publisher(PublisherEvent::Finished(published)) => {
                self.announced.published = Some(published);
            }
            Message::WorkerExited => {
                self.announced.exited += 1;
                if self.announced.reported < self.announced.exited {
                    return Err(Stop::Problem("a worker ended unexpectedly".into()));
                }
            }
        }
        Ok(())
    }

    fn handle_worker(&mut self, worker: usize, message: FromWorker) {
        match message {
            FromWorker::Tick(tick) => {
                self.record.add_tick(worker, &tick);
                // Ticks are aligned: with the last worker's, all are up to date.
                if worker + 1 == self.workers() {
                    self.record.read_server_if_due();
                    if self.ramping {
                        self.record.monitor.record_memory(self.record.open_streams());
                    }
                }
                self.progress.show(&self.record.snapshot());
            }
            FromWorker::Settled { at } => self.announced.set_settled(worker, at),
            FromWorker::Complete { number, at } => self.announced.set_complete(worker, number, at),
            FromWorker::Recovered { storm, at } => self.announced.set_recovered(worker, storm, at),
            FromWorker::Drained => self.announced.drained += 1,
            FromWorker::Final(last) => {
                self.announced.reported += 1;
                self.record.add_final(*last);
            }
        }
    }
}
