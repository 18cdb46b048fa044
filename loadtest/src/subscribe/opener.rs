//! Opening streams: the ramp, the timeouts of response heads, and how long opening took.

use std::collections::VecDeque;

use super::message::{Assignment, Final, FromWorker};
use super::stream_set::StreamSet;
use crate::connect::ramp::Ramp;
use crate::measure::latency::Latency;

pub(super) struct Opener {
    pub(super) ramp: Ramp,
    /// Deadline and token of each stream being opened, in order.
    timeouts: VecDeque<(u64, u64)>,
    timeout: u64,
    latency: Latency,
    opened: u64,
    last_opened_at: u64,
    /// Not all streams have been opened since the start, or since the last storm.
    unsettled: bool,
}

impl Opener {
    /// An opener with all streams of the worker queued.
    pub(super) fn new(assignment: &Assignment, now: u64) -> Self {
        let mut ramp = Ramp::new(assignment.ramp, assignment.in_flight, now);
        (0..assignment.streams).for_each(|index| ramp.enqueue(index, now));
        Self {
            ramp,
            timeouts: VecDeque::new(),
            timeout: assignment.open_timeout,
            latency: Latency::default(),
            opened: 0,
            last_opened_at: now,
            unsettled: true,
        }
    }

    /// Starts the timeout of a connect.
    pub(super) fn start_timeout(&mut self, token: u64, now: u64) {
        self.timeouts.push_back((now + self.timeout, token));
    }

    /// Takes a stream that has not been opened in time.
    pub(super) fn take_timed_out(&mut self, streams: &StreamSet, now: u64) -> Option<usize> {
        while let Some(&(deadline, token)) = self.timeouts.front() {
            let opening = streams.resolve(token).filter(|&index| streams[index].is_opening());
            if opening.is_some() && deadline > now {
                return None;
            }
            self.timeouts.pop_front();
            if opening.is_some() {
                return opening;
            }
        }
        None
    }

    pub(super) fn record_opened(&mut self, connecting_since: u64, now: u64) {
        self.latency.record(now - connecting_since);
        self.ramp.complete();
        self.opened += 1;
        self.last_opened_at = now;
    }

    /// Queues a stream whose connection has failed. The delay is lengthened by up to half, so that
    /// streams that broke together do not reconnect together.
    pub(super) fn retry(&mut self, index: usize, delay: u64, now: u64) {
        let jitter = delay / 2 * (index as u64 % 16) / 16;
        self.ramp.enqueue_at(index as u32, now + delay + jitter);
    }

    pub(super) fn set_unsettled(&mut self) {
        self.unsettled = true;
    }

    pub(super) fn is_unsettled(&self) -> bool {
        self.unsettled
    }

    /// The message that the ramp has run empty; returned once.
    pub(super) fn take_settled(&mut self) -> Option<FromWorker> {
        if self.ramp.pending() > 0 || !std::mem::take(&mut self.unsettled) {
            return None;
        }
        Some(FromWorker::Settled { at: self.last_opened_at })
    }

    pub(super) fn report(&mut self, last: &mut Final) {
        last.opening = self.latency.take();
        last.opened = self.opened;
    }
}
