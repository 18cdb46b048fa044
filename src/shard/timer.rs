//! The one timer of a shard: heartbeats for idle streams, an end for blocked ones.
//!
//! Each tick looks at a share of the shard's connections, so that a tick's work is bounded and the
//! whole shard has been looked at after [`TICKS_PER_SWEEP`] ticks. Heartbeats are due a little
//! before the setting, spread by connection: sessions that had the same event would otherwise all
//! be due at once.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::Shard;
use super::conn::{Conn, Millis};

/// Ticks in which every connection is looked at once.
const TICKS_PER_SWEEP: usize = 4;

/// The shard's timer task.
pub async fn keep_time(shard: Rc<Shard>) {
    let config = &shard.core.config;
    let deadlines = Deadlines::new(config.heartbeat, config.write_timeout);
    let mut ticks = interval(deadlines.tick);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut at = 0;
    loop {
        ticks.tick().await;
        shard.tick();
        let now = shard.now();
        let share = shard.table.places().div_ceil(TICKS_PER_SWEEP);
        at = shard.table.sweep(at, share, |key, conn| {
            if deadlines.check(key, conn, now) {
                shard.schedule(conn);
            }
        });
    }
}

/// When a connection is due for what.
struct Deadlines {
    tick: Duration,
    heartbeat: Millis,
    /// Heartbeats are due up to this much early, by connection.
    spread: Millis,
    write_timeout: Millis,
}

impl Deadlines {
    fn new(heartbeat: Duration, write_timeout: Duration) -> Self {
        let shortest = heartbeat.min(write_timeout);
        let tick = (shortest / 16).clamp(Duration::from_millis(5), Duration::from_millis(500));
        // A sweep's length early on average, so that looking every sweep still keeps to the
        // setting.
        let heartbeat = heartbeat.saturating_sub(tick * TICKS_PER_SWEEP as u32);
        Self {
            tick,
            heartbeat: millis(heartbeat),
            spread: millis(heartbeat / 4),
            write_timeout: millis(write_timeout),
        }
    }

    /// Tells the connection what is due; true if anything is.
    fn check(&self, key: usize, conn: &Conn, now: Millis) -> bool {
        match conn.blocked_for(now) {
            Some(blocked) if blocked >= self.write_timeout => conn.kill(),
            None if conn.is_streaming()
                && conn.idle_for(now) >= self.heartbeat - self.early(key) =>
            {
                conn.ask_heartbeat();
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
    fn only_blocked_connections_are_killed_and_idle_ones_without_a_stream_left_alone() {
        let deadlines = deadlines();
        let conn = Conn::for_test();
        assert!(!deadlines.check(0, &conn, 60_000), "no session");
        conn.block(31_000);
        assert!(!deadlines.check(0, &conn, 45_999));
        assert!(deadlines.check(0, &conn, 46_000) && conn.is_killed());
    }
}
