//! Churn: streams disconnect and reconnect, one after the other, at a steady rate.

use super::subscriptions::Subscriptions;
use crate::measure::clock::SECOND;

#[derive(Default)]
pub(super) struct Churn {
    /// Streams a second.
    rate: f64,
    since: u64,
    /// Disconnects since then.
    done: u64,
    next: usize,
}

impl Churn {
    pub(super) fn set_rate(&mut self, rate: f64, now: u64) {
        (self.rate, self.since, self.done) = (rate, now, 0);
    }

    pub(super) fn is_active(&self) -> bool {
        self.rate > 0.0
    }

    /// Disconnects the streams that are due, and queues them to be opened again.
    pub(super) fn disconnect_due(&mut self, subscriptions: &mut Subscriptions, now: u64) {
        let streams = subscriptions.streams.len();
        if !self.is_active() {
            return;
        }
        let due = ((now - self.since) as f64 / SECOND as f64 * self.rate) as u64;
        for _ in 0..streams {
            if self.done >= due {
                return;
            }
            let index = self.next;
            self.next = (self.next + 1) % streams;
            if subscriptions.streams[index].is_open() {
                self.done += 1;
                subscriptions.leave(index);
                subscriptions.opener.ramp.enqueue(index as u32, now);
            }
        }
    }
}
