//! The clock of a shard: how long the shard has been running.
//!
//! The deadline of a socket that accepts nothing (`FANFARE_WRITE_TIMEOUT`) must not count time in
//! which the node could not have written to it: while the process is stopped (SIGSTOP, a debugger),
//! or the shard gets no processor. The timer reads the clock once per [`tick_interval`], so between
//! two readings of a running shard hardly more time passes. A longer gap counts as
//! [`STEP_TICKS`] ticks, and the rest of it as time in which the shard stood still.
//!
//! Heartbeats are the exception: a proxy's idle timeout goes on while the node stands still. The
//! clock therefore remembers the gaps of the last `FANFARE_HEARTBEAT`
//! ([`stood_still`](Clock::stood_still)). The timeouts of requests are hyper's and go on as well;
//! what has come meanwhile is read before they apply (`hyper_io`).
#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::Config;
use crate::conn::Millis;

/// The ticks of the timer that one gap between two readings counts at most.
const STEP_TICKS: u32 = 2;

/// Gaps remembered at most; above, the two oldest become one.
const GAPS_MAX: usize = 64;

/// Time between two ticks of a shard's timer: a sixteenth of the shortest deadline, so that the
/// deadline is kept to a quarter. At most half a second, and at least what sleeping resolves.
pub(super) fn tick_interval(config: &Config) -> Duration {
    let shortest = config.heartbeat.min(config.write_timeout);
    (shortest / 16).clamp(Duration::from_millis(5), Duration::from_millis(500))
}

/// Milliseconds of `duration`; the longest interval there is if they don't fit.
pub(super) fn millis(duration: Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX)
}

pub(super) struct Clock {
    started: Instant,
    step_max: Duration,
    /// How long gaps are remembered.
    memory: Millis,
    /// The time since `started` at the last reading.
    read: Cell<Duration>,
    /// How much of it the shard was running.
    ran: Cell<Duration>,
    gaps: RefCell<VecDeque<Gap>>,
}

/// A time in which the shard stood still.
struct Gap {
    /// The clock at its end.
    end: Millis,
    /// The part of it that the clock does not count.
    length: Millis,
}

impl Clock {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            started: Instant::now(),
            step_max: tick_interval(config) * STEP_TICKS,
            memory: millis(config.heartbeat),
            read: Cell::default(),
            ran: Cell::default(),
            gaps: RefCell::default(),
        }
    }

    /// The clock as of its last reading.
    pub(super) fn now(&self) -> Millis {
        // Truncation is the wrap that `Millis` documents.
        self.ran.get().as_millis() as Millis
    }

    /// How long the shard has been running, as of the last reading.
    pub(super) fn ran(&self) -> Duration {
        self.ran.get()
    }

    /// Reads the time.
    pub(super) fn tick(&self) {
        self.advance(self.started.elapsed());
    }

    fn advance(&self, read: Duration) {
        let passed = read.saturating_sub(self.read.replace(read));
        let counted = passed.min(self.step_max);
        self.ran.set(self.ran.get() + counted);
        if passed > counted {
            self.remember(millis(passed - counted));
        }
    }

    fn remember(&self, length: Millis) {
        let (now, mut gaps) = (self.now(), self.gaps.borrow_mut());
        while gaps.front().is_some_and(|gap| now.wrapping_sub(gap.end) > self.memory) {
            gaps.pop_front();
        }
        if gaps.len() == GAPS_MAX {
            let oldest = gaps.pop_front().map_or(0, |gap| gap.length);
            if let Some(next) = gaps.front_mut() {
                next.length = next.length.saturating_add(oldest);
            }
        }
        gaps.push_back(Gap { end: now, length });
    }

    /// How long the shard has stood still within the last `interval` of its clock, as far as that
    /// is remembered.
    pub(super) fn stood_still(&self, interval: Millis) -> Millis {
        let (now, gaps) = (self.now(), self.gaps.borrow());
        let within = gaps.iter().rev().take_while(|gap| now.wrapping_sub(gap.end) < interval);
        within.fold(0, |sum: Millis, gap| sum.saturating_add(gap.length))
    }
}

#[cfg(all(test, not(ring_loom)))]
mod tests {
    use super::*;

    impl Clock {
        /// Reads a time that is this much after the last reading.
        pub(in crate::shard) fn pass(&self, time: Duration) {
            self.advance(self.read.get() + time);
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    /// A clock whose timer ticks twice a second.
    fn clock() -> Clock {
        let config =
            Config { heartbeat: 30 * SECOND, write_timeout: 15 * SECOND, ..Config::default() };
        assert_eq!(tick_interval(&config), SECOND / 2);
        Clock::new(&config)
    }

    #[test]
    fn ticks_are_a_sixteenth_of_the_shortest_deadline_within_bounds() {
        for (deadline, tick) in [(100, 6_250), (8_000, 500_000), (3_600_000, 500_000)] {
            let (deadline, tick) = (Duration::from_millis(deadline), Duration::from_micros(tick));
            let long = Duration::from_secs(3600);
            let heartbeat =
                Config { heartbeat: deadline, write_timeout: long, ..Config::default() };
            let timeout = Config { heartbeat: long, write_timeout: deadline, ..Config::default() };
            assert_eq!([tick_interval(&heartbeat), tick_interval(&timeout)], [tick; 2]);
        }
    }

    #[test]
    fn a_running_shard_counts_all_of_its_time() {
        let clock = clock();
        // Parts of a millisecond add up.
        for reading in 1..=4000 {
            clock.advance(Duration::from_micros(250) * reading);
        }
        assert_eq!((clock.now(), clock.stood_still(Millis::MAX)), (1000, 0));
        clock.advance(2 * SECOND);
        assert_eq!((clock.now(), clock.stood_still(Millis::MAX)), (2000, 0));
    }

    #[test]
    fn a_gap_counts_two_ticks_and_is_remembered_for_those_idle_before_it() {
        let clock = clock();
        clock.advance(SECOND);
        clock.advance(11 * SECOND);
        assert_eq!(clock.now(), 2000);
        clock.advance(12 * SECOND);
        assert_eq!(clock.now(), 3000);
        // Written to at the end of the gap, and before it.
        assert_eq!(clock.stood_still(1000), 0);
        assert_eq!(clock.stood_still(1001), 9000);
        assert_eq!(clock.stood_still(3000), 9000);
    }

    #[test]
    fn gaps_are_few_and_none_is_remembered_longer_than_a_heartbeat() {
        let clock = clock();
        for gap in 1..=2000 {
            clock.advance(3 * SECOND * gap);
        }
        // Each counts a second and stands still for two.
        assert_eq!(clock.gaps.borrow().len(), 31);
        assert_eq!(clock.stood_still(30_000), 60_000);

        let config = Config { write_timeout: SECOND / 10, ..Config::default() };
        let clock = Clock::new(&config);
        for gap in 1..=2000 {
            clock.advance(SECOND * gap);
        }
        // Each counts 12.5 ms.
        let length: u32 = 1000 - 13;
        assert_eq!(clock.gaps.borrow().len(), GAPS_MAX);
        let all = clock.stood_still(Millis::MAX);
        assert!((2000 * length..2000 * 1000).contains(&all), "none is forgotten: {all}");
    }
}
