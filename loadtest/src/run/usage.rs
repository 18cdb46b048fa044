//! Processor usage of server, tool and machine during the measurement.

use crate::measure::server::Cost;
use crate::report::Processors;

/// Cumulative usage at one time.
#[derive(Clone, Copy)]
pub(super) struct Usage {
    pub(super) at: u64,
    /// Busy time of all processors.
    pub(super) machine: Option<u64>,
    /// Of this process and its workers.
    pub(super) tool: u64,
    pub(super) server: Option<Cost>,
}

/// The measured part of a run: until its last event, without the wait for events that are missing.
#[derive(Default)]
pub(super) struct MeasurementInterval {
    begin: Option<Usage>,
    /// At the last progress.
    latest: Option<Usage>,
    ended: bool,
}

impl MeasurementInterval {
    /// Begins the measurement, or restarts it.
    pub(super) fn begin(&mut self, usage: Usage) {
        *self = Self { begin: Some(usage), latest: None, ended: false };
    }

    /// Something has arrived: the measurement reaches at least until now.
    pub(super) fn extend_with(&mut self, usage: impl FnOnce() -> Usage) {
        if !self.ended {
            self.latest = Some(usage());
        }
    }

    /// Ends the measurement; the first call after [`begin`](Self::begin) counts. If it ends in vain
    /// (`stalled`), the measurement reaches until the last progress.
    pub(super) fn end_with(&mut self, stalled: bool, usage: impl FnOnce() -> Usage) {
        let reaches_now = !stalled || self.latest.is_none();
        if reaches_now && !self.ended {
            self.latest = Some(usage());
        }
        self.ended = true;
    }

    /// When it ended.
    pub(super) fn ended_at(&self) -> Option<u64> {
        Some(self.latest?.at)
    }

    /// What the server has used; `None` if it is unknown or has ended.
    pub(super) fn server_cost(&self) -> Option<Cost> {
        Some(self.latest?.server?.since(&self.begin?.server?))
    }

    /// Average number of busy processors.
    pub(super) fn processors(&self) -> Option<Processors> {
        let (begin, end) = (self.begin?, self.latest?);
        let nanos = end.at.saturating_sub(begin.at).max(1) as f64;
        let server = self.server_cost().map_or(0, |cost| cost.cpu) as f64 / nanos;
        let tool = end.tool.saturating_sub(begin.tool) as f64 / nanos;
        let all = end.machine?.saturating_sub(begin.machine?) as f64 / nanos;
        Some(Processors { server, tool, others: (all - server - tool).max(0.0) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(at: u64) -> Usage {
        Usage { at, machine: Some(at), tool: 0, server: None }
    }

    #[test]
    fn a_wait_in_vain_is_not_measured() {
        let mut interval = MeasurementInterval::default();
        interval.begin(usage(10));
        interval.extend_with(|| usage(20));
        interval.end_with(true, || usage(90));
        interval.extend_with(|| usage(95));
        assert_eq!(interval.ended_at(), Some(20));
        interval.begin(usage(10));
        interval.extend_with(|| usage(20));
        interval.end_with(false, || usage(90));
        interval.end_with(false, || usage(99));
        assert_eq!(interval.ended_at(), Some(90));
    }
}
