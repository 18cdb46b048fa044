//! What the parent gathers during a run: time series, totals and readings of the server.

use std::collections::BTreeMap;

use super::series::TimeSeries;
use super::server_monitor::ServerMonitor;
use super::usage::Usage;
use crate::measure::account::Account;
use crate::measure::clock;
use crate::measure::latency::Latency;
use crate::measure::server::{self, Server};
use crate::publish::PublishTick;
use crate::report::progress::Snapshot;
use crate::subscribe::{Final, Tick};

pub(super) struct Record {
    pub(super) series: TimeSeries,
    pub(super) monitor: ServerMonitor,
    pub(super) published: PublishTotals,
    /// By worker, as of its last tick.
    workers: BTreeMap<usize, WorkerState>,
    deliveries: u64,
    /// From due to arrival.
    pub(super) latency: Latency,
    /// From connect to response head.
    pub(super) opening: Latency,
    pub(super) slow_latency: Latency,
    /// The sum of the workers' reports, without the histograms.
    pub(super) total: Final,
}

#[derive(Clone, Copy)]
struct WorkerState {
    open: u64,
    cpu: u64,
}

#[derive(Default)]
pub(super) struct PublishTotals {
    pub(super) sent: u64,
    /// Responses by status, and failed requests by cause.
    pub(super) answers: BTreeMap<String, u64>,
    /// From due to a 2xx response.
    pub(super) latency: Latency,
}

impl Record {
    pub(super) fn new(server: Option<Server>, tick: u64, started: u64) -> Self {
        Self {
            series: TimeSeries::new(tick, started),
            monitor: ServerMonitor::new(server, started),
            published: PublishTotals::default(),
            workers: BTreeMap::new(),
            deliveries: 0,
            latency: Latency::default(),
            opening: Latency::default(),
            slow_latency: Latency::default(),
            total: Final::default(),
        }
    }

    pub(super) fn add_tick(&mut self, worker: usize, tick: &Tick) {
        self.latency.merge(&tick.latency);
        self.deliveries += tick.deliveries;
        self.workers.insert(worker, WorkerState { open: tick.open, cpu: tick.cpu });
        self.series.add_tick(tick, worker, (self.workers.len(), self.open_streams()));
    }

    pub(super) fn add_published(&mut self, tick: PublishTick, now: u64) {
        self.series.add_published(tick.sent, now);
        self.published.latency.merge(&tick.latency);
        self.published.sent += tick.sent;
        add_counts(&mut self.published.answers, tick.answers);
    }

    pub(super) fn add_final(&mut self, last: Final) {
        self.opening.merge(&last.opening);
        self.slow_latency.merge(&last.slow_latency);
        let total = &mut self.total;
        total.account.add(&last.account);
        total.slow.add(&last.slow);
        total.open += last.open;
        total.opened += last.opened;
        total.last_arrival = total.last_arrival.max(last.last_arrival);
        total.memory += last.memory;
        total.cpu += last.cpu;
        total.left += last.left;
        add_counts(&mut total.causes, last.causes);
        add_counts(&mut total.controls, last.controls);
    }

    /// Streams open in all workers.
    pub(super) fn open_streams(&self) -> u64 {
        self.workers.values().map(|worker| worker.open).sum()
    }

    /// The account of all streams, slow ones included.
    pub(super) fn whole_account(&self) -> Account {
        let mut whole = self.total.account.clone();
        whole.add(&self.total.slow);
        whole
    }

    pub(super) fn usage(&self) -> Usage {
        Usage {
            at: clock::now(),
            machine: server::machine_busy(),
            tool: clock::own_cpu() + self.workers.values().map(|worker| worker.cpu).sum::<u64>(),
            server: self.monitor.read(),
        }
    }

    pub(super) fn read_server_if_due(&mut self) {
        self.monitor.read_if_due(self.deliveries, clock::now());
    }

    pub(super) fn snapshot(&self) -> Snapshot<'_> {
        Snapshot {
            streams: self.open_streams(),
            deliveries: self.deliveries,
            latency: &self.latency,
            sent: self.published.sent,
        }
    }
}

fn add_counts(totals: &mut BTreeMap<String, u64>, counts: BTreeMap<String, u64>) {
    for (name, count) in counts {
        *totals.entry(name).or_default() += count;
    }
}
