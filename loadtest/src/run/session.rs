//! How the conductor waits: for a time, for streams, for an event's last arrival; taking notes all
//! the while.

use std::sync::atomic::Ordering;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use super::conductor::{Conductor, Sent, Stop};
use super::workers::Note;
use crate::measure::clock::{self, SECOND};
use crate::publish::FromPublisher;
use crate::subscribe::message::FromWorker;

/// Longest span without a look at the interrupt flag and the server.
const LOOK_INTERVAL: u64 = SECOND / 10;
/// A ramp without any stream more for this long is over, complete or not.
const RAMP_PATIENCE: u64 = 30 * SECOND;

impl Conductor<'_> {
    pub(super) fn wait_until(&mut self, until: u64) -> Result<(), Stop> {
        self.pump_while(until, |_| true)
    }

    /// Until every worker is settled, and when the last stream opened; or until nothing moves any
    /// more.
    pub(super) fn wait_settled(&mut self) -> Result<Option<u64>, Stop> {
        let (mut last, mut moved) = (0, clock::now());
        while self.settled.len() < self.fleet.workers() {
            self.pump_while(clock::now() + LOOK_INTERVAL, |c| c.settled.len() < c.fleet.workers())?;
            let present = self.record.present();
            if present != last {
                (last, moved) = (present, clock::now());
            }
            if clock::now() - moved > RAMP_PATIENCE {
                return Ok(None);
            }
        }
        Ok(self.settled.values().map(|(_, at)| *at).max())
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
        let last = (from..=to)
            .filter_map(|number| self.complete.remove(&number))
            .map(|complete| complete.at)
            .max();
        Ok(last.unwrap_or(0))
    }

    pub(super) fn wait_exhausted(&mut self, until: u64) -> Result<(), Stop> {
        self.pump_while(until, |conductor| !conductor.exhausted)?;
        if self.exhausted {
            return Ok(());
        }
        let patience = self.scenario.patience;
        Err(Stop::Problem(format!(
            "publishing fell more than {patience} behind its schedule and was ended"
        )))
    }

    /// Takes notes until `until` or as long as `go_on`.
    pub(super) fn pump_while(
        &mut self,
        until: u64,
        mut go_on: impl FnMut(&Self) -> bool,
    ) -> Result<(), Stop> {
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
            if self.fleet.workers() == 0 {
                self.record.read_server_if_due(now);
            }
            let span = Duration::from_nanos((until - now).min(LOOK_INTERVAL));
            match self.fleet.notes().recv_timeout(span) {
                Ok(note) => self.note(note),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Stop::Problem("all workers ended".into()));
                }
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
                // Ticks are aligned, so with the last worker's all are up to date.
                if worker + 1 == self.fleet.workers() {
                    self.record.read_server_if_due(clock::now());
                    if self.opening {
                        self.record.note_memory();
                    }
                }
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
            FromWorker::Whole { storm, at } => {
                let whole = self.whole.entry(storm).or_default();
                whole.workers.insert(worker);
                whole.at = whole.at.max(at);
            }
            FromWorker::Drained => self.drained += 1,
            FromWorker::Final(last) => {
                self.finals += 1;
                self.record.last_words(*last);
            }
        }
    }
}
