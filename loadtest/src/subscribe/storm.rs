//! Recovery from a reconnect storm: which streams have not yet received what they missed while they
//! were disconnected. Slow streams are not tracked.

use super::message::FromWorker;
use super::stream::{DueTimes, Stream};

/// The last storm.
#[derive(Default)]
pub(super) struct Storm {
    /// From 1.
    number: u32,
    reconnect_at: u64,
    /// When the run's last event is due, if events are scheduled.
    last_due: Option<u64>,
    /// Streams that have not recovered.
    recovering: u64,
    recovered_at: u64,
    /// Whether [`FromWorker::Recovered`] is to be sent.
    announce: bool,
}

impl Storm {
    /// A storm begins. Recovery is tracked if streams can recover and events are scheduled.
    pub(super) fn begin(&mut self, reconnect_at: u64, last_due: Option<u64>, recovers: bool) {
        *self = Self {
            number: self.number + 1,
            reconnect_at,
            last_due,
            recovering: 0,
            recovered_at: reconnect_at,
            announce: recovers && last_due.is_some(),
        };
    }

    pub(super) fn include(&mut self, stream: &mut Stream) {
        stream.recovering = stream.is_open() && self.announce && !stream.slow;
        self.recovering += u64::from(stream.recovering);
    }

    /// Checks whether a recovering stream has received all that was due before it reconnected.
    pub(super) fn check(
        &mut self,
        stream: &mut Stream,
        due_times: Option<DueTimes>,
        (topic, topics): (u32, u32),
        now: u64,
    ) {
        let (Some(due_times), Some(last_due)) = (due_times, self.last_due) else { return };
        let missed_until = self.reconnect_at.max(stream.connecting_since).min(last_due);
        let end = due_times.next_after(missed_until, topic, topics);
        if stream.sequences.is_complete(|_| end) {
            stream.recovering = false;
            self.recovering -= 1;
            self.recovered_at = self.recovered_at.max(now);
        }
    }

    /// The message that all streams have recovered; returned once.
    pub(super) fn take_recovered(&mut self) -> Option<FromWorker> {
        if self.recovering > 0 || !std::mem::take(&mut self.announce) {
            return None;
        }
        Some(FromWorker::Recovered { storm: self.number, at: self.recovered_at })
    }
}
