//! Streams that leave: broken ones, those that churn, and all at once in a storm.

use super::message::FromWorker;
use super::stream::State;
use super::worker::Worker;
use crate::measure::clock::{self, SECOND};

impl Worker {
    /// The stream is gone, for `cause`, and comes back if it is to.
    pub(super) fn lose(&mut self, index: usize, cause: &str) {
        let was = self.streams[index].state;
        if matches!(was, State::Away | State::GaveUp) {
            return;
        }
        let stage = if was == State::Open { "open" } else { "opening" };
        *self.causes.entry(format!("{stage}: {cause}")).or_default() += 1;
        self.shut(index);
        match self.assignment.retry {
            Some(delay) => {
                // Up to a half more, so that what broke together does not come back together.
                let jitter = delay / 2 * (index as u64 % 16) / 16;
                self.ramp.add_later(index as u32, clock::now() + delay + jitter);
            }
            None => self.streams[index].state = State::GaveUp,
        }
        self.reannounce();
    }

    /// Closes the socket and forgets that it was open.
    pub(super) fn shut(&mut self, index: usize) {
        let stream = &mut self.streams[index];
        match stream.state {
            State::Open => {
                self.present -= 1;
                self.listeners -= u64::from(!stream.slow);
            }
            State::Dialing | State::Asking => self.ramp.landed(),
            State::Away | State::GaveUp => {}
        }
        stream.socket = None;
        stream.state = State::Away;
    }

    /// With a stream less, an event may have reached all the others.
    pub(super) fn reannounce(&mut self) {
        if !self.assignment.announce {
            return;
        }
        for (number, tally) in self.tallies.held_by(self.listeners).collect::<Vec<_>>() {
            self.tell(&FromWorker::Complete { number, at: tally.last });
        }
    }

    pub(super) fn let_leave(&mut self, now: u64) {
        if self.churn <= 0.0 || self.streams.is_empty() {
            return;
        }
        let due = ((now - self.churn_since) as f64 / SECOND as f64 * self.churn) as u64;
        let mut looked = 0;
        while self.churned < due && looked < self.streams.len() {
            looked += 1;
            let index = self.next_to_leave as usize;
            self.next_to_leave = (self.next_to_leave + 1) % self.streams.len() as u32;
            if self.streams[index].state == State::Open {
                self.churned += 1;
                self.leave(index, now);
            }
        }
    }

    /// The stream leaves by itself and asks to be opened again.
    pub(super) fn leave(&mut self, index: usize, now: u64) {
        self.left += 1;
        self.shut(index);
        if !self.assignment.resume {
            self.settle_visit(index);
        }
        self.ramp.add(index as u32, now);
    }

    pub(super) fn storm(&mut self) {
        let now = clock::now();
        for index in 0..self.streams.len() {
            if self.streams[index].state == State::Open {
                self.leave(index, now);
            }
        }
        self.tell_settled = true;
    }
}
