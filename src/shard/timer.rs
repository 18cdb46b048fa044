//! The timer of a shard: heartbeats for idle streams, aborts of blocked connections.
//!
//! Each tick checks a part of the shard's connections, so that a tick's work is bounded and every
//! connection has been checked after [`TICKS_PER_SWEEP`] ticks. Heartbeats are due up to a quarter
//! before the setting, spread by connection: sessions that received the same event would otherwise
//! all be due at once.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::state::Shard;
use crate::conn::{Conn, Millis};

/// Ticks after which every connection has been checked once.
const TICKS_PER_SWEEP: usize = 4;

/// The shard's timer task.
pub(super) async fn run_timer(shard: Rc<Shard>) {
    let config = &shard.core.config;
    let deadlines = Deadlines::new(config.heartbeat, config.write_timeout);
    let mut ticks = interval(deadlines.tick);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut at = 0;
    loop {
        ticks.tick().await;
        shard.tick();
        let now = shard.now();
        let share = shard.handle.connections.capacity().div_ceil(TICKS_PER_SWEEP);
        at = shard.handle.connections.sweep(at, share, |key, conn| {
            if deadlines.check(key, conn, now) {
                shard.schedule(conn);
            }
        });
    }
}

/// The intervals after which a connection needs a heartbeat or is aborted.
struct Deadlines {
    tick: Duration,
    heartbeat: Millis,
    /// Heartbeats are due up to this much earlier, depending on the connection.
    spread: Millis,
    write_timeout: Millis,
}

impl Deadlines {
    fn new(heartbeat: Duration, write_timeout: Duration) -> Self {
        let shortest = heartbeat.min(write_timeout);
        let tick = (shortest / 16).clamp(Duration::from_millis(5), Duration::from_millis(500));
        // Due one sweep early, so that a check once per sweep is never late.
        let heartbeat = heartbeat.saturating_sub(tick * TICKS_PER_SWEEP as u32);
        Self {
            tick,
            heartbeat: millis(heartbeat),
            spread: millis(heartbeat / 4),
            write_timeout: millis(write_timeout),
        }
    }

    /// Asks the connection for what is due; true if anything is.
    fn check(&self, key: usize, conn: &Conn, now: Millis) -> bool {
        match conn.readiness.blocked_for(now) {
            Some(blocked) if blocked >= self.write_timeout => conn.lifecycle.request_abort(),
            None if conn.is_streaming()
                && conn.readiness.idle_for(now) >= self.heartbeat - self.early(key) =>
            {
                conn.signals.ask_heartbeat();
            }
            _ => return false,
        }
        true
    }

    /// Fibonacci hashing of the connection's key, so that neighbours are far apart.
    fn early(&self, key: usize) -> Millis {
        let hash = (key as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        ((hash * u64::from(self.spread)) >> 32) as Millis
    }
}

fn millis(duration: Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deadlines() -> Deadlines {
        Deadlines::new(Duration::from_secs(30), Duration::from_secs(15))
    }

    #[test]
    fn a_heartbeat_is_due_within_its_interval_and_not_in_the_first_half() {
        let deadlines = deadlines();
        let sweep = millis(deadlines.tick) * TICKS_PER_SWEEP as u32;
        for key in 0..1000 {
            let due = deadlines.heartbeat - deadlines.early(key);
            assert!(due + sweep <= 30_000 && due > 15_000, "{key}: {due}");
        }
    }

    #[test]
    fn only_blocked_connections_are_aborted_and_idle_ones_without_a_stream_are_not() {
        let deadlines = deadlines();
        let conn = Conn::for_test();
        assert!(!deadlines.check(0, &conn, 60_000), "no session");
        conn.readiness.block(31_000);
        assert!(!deadlines.check(0, &conn, 45_999));
        assert!(deadlines.check(0, &conn, 46_000) && conn.lifecycle.is_abort_requested());
    }
}
