//! The milestones that workers and publisher have announced.

use std::collections::{BTreeMap, BTreeSet};

use crate::publish::Published;

#[derive(Default)]
pub(super) struct Announcements {
    /// By worker: when its last stream opened.
    settled: BTreeMap<usize, u64>,
    /// By group and event.
    complete: BTreeMap<(usize, u64), Milestone>,
    /// By storm.
    recovered: BTreeMap<u32, Milestone>,
    /// Workers without missing events.
    pub(super) drained: usize,
    /// Workers that have sent their report.
    pub(super) reported: usize,
    /// Workers that have ended.
    pub(super) exited: usize,
    /// Publishers that have sent their last scheduled event.
    pub(super) exhausted: usize,
    /// Publishers that have ended, and what they have sent.
    pub(super) finished: usize,
    pub(super) published: Published,
}

/// Something all workers have to reach.
#[derive(Default)]
struct Milestone {
    workers: BTreeSet<usize>,
    /// When the last of them did.
    at: u64,
}

impl Milestone {
    fn reach(&mut self, worker: usize, at: u64) {
        self.workers.insert(worker);
        self.at = self.at.max(at);
    }
}

impl Announcements {
    pub(super) fn set_settled(&mut self, worker: usize, at: u64) {
        self.settled.insert(worker, at);
    }

    /// All streams are about to reconnect.
    pub(super) fn clear_settled(&mut self) {
        self.settled.clear();
    }

    pub(super) fn is_settled(&self, workers: usize) -> bool {
        self.settled.len() >= workers
    }

    /// When the last stream opened.
    pub(super) fn settled_at(&self) -> Option<u64> {
        self.settled.values().copied().max()
    }

    pub(super) fn set_complete(&mut self, worker: usize, event: (usize, u64), at: u64) {
        self.complete.entry(event).or_default().reach(worker, at);
    }

    /// True if every stream of its group has received `event`.
    pub(super) fn is_complete(&self, event: (usize, u64), workers: usize) -> bool {
        self.complete.get(&event).is_some_and(|reached| reached.workers.len() >= workers)
    }

    /// Forgets an event; returns when the last stream received it.
    pub(super) fn take_complete(&mut self, event: (usize, u64)) -> Option<u64> {
        self.complete.remove(&event).map(|reached| reached.at)
    }

    pub(super) fn set_recovered(&mut self, worker: usize, storm: u32, at: u64) {
        self.recovered.entry(storm).or_default().reach(worker, at);
    }

    /// When the last stream recovered from `storm`, if all have.
    pub(super) fn recovered_at(&self, storm: u32, workers: usize) -> Option<u64> {
        let reached = self.recovered.get(&storm)?;
        (reached.workers.len() == workers).then_some(reached.at)
    }
}
