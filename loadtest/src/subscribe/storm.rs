//! Streams that leave: broken ones, those that churn, and all at once in a storm.

use super::message::FromWorker;
use super::stream::State;
use super::worker::Worker;
use crate::measure::clock::{self, SECOND};

/// The last storm: how many of those that dropped have not yet had all that was due while they were
/// away. Slow streams are not among them.
#[derive(Default)]
pub(super) struct Storm {
    /// Its number, from 1.
    number: u32,
    /// When those that dropped may come back.
    back: u64,
    /// When the run's last event is due, if events come on a schedule.
    last_due: Option<u64>,
    behind: u64,
    /// When the last of those that are not behind any more had it.
    whole_at: u64,
    tell: bool,
}

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
                self.leave(index);
                self.ramp.add(index as u32, now);
            }
        }
    }

    /// The stream leaves by itself.
    fn leave(&mut self, index: usize) {
        self.left += 1;
        self.shut(index);
        if !self.assignment.resume {
            self.settle_visit(index);
        }
    }

    /// All streams drop, and come back from `back` on.
    pub(super) fn storm(&mut self, back: u64, last_due: Option<u64>) {
        let (now, number) = (clock::now(), self.storm.number + 1);
        let tell = self.assignment.resume && last_due.is_some();
        self.storm = Storm { number, back, last_due, behind: 0, whole_at: back, tell };
        for index in 0..self.streams.len() {
            let dropped = self.streams[index].state == State::Open;
            let stream = &mut self.streams[index];
            stream.behind = dropped && tell && !stream.slow;
            self.storm.behind += u64::from(stream.behind);
            if !dropped {
                continue;
            }
            self.leave(index);
            if back > now {
                self.ramp.add_later(index as u32, back);
            } else {
                self.ramp.add(index as u32, now);
            }
        }
        self.tell_settled = true;
    }

    /// Looks whether a stream that was in the storm has had all that was due before it came back.
    pub(super) fn look_if_whole(&mut self, index: usize, now: u64) {
        let topics = u64::from(self.assignment.topics);
        let topic = (self.assignment.first + index as u64) % topics;
        let (Some(schedule), Some(last_due)) = (self.schedule, self.storm.last_due) else { return };
        let stream = &mut self.streams[index];
        let missed_until = self.storm.back.max(stream.dialed_at).min(last_due);
        if stream.ledger.has_all(schedule.next_after(missed_until, topic, topics)) {
            stream.behind = false;
            self.storm.behind -= 1;
            self.storm.whole_at = self.storm.whole_at.max(now);
        }
    }

    pub(super) fn tell_if_whole(&mut self) {
        if self.storm.behind == 0 && std::mem::take(&mut self.storm.tell) {
            self.tell(&FromWorker::Whole { storm: self.storm.number, at: self.storm.whole_at });
        }
    }
}
