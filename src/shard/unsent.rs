//! Enforces the node's budget for unsent bytes: aborts the streams that have been blocked longest.
//!
//! `conn::unsent` has what a stream keeps, and what of the budget this takes. A stream that is
//! closed here receives no control event: its socket accepts nothing. It is aborted (RST), so that
//! the kernel frees its buffer as well, and its client reconnects and resumes.
#![forbid(unsafe_code)]

use std::rc::Rc;
use std::time::Duration;

use super::state::Shard;
use super::write::Write;
use crate::conn::{Age, BlockedOrder, Conn, Millis};

/// How many write timeouts a stream has to send each 64 KiB (`AGED_BYTES`), if its socket accepts a
/// little now and then.
const AGE_TIMEOUTS: u32 = 4;

/// Time after which a blocked stream counts as stalled, and the kernel's buffer of its connection
/// counts towards the budget. A stream that reads is blocked for a much shorter time.
const STALLED_AFTER: Millis = 1000;

/// Blocked streams looked at for the budget at one step of the timer, or for one write, at most.
const CLOSED_MAX: usize = 256;

/// The longest time for which a stream may be blocked, however little its socket accepts.
pub(super) fn age_max(write_timeout: Duration) -> Duration {
    write_timeout.saturating_mul(AGE_TIMEOUTS)
}

/// Keeps for the stream what its socket did not accept of `write`. At the budget the streams of
/// this shard that have been blocked longest are closed, this one if it is the one.
pub(super) fn retain_unsent(shard: &Shard, write: &Write, sent: usize) {
    let (conn, ledger) = (&write.conn, &shard.handle.unsent);
    let rest = write.slices.rest(sent);
    let age = ledger.age(write.age, sent, write.bytes - sent, shard.now());
    let mut longest = LongestBlocked::before(age);
    let unsent = loop {
        if let Some(unsent) = ledger.keep(conn.key(), &rest, age) {
            break unsent;
        }
        // More than all of the budget would not fit even if every other stream were closed.
        let fits = write.bytes - sent <= shard.core.unsent.max();
        if !fits || !longest.close_next(shard) {
            return close(shard, conn);
        }
    };
    if let Some(stream) = conn.stream().borrow_mut().as_mut() {
        debug_assert!(stream.unsent.is_none(), "a write takes all that is unsent");
        stream.unsent = Some(Box::new(unsent));
    }
    conn.release_page();
}

/// Counts the kernel's buffer of a connection towards the budget if its stream is stalled; false if
/// the budget has no room for it.
pub(super) fn count_stalled(conn: &Conn, now: Millis, kernel_bytes: usize) -> bool {
    let Ok(mut stream) = conn.stream().try_borrow_mut() else { return true };
    let unsent = stream.as_mut().and_then(|stream| stream.unsent.as_mut());
    unsent.is_none_or(|unsent| {
        unsent.blocked_for(now) < STALLED_AFTER || unsent.count_kernel(kernel_bytes)
    })
}

/// Closes the streams blocked longest: `over` of them, for which the budget has no room, and as
/// many as give other shards their part of it; at most [`CLOSED_MAX`].
pub(super) fn close_longest_blocked(shard: &Shard, over: usize) {
    let ledger = &shard.handle.unsent;
    let mut longest = LongestBlocked::default();
    for closed in 0.. {
        if closed >= over && !ledger.is_over_share() || !longest.close_next(shard) {
            return;
        }
    }
}

/// Closes a shard's streams in the order in which they were blocked.
#[derive(Default)]
struct LongestBlocked {
    looked_at: usize,
    last: Option<BlockedOrder>,
    before: Option<Age>,
}

impl LongestBlocked {
    /// Those blocked longer than `age`.
    fn before(age: Age) -> Self {
        Self { before: Some(age), ..Self::default() }
    }

    /// Closes the next one; false if there is none, or [`CLOSED_MAX`] have been looked at. One
    /// whose socket accepts bytes again is not closed: the event that says so may not have been
    /// taken yet, if the node itself was late.
    fn close_next(&mut self, shard: &Shard) -> bool {
        while self.looked_at < CLOSED_MAX {
            self.looked_at += 1;
            let next = shard.handle.unsent.next_blocked(self.last, self.before);
            let Some((place, key)) = next else { return false };
            self.last = Some(place);
            let Some(conn) = shard.handle.connections.get(key as usize) else {
                debug_assert!(false, "a stream leaves the ledger before its connection's key does");
                continue;
            };
            if conn.accepts_bytes() {
                conn.readiness.note(false, true, false);
                conn.readiness.unblock();
                shard.schedule(&conn);
            } else {
                close(shard, &conn);
                return true;
            }
        }
        false
    }
}

