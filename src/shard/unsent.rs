//! Blocked streams at the node's budget for what they have yet to send: who is closed, and when.
//!
//! `conn::unsent` has what a stream keeps, and what of the budget this takes. A stream that is
//! closed here can't be told: its socket accepts nothing. It is aborted (RST), so that the kernel
//! frees its buffer as well, and its client reconnects and resumes.
#![forbid(unsafe_code)]

use std::rc::Rc;
use std::time::Duration;

use super::state::Shard;
use super::write::Write;
use crate::conn::{Conn, Millis};

/// How many write timeouts a stream has to send each 64 KiB (`AGED_BYTES`), if its socket accepts a
/// little now and then.
const AGE_TIMEOUTS: u32 = 4;

/// Time after which a blocked stream counts as stalled, and the kernel's buffer of its connection
/// counts towards the budget. A stream that reads is blocked for a much shorter time.
const STALLED_AFTER: Millis = 1000;

/// Streams closed for the budget at one step of the timer, at most.
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
    let unsent = loop {
        if let Some(unsent) = ledger.keep(conn.key(), &rest, age) {
            break unsent;
        }
        let Some(key) = ledger.longest_blocked(Some(age)) else {
            return close(shard, conn);
        };
        close_key(shard, key);
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
    for closed in 0..CLOSED_MAX {
        if closed >= over && !ledger.is_over_part() {
            return;
        }
        let Some(key) = ledger.longest_blocked(None) else { return };
        close_key(shard, key);
    }
}

fn close_key(shard: &Shard, key: u32) {
    let conn = shard.handle.connections.get(key as usize);
    close(
        shard,
        &conn.expect("a blocked stream leaves the ledger before its connection's key does"),
    );
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
            "FANFARE_UNSENT_BYTES reached; closing the streams that have been blocked longest"
        );
    });
}
