//! What a worker tells its parent: ticks, that nothing is missing, and the sums at the end.

use super::message::{Final, FromWorker, Tick};
use super::stream::State;
use super::worker::Worker;
use crate::measure::clock;
use crate::measure::sequence::{Ledger, owed};
use crate::measure::server;

impl Worker {
    /// Tells what happened since the last tick.
    pub(super) fn tick(&mut self, now: u64) {
        let tick = Tick {
            at: now,
            present: self.present,
            pending: self.ramp.pending(),
            deliveries: std::mem::take(&mut self.deliveries),
            bytes: std::mem::take(&mut self.bytes),
            latency: self.interval.take(),
            cpu: clock::own_cpu(),
        };
        self.tell(&FromWorker::Tick(tick));
    }

    /// No events beyond `ends` will be sent, and those `excused` need not come.
    pub(super) fn expect_no_more(&mut self, ends: Vec<u64>, excused: Vec<(u32, u64)>) {
        let mut by_topic = vec![Vec::new(); ends.len()];
        for (topic, number) in excused {
            by_topic[topic as usize].push(number);
        }
        by_topic.iter_mut().for_each(|numbers: &mut Vec<u64>| numbers.sort_unstable());
        self.finish = Some((ends, by_topic));
        self.drained = false;
        self.tell_if_drained();
    }

    /// Tells once that every reading stream has everything.
    pub(super) fn tell_if_drained(&mut self) {
        let Some((ends, excused)) = &self.finish else { return };
        if self.drained || self.ramp.pending() > 0 {
            return;
        }
        let topics = self.assignment.topics as usize;
        let lacks = |(index, stream): (usize, &super::stream::Stream)| {
            let topic = (self.assignment.first as usize + index) % topics;
            let waits = stream.state == State::Open && !stream.slow;
            waits
                && !stream.ledger.has_all(ends[topic])
                && stream.ledger.missing(ends[topic]).any(|range| owed(range, &excused[topic]) > 0)
        };
        if self.streams.iter().enumerate().any(lacks) {
            return;
        }
        self.drained = true;
        self.tell(&FromWorker::Drained);
    }

    /// A visit is over by the stream's own will: what is in flight is forgiven, holes are kept.
    pub(super) fn settle_visit(&mut self, index: usize) {
        let topic = (self.assignment.first + index as u64) % u64::from(self.assignment.topics);
        let stream = &mut self.streams[index];
        if !stream.slow {
            self.left_holes.extend(stream.ledger.holes().map(|range| (topic as u32, range)));
        }
        stream.ledger = Ledger::default();
        stream.met = false;
    }

    /// The last line.
    pub(super) fn tell_final(&mut self) {
        self.close_accounts();
        let last = Final {
            account: std::mem::take(&mut self.account),
            slow: std::mem::take(&mut self.slow_account),
            slow_latency: self.slow_latency.take(),
            opening: self.opening.take(),
            causes: std::mem::take(&mut self.causes),
            controls: std::mem::take(&mut self.controls),
            present: self.present,
            opened: self.opened,
            last_arrival: self.last_arrival,
            memory: server::user_memory(std::process::id()).unwrap_or(0),
            cpu: clock::own_cpu(),
            left: self.left,
        };
        self.tell(&FromWorker::Final(Box::new(last)));
    }

    fn close_accounts(&mut self) {
        let Some((ends, excused)) = self.finish.take() else {
            self.account.expected = self.account.received;
            self.slow_account.expected = self.slow_account.received;
            return;
        };
        for (index, stream) in self.streams.iter().enumerate().filter(|(_, stream)| stream.met) {
            let topic = (self.assignment.first as usize + index) % self.assignment.topics as usize;
            let missing: u64 =
                stream.ledger.missing(ends[topic]).map(|range| owed(range, &excused[topic])).sum();
            let account = if stream.slow { &mut self.slow_account } else { &mut self.account };
            account.missing += missing;
        }
        for (topic, range) in &self.left_holes {
            self.account.missing += owed(*range, &excused[*topic as usize]);
        }
        for account in [&mut self.account, &mut self.slow_account] {
            account.expected = account.received + account.missing;
        }
    }
}
