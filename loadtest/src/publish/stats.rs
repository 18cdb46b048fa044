//! The publisher's counters: event numbers by topic, responses, latency, rejected events.

use super::message::{PublishPlan, PublishTick, Published};
use crate::measure::latency::Latency;
use crate::measure::stamp::{Stamp, lane};

pub(super) struct Stats {
    /// The next event number, by lane.
    next: Vec<u64>,
    first_topic: u32,
    topics: u32,
    publishers: u32,
    sent: u64,
    rejected: Vec<(u32, u64)>,
    tick: PublishTick,
    latency: Latency,
}

impl Stats {
    pub(super) fn new(plan: &PublishPlan) -> Self {
        let PublishPlan { first_topic, topics, publishers, .. } = *plan;
        Self {
            next: vec![0; lane(first_topic + topics, 0, publishers) as usize],
            first_topic,
            topics,
            publishers,
            sent: 0,
            rejected: Vec::new(),
            tick: PublishTick::default(),
            latency: Latency::default(),
        }
    }

    /// Counts an event as sent on `connection`; topics take turns.
    pub(super) fn next_event(&mut self, due: u64, connection: usize) -> Stamp {
        let topic = self.first_topic + (self.sent % u64::from(self.topics)) as u32;
        let publisher = if self.publishers > 1 { connection as u8 } else { 0 };
        let next = &mut self.next[lane(topic, publisher, self.publishers) as usize];
        let number = *next;
        *next += 1;
        self.sent += 1;
        self.tick.sent += 1;
        Stamp { topic, publisher, number, due }
    }

    pub(super) fn record_response(&mut self, stamp: Stamp, status: u16, now: u64) {
        self.count(&status.to_string());
        if (200..300).contains(&status) {
            self.latency.record(now.saturating_sub(stamp.due));
        } else {
            self.reject(stamp);
        }
    }

    fn reject(&mut self, stamp: Stamp) {
        let lane = lane(stamp.topic, stamp.publisher, self.publishers);
        self.rejected.push((lane, stamp.number));
    }

    /// A request that never got a response. Whether the server took it is unknown.
    pub(super) fn record_failure(&mut self, stamp: Stamp, cause: &str) {
        self.count(cause);
        self.reject(stamp);
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
