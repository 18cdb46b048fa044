//! Detects when every reading stream of the worker has received an event, for closed-loop runs.

use super::message::FromWorker;
use crate::measure::arrivals::ArrivalTable;

pub(super) struct Completion {
    enabled: bool,
    arrivals: ArrivalTable,
}

impl Completion {
    pub(super) fn new(enabled: bool) -> Self {
        Self { enabled, arrivals: ArrivalTable::default() }
    }

    /// Counts an arrival; returns a message if it was the last one of `readers`.
    pub(super) fn record(&mut self, number: u64, now: u64, readers: u64) -> Option<FromWorker> {
        let complete = self.enabled && self.arrivals.record(number, now) == readers;
        complete.then_some(FromWorker::Complete { number, at: now })
    }

    /// The recent events that are complete for `readers`. To be checked when a stream is lost: with
    /// one reader less, an event may have reached all the others.
    pub(super) fn recheck(&self, readers: u64) -> impl Iterator<Item = FromWorker> {
        let complete = self.enabled.then(|| self.arrivals.received_by(readers));
        complete
            .into_iter()
            .flatten()
            .map(|(number, arrivals)| FromWorker::Complete { number, at: arrivals.last_at })
    }
}
