//! One stream: socket, response decoder and sequence tracker.

use std::os::fd::OwnedFd;

use super::response::ResponseDecoder;
use super::sequences::Sequences;
use crate::measure::sequence::SequenceTracker;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum State {
    /// Not connected; queued in the ramp, or not yet.
    #[default]
    Closed,
    Connecting,
    /// The request has been sent.
    Requested,
    /// The response head has arrived.
    Open,
    /// Not to be opened again.
    Failed,
}

/// What has happened to a stream.
#[derive(Clone, Copy, Default)]
pub(super) struct Fate {
    pub(super) watched: bool,
    pub(super) ended: bool,
    pub(super) lagged: bool,
    pub(super) reset: bool,
}

/// Around 200 bytes, and no heap memory while no line straddles a read.
#[derive(Default)]
pub(super) struct Stream {
    pub(super) socket: Option<OwnedFd>,
    pub(super) state: State,
    /// Reads slowly or not at all.
    pub(super) slow: bool,
    /// Was open before: `sequences` go on.
    pub(super) tracked: bool,
    /// Has not yet received what it missed in the last storm.
    pub(super) recovering: bool,
    /// Distinguishes the sockets of a stream in late epoll events.
    pub(super) generation: u16,
    pub(super) response: ResponseDecoder,
    pub(super) sequences: Sequences,
    /// When the connect was started.
    pub(super) connecting_since: u64,
    /// When the server last announced a loss, or when the stream opened again after that.
    pub(super) told_at: u64,
    pub(super) fate: Fate,
}

impl Stream {
    pub(super) fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// The server has announced a loss: what is missing before the next event is not silent.
    pub(super) fn announce_loss(&mut self, now: u64) {
        self.sequences.announce_loss();
        self.told_at = now;
    }

    pub(super) fn is_opening(&self) -> bool {
        matches!(self.state, State::Connecting | State::Requested)
    }

    /// The epoll token of the current socket.
    pub(super) fn token(&self, index: usize) -> u64 {
        u64::from(self.generation) << 32 | index as u64
    }
}

/// The index and the generation of a token.
pub(super) fn token_parts(token: u64) -> (usize, u16) {
    (token as u32 as usize, (token >> 32) as u16)
}

/// The due times of a fixed-rate schedule, as sent by
/// [`ToWorker::Schedule`](super::message::ToWorker).
#[derive(Clone, Copy)]
pub(super) struct DueTimes {
    pub(super) start: u64,
    pub(super) interval: u64,
}

impl DueTimes {
    /// The tracker of a stream of `topic` that opens at `now`.
    pub(super) fn tracker(&self, now: u64, topic: u32, topics: u32) -> SequenceTracker {
        match self.interval {
            0 if now >= self.start => SequenceTracker::from_first_arrival(),
            _ => SequenceTracker::starting_at(self.next_after(now, topic, topics)),
        }
    }

    /// The first event of `topic` that is due after `now`.
    pub(super) fn next_after(&self, now: u64, topic: u32, topics: u32) -> u64 {
        if self.interval == 0 {
            return 0;
        }
        let (topic, topics) = (u64::from(topic), u64::from(topics));
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
    fn a_new_stream_expects_the_events_due_after_it_opened() {
        let due = DueTimes { start: 1000, interval: 10 };
        assert_eq!(due.next_after(0, 0, 1), 0);
        assert_eq!(due.next_after(1000, 0, 1), 1);
        assert_eq!(due.next_after(1009, 0, 1), 1);
        assert_eq!(due.next_after(1010, 0, 1), 2);
        // Three topics: events 0..9 are topics 0,1,2,0,1,2,0,1,2 with numbers 0,0,0,1,1,1,2,2,2.
        for (now, expected) in
            [(999, [0, 0, 0]), (1005, [1, 0, 0]), (1035, [2, 1, 1]), (1040, [2, 2, 1])]
        {
            assert_eq!([0, 1, 2].map(|topic| due.next_after(now, topic, 3)), expected, "{now}");
        }
    }

    #[test]
    fn without_due_times_a_new_stream_expects_what_follows_its_first_event() {
        let due = DueTimes { start: 1000, interval: 0 };
        assert!(!due.tracker(999, 0, 1).is_complete(1), "open before the first event");
        assert!(due.tracker(1000, 0, 1).is_complete(1_000_000));
    }
}
