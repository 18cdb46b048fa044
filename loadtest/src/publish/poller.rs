//! epoll with a timerfd.
//!
//! `epoll_wait` rounds its timeout up to a millisecond, which would show in every latency measured
//! from the schedule. A timer in the epoll set has the clock's resolution; it is armed only when
//! the deadline changes.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll::{self, Event, EventData, EventFlags};
use rustix::io::Result;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};

use crate::measure::clock;

/// The token of the timer's own events.
pub(super) const TIMER: u64 = u64::MAX;

pub(super) struct Poller {
    epoll: OwnedFd,
    timer: OwnedFd,
    /// The deadline the timer was last set to.
    armed: u64,
}

impl Poller {
    pub(super) fn open() -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        // Edge-triggered: an expiry is reported once and need not be read.
        epoll::add(&epoll, &timer, EventData::new_u64(TIMER), EventFlags::IN | EventFlags::ET)?;
        Ok(Self { epoll, timer, armed: 0 })
    }

    pub(super) fn add(&self, fd: impl AsFd, token: u64) -> Result<()> {
        epoll::add(&self.epoll, fd, EventData::new_u64(token), EventFlags::IN)
    }

    /// Selects whether writability is polled for, besides readability.
    pub(super) fn poll_writable(&self, fd: impl AsFd, token: u64, writable: bool) -> Result<()> {
        let flags = if writable { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
        epoll::modify(&self.epoll, fd, EventData::new_u64(token), flags)
    }

    /// Waits for events until `deadline`.
    pub(super) fn wait(&mut self, ready: &mut Vec<Event>, now: u64, deadline: u64) {
        ready.clear();
        let timeout = if deadline <= now || self.arm(deadline).is_err() {
            Some(clock::timespec(deadline.saturating_sub(now)))
        } else {
            None
        };
        // EINTR: the caller looks at its deadlines and waits again.
        let _ = epoll::wait(&self.epoll, rustix::buffer::spare_capacity(ready), timeout.as_ref());
    }

    fn arm(&mut self, deadline: u64) -> Result<()> {
        if deadline == self.armed {
            return Ok(());
        }
        let time =
            Itimerspec { it_interval: clock::timespec(0), it_value: clock::timespec(deadline) };
        timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &time)?;
        self.armed = deadline;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_at_its_deadline_each_time() {
        let mut poller = Poller::open().expect("epoll and timerfd");
        let mut ready = Vec::with_capacity(4);
        for _ in 0..3 {
            let now = clock::now();
            let deadline = now + 300_000;
            poller.wait(&mut ready, now, deadline);
            assert!(clock::now() >= deadline);
            assert_eq!(ready.len(), 1, "the timer's event");
            assert_eq!(ready[0].data.u64(), TIMER);
        }
    }

    #[test]
    fn a_deadline_in_the_past_does_not_block() {
        let mut poller = Poller::open().expect("epoll and timerfd");
        let mut ready = Vec::with_capacity(4);
        poller.wait(&mut ready, 7, 7);
        assert!(ready.is_empty());
    }
}
