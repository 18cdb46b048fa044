//! The publisher's counters: event numbers by topic, responses, latency, rejected events.

use super::message::{PublishTick, Published};
use crate::measure::latency::Latency;
use crate::measure::stamp::Stamp;

pub(super) struct Stats {
    /// The next event number, by topic.
    next: Vec<u64>,
    sent: u64,
    rejected: Vec<(u32, u64)>,
    tick: PublishTick,
    latency: Latency,
}

impl Stats {
    pub(super) fn new(topics: u32) -> Self {
        Self {
            next: vec![0; topics as usize],
            sent: 0,
            rejected: Vec::new(),
            tick: PublishTick::default(),
            latency: Latency::default(),
        }
    }

    /// Counts an event as sent; topics take turns.
    pub(super) fn next_event(&mut self, due: u64) -> Stamp {
        let topic = (self.sent % self.next.len() as u64) as usize;
        let number = self.next[topic];
        self.next[topic] += 1;
        self.sent += 1;
        self.tick.sent += 1;
        Stamp { topic: topic as u32, number, due }
    }

    pub(super) fn record_response(&mut self, stamp: Stamp, status: u16, now: u64) {
        self.count(&status.to_string());
        if (200..300).contains(&status) {
            self.latency.record(now.saturating_sub(stamp.due));
        } else {
            self.rejected.push((stamp.topic, stamp.number));
        }
    }

    /// A request that never got a response. Whether the server took it is unknown.
    pub(super) fn record_failure(&mut self, stamp: Stamp, cause: &str) {
        self.count(cause);
        self.rejected.push((stamp.topic, stamp.number));
    }

    pub(super) fn count(&mut self, answer: &str) {
        match self.tick.answers.get_mut(answer) {
            Some(count) => *count += 1,
            None => drop(self.tick.answers.insert(answer.to_owned(), 1)),
        }
    }

    pub(super) fn take_tick(&mut self) -> PublishTick {
        self.tick.latency = self.latency.take();
        std::mem::take(&mut self.tick)
    }

    pub(super) fn into_published(self) -> Published {
        Published { counts: self.next, rejected: self.rejected }
    }
}
