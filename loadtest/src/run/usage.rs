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

/// The measured part of a run.
#[derive(Default)]
pub(super) struct MeasurementInterval {
    begin: Option<Usage>,
    end: Option<Usage>,
}

impl MeasurementInterval {
    /// Begins the measurement, or restarts it.
    pub(super) fn begin(&mut self, usage: Usage) {
        (self.begin, self.end) = (Some(usage), None);
    }

    /// The first call after [`begin`](Self::begin) counts.
    pub(super) fn end_with(&mut self, usage: impl FnOnce() -> Usage) {
        self.end.get_or_insert_with(usage);
    }

    /// What the server has used; `None` if it is unknown or has ended.
    pub(super) fn server_cost(&self) -> Option<Cost> {
        Some(self.end?.server?.since(&self.begin?.server?))
    }

    /// Average number of busy processors.
    pub(super) fn processors(&self) -> Option<Processors> {
        let (begin, end) = (self.begin?, self.end?);
        let nanos = end.at.saturating_sub(begin.at).max(1) as f64;
        let server = self.server_cost().map_or(0, |cost| cost.cpu) as f64 / nanos;
        let tool = end.tool.saturating_sub(begin.tool) as f64 / nanos;
        let all = end.machine?.saturating_sub(begin.machine?) as f64 / nanos;
        Some(Processors { server, tool, others: (all - server - tool).max(0.0) })
    }
}