fn close(shard: &Shard, conn: &Rc<Conn>) {
    conn.lifecycle.request_abort();
    shard.close(conn);
    // hyper's part of a connection ends with its task.
    conn.wake_task();
    shard.over_budget.count(|closed| {
        let max = shard.core.unsent.max();
        tracing::warn!(
            max,
            closed,
            "FANFARE_UNSENT_BYTES reached; closing the streams of this shard that have been \
             blocked longest"
        );
    });
}

#[cfg(all(test, not(ring_loom)))]
mod tests {
    use std::io::{Read, Write as _};
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;

    use super::*;
    use crate::config::Config;
    use crate::event::{Batch, Position, Seq, Topic};
    use crate::ring::PendingWakes;
    use crate::shard::writer::write_now;

    const KIB: usize = 1024;

    /// A shard with a stream for each of the topics, whose sockets are full.
    fn blocked(budget: usize, topics: &[&str]) -> (Rc<Shard>, Vec<(Rc<Conn>, UnixStream)>) {
        let shard = Shard::for_test(Config { unsent_bytes: budget as u64, ..Config::default() });
        let open = |topic: &&str| {
            let (conn, far) = shard.stream_for_test(topic, &Position::Live);
            write_now(&shard, &conn);
            let mut near = UnixStream::from(conn.fd().try_clone_to_owned().unwrap());
            while near.write(&[0; 4096]).is_ok() {}
            (conn, far)
        };
        let streams = topics.iter().map(open).collect();
        (shard, streams)
    }

    /// Publishes an event to each of the topics in turn, and visits the topic's stream.
    fn publish(shard: &Rc<Shard>, streams: &[(Rc<Conn>, UnixStream)], events: &[(&str, usize)]) {
        for (at, (topic, bytes)) in events.iter().enumerate() {
            let seq = Seq(at as u64 + 1);
            let ends = Box::new([*bytes as u32]);
            let batch = Arc::new(Batch::new(vec![b'x'; *bytes].into(), ends, seq));
            let topic = Topic::new(topic).unwrap();
            shard.core.registry.publish(&topic, &batch, &[0], &mut PendingWakes::default());
            shard.core.watermark.raise(seq);
            write_now(shard, &streams[at].0);
        }
    }

    fn is_open(conn: &Conn) -> bool {
        conn.is_streaming() && !conn.lifecycle.is_abort_requested()
    }

    fn open(streams: &[(Rc<Conn>, UnixStream)]) -> Vec<bool> {
        streams.iter().map(|(conn, _)| is_open(conn)).collect()
    }

    #[test]
    fn at_the_budget_the_streams_blocked_longest_are_closed() {
        let topics = ["a", "b", "c", "d"];
        let (shard, streams) = blocked(100 * KIB, &topics);
        publish(&shard, &streams, &topics.map(|topic| (topic, 40 * KIB)));
        assert_eq!(open(&streams), [false, false, true, true]);
        assert!((80 * KIB..100 * KIB).contains(&shard.core.unsent.used()));
        drop(streams);
        shard.close_all();
        assert_eq!(shard.core.unsent.used(), 0);
    }

    /// Ensures that a stream that reads is not closed in place of one that doesn't.
    ///
    /// Scenario: the budget is used up when the client of the stream blocked longest has read all
    /// there was, but the shard has not taken the event that says so.
    ///
    /// Cause: only whether the stream had been blocked was looked at.
    ///
    /// Fix: a stream whose socket accepts bytes is written to.
    #[test]
    fn a_stream_whose_socket_accepts_bytes_again_is_not_closed() {
        let topics = ["a", "b", "c"];
        let (shard, mut streams) = blocked(100 * KIB, &topics);
        let events = topics.map(|topic| (topic, 40 * KIB));
        publish(&shard, &streams[..2], &events[..2]);
        while streams[0].1.read(&mut [0; 64 * KIB]).is_ok() {}
        publish(&shard, &streams[2..], &[("c", 40 * KIB)]);
        assert_eq!(open(&streams), [true, false, true]);
        let mut ready = Vec::new();
        shard.take_ready(usize::MAX, &mut ready);
        assert!(ready.len() == 1 && Rc::ptr_eq(&ready[0], &streams[0].0));
    }

    #[test]
    fn what_can_never_fit_closes_no_other_stream() {
        let topics = ["a", "b"];
        let (shard, streams) = blocked(100 * KIB, &topics);
        publish(&shard, &streams, &[("a", 40 * KIB), ("b", 101 * KIB)]);
        assert_eq!(open(&streams), [true, false]);
    }
}
