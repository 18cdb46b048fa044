//! A worker's counters: what arrived, how late, and why connections were lost.

use std::collections::BTreeMap;

use super::message::{Final, Tick};
use crate::measure::clock;
use crate::measure::latency::Latency;

#[derive(Default)]
pub(super) struct Stats {
    /// Of the current interval of the time series, as the next two.
    deliveries: u64,
    bytes: u64,
    latency: Latency,
    slow_latency: Latency,
    last_arrival: u64,
    causes: BTreeMap<String, u64>,
    controls: BTreeMap<String, u64>,
    left: u64,
    periods: Periods,
    by_parity: [u64; 2],
}

/// The periods that deliveries are counted in, by parity.
#[derive(Default)]
struct Periods {
    start: u64,
    length: u64,
    until: u64,
}

impl Stats {
    pub(super) fn count_periods(&mut self, start: u64, length: u64, until: u64) {
        self.periods = Periods { start, length, until };
    }

    pub(super) fn record_bytes(&mut self, len: usize) {
        self.bytes += len as u64;
    }

    pub(super) fn record_delivery(&mut self, now: u64) {
        self.deliveries += 1;
        self.last_arrival = now;
        let Periods { start, length, until } = self.periods;
        if (start..until).contains(&now) {
            self.by_parity[((now - start) / length % 2) as usize] += 1;
        }
    }

    pub(super) fn record_latency(&mut self, nanos: u64) {
        self.latency.record(nanos);
    }

    pub(super) fn record_slow_latency(&mut self, nanos: u64) {
        self.slow_latency.record(nanos);
    }

    pub(super) fn record_control(&mut self, event_type: &[u8]) {
        let event_type = String::from_utf8_lossy(event_type).into_owned();
        *self.controls.entry(event_type).or_default() += 1;
    }

    pub(super) fn record_failure(&mut self, stage: &str, cause: &str) {
        *self.causes.entry(format!("{stage}: {cause}")).or_default() += 1;
    }

    pub(super) fn record_left(&mut self) {
        self.left += 1;
    }

    pub(super) fn take_tick(&mut self, open: u64, open_min: u64, now: u64) -> Tick {
        Tick {
            at: now,
            open,
            open_min,
            deliveries: std::mem::take(&mut self.deliveries),
            bytes: std::mem::take(&mut self.bytes),
            latency: self.latency.take(),
            cpu: clock::own_cpu(),
        }
    }

    pub(super) fn report(&mut self, last: &mut Final) {
        last.slow_latency = self.slow_latency.take();
        last.causes = std::mem::take(&mut self.causes);
        last.controls = std::mem::take(&mut self.controls);
        last.last_arrival = self.last_arrival;
        last.left = self.left;
        last.by_parity = self.by_parity;
    }
}
