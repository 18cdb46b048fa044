//! One stream: its socket, its place in the response, its account.

use std::os::fd::OwnedFd;

use super::response::Wire;
use crate::measure::sequence::Ledger;

/// Where a stream is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum State {
    /// Not connected, and not yet asked to be, or waiting for its turn.
    #[default]
    Away,
    /// Connecting.
    Dialing,
    /// The request is out, the head is not in.
    Asking,
    /// Open: events may come.
    Open,
    /// Will not be opened again.
    GaveUp,
}

/// A stream. Around 200 bytes, and nothing else while no line straddles a read.
#[derive(Default)]
pub(super) struct Stream {
    pub(super) socket: Option<OwnedFd>,
    pub(super) state: State,
    /// Reads slowly or not at all.
    pub(super) slow: bool,
    /// Was open before: its account goes on.
    pub(super) met: bool,
    /// Has not yet had what it missed in the last storm.
    pub(super) behind: bool,
    /// Tells late readiness of a closed socket from its successor's.
    pub(super) generation: u16,
    pub(super) wire: Wire,
    pub(super) ledger: Ledger,
    /// Start of the connect.
    pub(super) dialed_at: u64,
}

impl Stream {
    /// What epoll gives back: the stream and which of its sockets.
    pub(super) fn token(&self, index: u32) -> u64 {
        u64::from(self.generation) << 32 | u64::from(index)
    }
}

/// The index and generation of a token.
pub(super) fn parts(token: u64) -> (usize, u16) {
    (token as u32 as usize, (token >> 32) as u16)
}

/// When events are due, for what a newcomer is owed.
#[derive(Clone, Copy)]
pub(super) struct Schedule {
    pub(super) start: u64,
    pub(super) interval: u64,
}

impl Schedule {
    /// The first number of `topic` that is due after `now`.
    pub(super) fn next_after(&self, now: u64, topic: u64, topics: u64) -> u64 {
        if self.interval == 0 {
            return 0;
        }
        let Some(passed) = now.checked_sub(self.start) else { return 0 };
        let event = passed / self.interval + 1;
        (event + topics - 1).saturating_sub(topic) / topics
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_small() {
        assert!(size_of::<Stream>() <= 200, "{} bytes", size_of::<Stream>());
    }

    #[test]
    fn a_newcomer_is_owed_what_is_due_after_it_came() {
        let schedule = Schedule { start: 1000, interval: 10 };
        assert_eq!(schedule.next_after(0, 0, 1), 0);
        assert_eq!(schedule.next_after(1000, 0, 1), 1);
        assert_eq!(schedule.next_after(1009, 0, 1), 1);
        assert_eq!(schedule.next_after(1010, 0, 1), 2);
        // Three topics: events 0..9 are topics 0,1,2,0,1,2,0,1,2 with numbers 0,0,0,1,1,1,2,2,2.
        for (now, owed) in
            [(999, [0, 0, 0]), (1005, [1, 0, 0]), (1035, [2, 1, 1]), (1040, [2, 2, 1])]
        {
            assert_eq!([0, 1, 2].map(|topic| schedule.next_after(now, topic, 3)), owed, "{now}");
        }
    }
}
