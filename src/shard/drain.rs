//! Leaving service: no new connections, requests under way finished, streams sent away one after the other.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, interval};

use super::Shard;

/// How often the shard sends streams away and looks whether it is empty.
const STEP: Duration = Duration::from_millis(20);

/// Sends every connection of the shard away, streams spread evenly over four fifths of `time`, so that their clients
/// don't all come to the next node at once; the last fifth is for sockets that take their last event slowly. Returns
/// when all have gone or the time is up; what is left then is cut off by the caller.
pub async fn drain(shard: Rc<Shard>, time: Duration) {
    let end = Instant::now() + time;
    let steps = (time.mul_f64(0.8).as_millis() / STEP.as_millis()).max(1) as usize;
    shard.table.each(|_, conn| {
        if !conn.is_streaming() {
            conn.leave();
        }
    });
    let share = shard.table.places().div_ceil(steps);
    let mut ticks = interval(STEP);
    let mut next = 0;
    while shard.table.connections() > 0 && Instant::now() < end {
        ticks.tick().await;
        if next < shard.table.places() {
            shard.table.sweep(next, share, |_, conn| conn.leave());
            next += share;
        }
    }
}
