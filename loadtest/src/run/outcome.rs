//! What the phases of a run have found, besides the record.

use crate::measure::latency::Latency;
use crate::measure::server::Cost;
use crate::probe::Probes;

#[derive(Default)]
pub(super) struct Outcome {
    pub(super) started: u64,
    /// Usage of the server before the first stream.
    pub(super) cost_before: Option<Cost>,
    /// With all streams open, before the first event.
    pub(super) cost_idle: Option<Cost>,
    /// By group: its streams, and the usage of the server once they are open.
    pub(super) opened: Vec<(u64, Option<Cost>)>,
    pub(super) cost_after: Option<Cost>,
    pub(super) ramp_nanos: u64,
    /// Streams open after the ramp.
    pub(super) streams: u64,
    pub(super) measured: Measured,
    pub(super) publishing_nanos: u64,
    pub(super) socket_buffers: Option<u64>,
    pub(super) problems: Vec<String>,
    pub(super) interrupted: bool,
}

/// Results of the measured part.
#[derive(Default)]
pub(super) struct Measured {
    /// When the first measured event was due.
    pub(super) first_due: Option<u64>,
    /// Of closed-loop runs, as the next two: the sum of the measured spans.
    pub(super) busy_nanos: u64,
    pub(super) deliveries: u64,
    /// From due to arrival at the last stream.
    pub(super) last_arrival: Latency,
    /// Deliveries a second, by burst.
    pub(super) bursts_per_s: Vec<f64>,
    pub(super) storms: Vec<StormTimes>,
    /// By group, if groups are published to in turn.
    pub(super) turns: Vec<Turns>,
    /// Nanoseconds in even and in odd periods, if deliveries are counted by period.
    pub(super) parity_nanos: Option<[u64; 2]>,
    pub(super) probes: Option<Probes>,
    /// How long the server was stopped.
    pub(super) paused_nanos: Option<u64>,
}

/// What was measured while one group was published to.
#[derive(Clone, Default)]
pub(super) struct Turns {
    pub(super) deliveries: u64,
    pub(super) busy_nanos: u64,
    /// Processor time of the server; `None` if it is unknown.
    pub(super) cpu: Option<u64>,
    /// From due to arrival at the last stream.
    pub(super) last_arrival: Latency,
}

pub(super) struct StormTimes {
    /// When the streams began to reconnect.
    pub(super) reconnect_at: u64,
    /// When all were open again, if they were.
    pub(super) open_at: Option<u64>,
}

impl Turns {
    pub(super) fn record_complete(&mut self, due: u64, completed: u64, deliveries: u64) {
        self.last_arrival.record(completed - due);
        self.busy_nanos += completed - due;
        self.deliveries += deliveries;
    }
}

impl Measured {
    /// Records an event or a burst that every stream has received.
    pub(super) fn record_complete(&mut self, due: u64, completed: u64, deliveries: u64) {
        self.first_due.get_or_insert(due);
        self.last_arrival.record(completed - due);
        self.busy_nanos += completed - due;
        self.deliveries += deliveries;
    }
}
