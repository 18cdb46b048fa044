//! Which stream is opened next, and when: the ramp, the bound on connects in flight, the retries.
//! Pure.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use crate::measure::clock::SECOND;

/// The queue of streams to open.
pub struct Ramp {
    waiting: VecDeque<u32>,
    /// Those that wait for their time, the soonest first.
    later: BinaryHeap<Reverse<(u64, u32)>>,
    per_second: f64,
    started: u64,
    begun: u64,
    in_flight: u32,
    in_flight_max: u32,
}

impl Ramp {
    /// Opens at `per_second` (0: no limit) with at most `in_flight_max` on their way.
    pub fn new(per_second: f64, in_flight_max: u32, now: u64) -> Self {
        Self {
            waiting: VecDeque::new(),
            later: BinaryHeap::new(),
            per_second,
            started: now,
            begun: 0,
            in_flight: 0,
            in_flight_max,
        }
    }

    /// Opens `stream` in its turn.
    pub fn add(&mut self, stream: u32, now: u64) {
        if self.waiting.is_empty() {
            // Idle time earns no burst.
            (self.started, self.begun) = (now, 0);
        }
        self.waiting.push_back(stream);
    }

    /// Opens `stream` no sooner than `due`.
    pub fn add_later(&mut self, stream: u32, due: u64) {
        self.later.push(Reverse((due, stream)));
    }

    /// The stream to open now; it counts as in flight until [`Ramp::landed`].
    pub fn next(&mut self, now: u64) -> Option<u32> {
        while self.later.peek().is_some_and(|Reverse((due, _))| *due <= now) {
            let Reverse((_, stream)) = self.later.pop()?;
            self.add(stream, now);
        }
        if self.in_flight >= self.in_flight_max || self.earned(now) <= self.begun {
            return None;
        }
        let stream = self.waiting.pop_front()?;
        self.begun += 1;
        self.in_flight += 1;
        Some(stream)
    }

    fn earned(&self, now: u64) -> u64 {
        if self.per_second <= 0.0 {
            return u64::MAX;
        }
        1 + ((now - self.started) as f64 / SECOND as f64 * self.per_second) as u64
    }

    /// A stream was opened, or failed to.
    pub fn landed(&mut self) {
        self.in_flight -= 1;
    }

    /// Streams waiting or on their way.
    pub fn pending(&self) -> u64 {
        (self.waiting.len() + self.later.len()) as u64 + u64::from(self.in_flight)
    }

    /// True if the rate alone holds another stream back.
    pub fn is_paced(&self) -> bool {
        !self.waiting.is_empty() && self.in_flight < self.in_flight_max
    }

    /// When the first of those that wait for their time is due.
    pub fn next_due(&self) -> Option<u64> {
        self.later.peek().map(|Reverse((due, _))| *due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ramp_keeps_its_rate_and_its_bound() {
        let mut ramp = Ramp::new(10.0, 3, 0);
        (0..100).for_each(|stream| ramp.add(stream, 0));
        assert_eq!(ramp.next(0), Some(0));
        assert_eq!(ramp.next(0), None, "the next is due after 100 ms");
        assert_eq!(ramp.next(SECOND / 5), Some(1));
        assert_eq!(ramp.next(SECOND), Some(2));
        assert_eq!(ramp.next(SECOND), None, "three in flight");
        ramp.landed();
        assert_eq!(ramp.next(SECOND), Some(3));
        assert_eq!(ramp.pending(), 99);
    }

    #[test]
    fn a_retry_waits_for_its_time() {
        let mut ramp = Ramp::new(0.0, 3, 0);
        ramp.add_later(7, SECOND);
        assert_eq!(ramp.next(SECOND - 1), None);
        assert_eq!(ramp.next(SECOND), Some(7));
    }
}
