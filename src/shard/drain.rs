//! Graceful shutdown of a shard: requests under way are answered, streams end one after the other.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, interval};

use super::state::Shard;

/// How often the shard ends streams and checks whether any connection is left.
const STEP: Duration = Duration::from_millis(20);

/// The shortest drain: time for the last event of streams that all end at once.
const GRACE: Duration = Duration::from_millis(100);

/// Ends every connection of the shard; streams evenly over four fifths of `time`, so that their
/// clients don't all reconnect to the next node at once. The last fifth is for sockets that accept
/// their last event slowly. Returns when no connection is left or the time is up; the caller closes
/// what is left then.
pub(super) async fn drain(shard: Rc<Shard>, time: Duration) {
    let time = time.max(GRACE);
    let (start, spread) = (Instant::now(), time.mul_f64(0.8));
    let connections = &shard.handle.connections;
    let mut streams = Vec::new();
    connections.for_each(|key, conn| {
        if conn.is_streaming() {
            streams.push(key);
        } else {
            conn.signals.request_end();
            shard.schedule(conn);
        }
    });
    let count = streams.len();
    let mut ticks = interval(STEP);
    while connections.len() > 0 && start.elapsed() < time {
        ticks.tick().await;
        let left = 1.0 - (start.elapsed() + STEP).div_duration_f64(spread.max(STEP)).min(1.0);
        let keep = streams.len().min((count as f64 * left) as usize);
        for key in streams.drain(keep..) {
            if let Some(conn) = connections.get(key) {
                conn.signals.request_end();
                shard.schedule(&conn);
            }
        }
    }
}
