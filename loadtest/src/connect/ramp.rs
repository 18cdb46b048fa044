//! The ramp: a rate-limited queue of streams to open, with a bound on connects in flight and with
//! delayed retries.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use crate::measure::clock::SECOND;

pub(crate) struct Ramp {
    ready: VecDeque<u32>,
    /// By due time.
    delayed: BinaryHeap<Reverse<(u64, u32)>>,
    per_second: f64,
    started: u64,
    begun_since: u64,
    in_flight: u32,
    in_flight_max: u32,
}

impl Ramp {
    /// A ramp of `per_second` streams (0 is no limit) with at most `in_flight_max` in flight.
    pub(crate) fn new(per_second: f64, in_flight_max: u32, now: u64) -> Self {
        Self {
            ready: VecDeque::new(),
            delayed: BinaryHeap::new(),
            per_second,
            started: now,
            begun_since: 0,
            in_flight: 0,
            in_flight_max,
        }
    }

    pub(crate) fn enqueue(&mut self, stream: u32, now: u64) {
        if self.ready.is_empty() {
            // Idle time is not credited.
            (self.started, self.begun_since) = (now, 0);
        }
        self.ready.push_back(stream);
    }

    /// Opens `stream` no sooner than `due`.
    pub(crate) fn enqueue_at(&mut self, stream: u32, due: u64) {
        self.delayed.push(Reverse((due, stream)));
    }

    /// The stream to open now; it is in flight until [`Ramp::complete`].
    pub(crate) fn next(&mut self, now: u64) -> Option<u32> {
        while self.delayed.peek().is_some_and(|Reverse((due, _))| *due <= now) {
            let Reverse((_, stream)) = self.delayed.pop()?;
            self.enqueue(stream, now);
        }
        if self.in_flight >= self.in_flight_max || self.allowance(now) <= self.begun_since {
            return None;
        }
        let stream = self.ready.pop_front()?;
        self.begun_since += 1;
        self.in_flight += 1;
        Some(stream)
    }

    fn allowance(&self, now: u64) -> u64 {
        if self.per_second <= 0.0 {
            return u64::MAX;
        }
        1 + ((now - self.started) as f64 / SECOND as f64 * self.per_second) as u64
    }

    /// A stream in flight was opened or has failed.
    pub(crate) fn complete(&mut self) {
        self.in_flight -= 1;
    }

    /// Streams queued or in flight.
    pub(crate) fn pending(&self) -> u64 {
        (self.ready.len() + self.delayed.len()) as u64 + u64::from(self.in_flight)
    }

    /// True if only the rate delays the next stream.
    pub(crate) fn is_rate_limited(&self) -> bool {
        !self.ready.is_empty() && self.in_flight < self.in_flight_max
    }

    /// When the first delayed stream is due.
    pub(crate) fn next_due(&self) -> Option<u64> {
        self.delayed.peek().map(|Reverse((due, _))| *due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_and_the_bound_are_kept() {
        let mut ramp = Ramp::new(10.0, 3, 0);
        (0..100).for_each(|stream| ramp.enqueue(stream, 0));
        assert_eq!(ramp.next(0), Some(0));
        assert_eq!(ramp.next(0), None, "the next is due after 100 ms");
        assert_eq!(ramp.next(SECOND / 5), Some(1));
        assert_eq!(ramp.next(SECOND), Some(2));
        assert_eq!(ramp.next(SECOND), None, "three in flight");
        ramp.complete();
        assert_eq!(ramp.next(SECOND), Some(3));
        assert_eq!(ramp.pending(), 99);
    }

    #[test]
    fn a_retry_waits_until_it_is_due() {
        let mut ramp = Ramp::new(0.0, 3, 0);
        ramp.enqueue_at(7, SECOND);
        assert_eq!(ramp.next(SECOND - 1), None);
        assert_eq!(ramp.next(SECOND), Some(7));
    }
}
