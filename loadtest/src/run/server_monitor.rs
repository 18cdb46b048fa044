//! Readings of the server's resource usage over the run.

use crate::measure::clock::SECOND;
use crate::measure::server::{Cost, Server};

/// The minimum time between two readings.
const READING_INTERVAL: u64 = SECOND - SECOND / 20;

pub(super) struct ServerMonitor {
    server: Option<Server>,
    readings: Vec<Reading>,
    next_reading: u64,
    /// Streams and the server's memory without pages of files (bytes) during the ramp.
    memory_by_streams: Vec<(u64, u64)>,
}

struct Reading {
    at: u64,
    cost: Cost,
    /// Deliveries so far.
    deliveries: u64,
}

/// Usage between two readings.
pub(super) struct CpuSpan {
    pub(super) cpu: f64,
    pub(super) nanos: f64,
    pub(super) deliveries: f64,
}

impl ServerMonitor {
    pub(super) fn new(server: Option<Server>, now: u64) -> Self {
        Self { server, readings: Vec::new(), next_reading: now, memory_by_streams: Vec::new() }
    }

    pub(super) fn server(&self) -> Option<Server> {
        self.server
    }

    pub(super) fn pid(&self) -> Option<u32> {
        self.server.map(|server| server.pid)
    }

    pub(super) fn read(&self) -> Option<Cost> {
        self.server?.cost()
    }

    /// True if a reading was due, whether or not the server is known.
    pub(super) fn read_if_due(&mut self, deliveries: u64, now: u64) -> bool {
        let is_due = now >= self.next_reading;
        if is_due {
            self.next_reading = now + READING_INTERVAL;
            let reading = self.read().map(|cost| Reading { at: now, cost, deliveries });
            self.readings.extend(reading);
        }
        is_due
    }

    /// The usage of the last reading.
    pub(super) fn last_cost(&self) -> Option<Cost> {
        self.readings.last().map(|reading| reading.cost)
    }

    pub(super) fn record_memory(&mut self, streams: u64) {
        let cost = self.read();
        self.memory_by_streams.extend(cost.map(|cost| (streams, cost.data_memory)));
    }

    pub(super) fn memory_by_streams(&self) -> &[(u64, u64)] {
        &self.memory_by_streams
    }

    /// The last reading at or before `until`.
    pub(super) fn reading_until(&self, until: u64) -> Option<usize> {
        self.readings.iter().rposition(|reading| reading.at <= until)
    }

    pub(super) fn is_after(&self, reading: usize, at: u64) -> bool {
        self.readings[reading].at > at
    }

    pub(super) fn memory(&self, reading: usize) -> u64 {
        self.readings[reading].cost.memory
    }

    /// Usage between `reading` and the one before.
    pub(super) fn cpu_span(&self, reading: usize) -> Option<CpuSpan> {
        let before = self.readings.get(reading.checked_sub(1)?)?;
        let now = self.readings.get(reading)?;
        Some(CpuSpan {
            cpu: now.cost.since(&before.cost).cpu as f64,
            nanos: (now.at - before.at).max(1) as f64,
            deliveries: (now.deliveries - before.deliveries) as f64,
        })
    }
}
