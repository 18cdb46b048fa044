//! Leaving service: no new connections, requests under way finished, streams sent away one after
//! the other.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, interval};

use super::Shard;

/// How often the shard sends streams away and looks whether it is empty.
const STEP: Duration = Duration::from_millis(20);

/// Time there is at least, for the last word of streams that are sent away all at once.
const GRACE: Duration = Duration::from_millis(100);

/// Sends every connection of the shard away, streams spread evenly over four fifths of `time`, so
/// that their clients don't all come to the next node at once; the last fifth is for sockets that
/// take their last event slowly. Returns when all have gone or the time is up; what is left then is
/// cut off by the caller.
pub async fn drain(shard: Rc<Shard>, time: Duration) {
    let time = time.max(GRACE);
    let (start, spread) = (Instant::now(), time.mul_f64(0.8));
    let mut streams = Vec::new();
    shard.table.each(|key, conn| {
        if conn.is_streaming() {
            streams.push(key);
        } else {
            conn.leave();
            shard.schedule(conn);
        }
    });
    let count = streams.len();
    let mut ticks = interval(STEP);
    while shard.table.connections() > 0 && start.elapsed() < time {
        ticks.tick().await;
        let stay = 1.0 - (start.elapsed() + STEP).div_duration_f64(spread.max(STEP)).min(1.0);
        for key in streams.drain(streams.len().min((count as f64 * stay) as usize)..) {
            if let Some(conn) = shard.table.conn(key) {
                conn.leave();
                shard.schedule(&conn);
            }
        }
    }
}
