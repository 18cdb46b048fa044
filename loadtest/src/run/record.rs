//! What the parent gathers during a run: time series, totals and readings of the server.

use std::collections::BTreeMap;

use super::series::TimeSeries;
use super::server_monitor::ServerMonitor;
use super::usage::Usage;
use crate::measure::account::Account;
use crate::measure::clock;
use crate::measure::latency::Latency;
use crate::measure::server::{self, Cost, Server};
use crate::publish::PublishTick;
use crate::report::progress::Snapshot;
use crate::subscribe::{Final, Tick};

pub(super) struct Record {
    pub(super) series: TimeSeries,
    pub(super) monitor: ServerMonitor,
    /// By group, as [`Record::latency`] and [`Record::accounts`].
    pub(super) published: Vec<PublishTotals>,
    /// As of the last tick of each.
    workers: Vec<WorkerState>,
    deliveries: u64,
    /// From due to arrival.
    pub(super) latency: Vec<Latency>,
    /// Of the streams that are not slow.
    pub(super) accounts: Vec<Account>,
    /// From connect to response head.
    pub(super) opening: Latency,
    pub(super) slow_latency: Latency,
    /// The sum of the workers' reports, without the histograms.
    pub(super) total: Final,
}

#[derive(Clone, Copy, Default)]
struct WorkerState {
    group: usize,
    open: u64,
    cpu: u64,
}

#[derive(Clone, Default)]
pub(super) struct PublishTotals {
    pub(super) sent: u64,
    /// Responses by status, and failed requests by cause.
    pub(super) answers: BTreeMap<String, u64>,
    /// From due to a 2xx response.
    pub(super) latency: Latency,
}

impl Record {
    pub(super) fn new(server: Option<Server>, groups: usize, tick: u64, started: u64) -> Self {
        Self {
            series: TimeSeries::new(tick, started),
            monitor: ServerMonitor::new(server, started),
            published: vec![PublishTotals::default(); groups],
            workers: Vec::new(),
            deliveries: 0,
            latency: vec![Latency::default(); groups],
            accounts: vec![Account::default(); groups],
            opening: Latency::default(),
            slow_latency: Latency::default(),
            total: Final::default(),
        }
    }

    pub(super) fn add_worker(&mut self, group: usize) {
        self.workers.push(WorkerState { group, ..WorkerState::default() });
    }

    pub(super) fn add_tick(&mut self, worker: usize, tick: &Tick) {
        let state = &mut self.workers[worker];
        (state.open, state.cpu) = (tick.open, tick.cpu);
        let group = state.group;
        self.latency[group].merge(&tick.latency);
        self.deliveries += tick.deliveries;
        let all = (self.workers.len(), self.open_streams());
        self.series.add_tick(tick, (worker, group), all);
    }

    pub(super) fn add_published(&mut self, group: usize, tick: PublishTick, now: u64) {
        self.series.add_published(tick.sent, now);
        let published = &mut self.published[group];
        published.latency.merge(&tick.latency);
        published.sent += tick.sent;
        add_counts(&mut published.answers, tick.answers);
    }

    pub(super) fn add_final(&mut self, worker: usize, last: Final) {
        self.opening.merge(&last.opening);
        self.slow_latency.merge(&last.slow_latency);
        self.accounts[self.workers[worker].group].add(&last.account);
        let total = &mut self.total;
        total.account.add(&last.account);
        total.slow.add(&last.slow);
        total.open += last.open;
        total.opened += last.opened;
        total.last_arrival = total.last_arrival.max(last.last_arrival);
        total.memory += last.memory;
        total.cpu += last.cpu;
        total.left += last.left;
        total.fates.add(&last.fates);
        if self.workers[worker].group == 0 {
            // Of the large topics: the small one is published to in half of the periods.
            (0..2).for_each(|parity| total.by_parity[parity] += last.by_parity[parity]);
        }
        add_counts(&mut total.causes, last.causes);
        add_counts(&mut total.controls, last.controls);
    }

    /// Streams open in all workers.
    pub(super) fn open_streams(&self) -> u64 {
        self.workers.iter().map(|worker| worker.open).sum()
    }

    pub(super) fn open_streams_of(&self, group: usize) -> u64 {
        self.workers.iter().filter(|of| of.group == group).map(|worker| worker.open).sum()
    }

    /// The account of all streams, slow ones included.
    pub(super) fn whole_account(&self) -> Account {
        let mut whole = self.total.account.clone();
        whole.add(&self.total.slow);
        whole
    }

    pub(super) fn usage(&self) -> Usage {
        self.usage_with(self.monitor.read())
    }

    /// Without another reading of the server, directly after one.
    pub(super) fn usage_at_reading(&self) -> Usage {
        self.usage_with(self.monitor.last_cost())
    }

    fn usage_with(&self, server: Option<Cost>) -> Usage {
        Usage {
            at: clock::now(),
            machine: server::machine_busy(),
            tool: clock::own_cpu() + self.workers.iter().map(|worker| worker.cpu).sum::<u64>(),
            server,
        }
    }

    /// True if a reading was due.
    pub(super) fn read_server_if_due(&mut self) -> bool {
        self.monitor.read_if_due(self.deliveries, clock::now())
    }

    pub(super) fn snapshot(&self) -> Snapshot<'_> {
        Snapshot {
            streams: self.open_streams(),
            deliveries: self.deliveries,
            latency: &self.latency[0],
            sent: self.published.iter().map(|published| published.sent).sum(),
        }
    }
}

/// Adds counts by name.
pub(super) fn add_counts(totals: &mut BTreeMap<String, u64>, counts: BTreeMap<String, u64>) {
    for (name, count) in counts {
        *totals.entry(name).or_default() += count;
    }
}
