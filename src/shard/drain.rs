//! Graceful shutdown of a shard: requests under way are answered, streams end one after the other.

use std::rc::Rc;
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::{Instant, interval};

use super::state::Shard;
use crate::conn::Conn;

/// How often the shard ends streams and checks whether any connection is left.
const TICK: Duration = Duration::from_millis(20);

/// Connections ended before the shard's other tasks run.
const STEP: usize = 1024;

/// The shortest drain: time for sockets that accept the last event of their stream slowly.
const GRACE: Duration = Duration::from_millis(100);

/// How much longer than its time a drain lasts at most, while streams are left that have not been
/// written to since they were ended: a node with a million streams takes seconds to write to each.
const OVERTIME_MAX: Duration = Duration::from_secs(30);

/// Ends every connection of the shard; streams evenly over four fifths of `time`, so that their
/// clients don't all reconnect to the next node at once. The last fifth is for sockets that accept
/// their last event slowly. Returns when no connection is left, or when the time is up and every
/// stream has been written to; the caller closes what is left then.
pub(super) async fn drain(shard: Rc<Shard>, time: Duration) {
    let (start, spread) = (Instant::now(), time.mul_f64(0.8));
    let connections = &shard.handle.connections;
    let mut streams = end_requests(&shard).await;
    let count = streams.len();
    let mut waiting = Waiting { at: 0 };
    let mut ticks = interval(TICK);
    while connections.len() > 0 {
        ticks.tick().await;
        let left = 1.0 - (start.elapsed() + TICK).div_duration_f64(spread.max(TICK)).min(1.0);
        let keep = streams.len().min((count as f64 * left) as usize);
        while streams.len() > keep {
            let step = keep.max(streams.len().saturating_sub(STEP));
            for key in streams.drain(step..) {
                if let Some(conn) = connections.get(key) {
                    end(&shard, &conn);
                }
            }
            yield_now().await;
        }
        let Some(overtime) = start.elapsed().checked_sub(time.max(GRACE)) else { continue };
        if overtime >= OVERTIME_MAX || !waiting.any(&shard).await {
            return;
        }
    }
}

fn end(shard: &Shard, conn: &Rc<Conn>) {
    conn.signals.request_end();
    shard.schedule(conn);
}

/// Ends the connections without a stream; returns the keys of the others.
async fn end_requests(shard: &Shard) -> Vec<usize> {
    let (mut streams, mut at) = (Vec::new(), 0);
    loop {
        at = shard.handle.connections.sweep(at, STEP, |key, conn| {
            if conn.is_streaming() {
                streams.push(key);
            } else {
                end(shard, conn);
            }
        });
        if at == 0 {
            return streams;
        }
        yield_now().await;
    }
}

/// Finds streams that have been ended and not been written to yet. No connection joins during a
/// drain, and one that was written to has closed or is blocked: so all keys are looked at once.
struct Waiting {
    /// No stream waits below this key.
    at: usize,
}

impl Waiting {
    async fn any(&mut self, shard: &Shard) -> bool {
        let connections = &shard.handle.connections;
        while self.at < connections.capacity() {
            let conn = connections.get(self.at);
            if conn.is_some_and(|conn| conn.is_streaming() && !conn.readiness.is_blocked()) {
                return true;
            }
            self.at += 1;
            if self.at.is_multiple_of(STEP) {
                yield_now().await;
            }
        }
        false
    }
}

#[cfg(all(test, not(ring_loom)))]
mod tests {
    use std::future::Future;
    use std::io::{ErrorKind, Read};
    use std::os::unix::net::UnixStream;

    use tokio::task::LocalSet;
    use tokio::time::sleep;

    use super::*;
    use crate::config::Config;
    use crate::event::Position;
    use crate::shard::pump::pump;
    use crate::shard::writer::write_now;

    const STREAMS: usize = 100;
    const BLOCKED: usize = 7;

    /// Opens a detached stream and returns its peer.
    fn stream(shard: &Rc<Shard>) -> UnixStream {
        let (conn, mut far) = shard.stream_for_test("*", &Position::Live);
        write_now(shard, &conn);
        assert!(far.read(&mut [0; 1024]).unwrap() > 0, "the preamble");
        far
    }

    /// A shard with 100 streams, the eighth of them blocked, and their peers.
    fn shard() -> (Rc<Shard>, Vec<UnixStream>) {
        let shard = Shard::for_test(Config::default());
        let peers = (0..STREAMS).map(|_| stream(&shard)).collect();
        shard.handle.connections.get(BLOCKED).unwrap().readiness.block(0);
        (shard, peers)
    }

    /// Drains without time, beside another task; returns how long it took.
    fn drain_at_once(shard: &Rc<Shard>, task: impl Future<Output = ()> + 'static) -> Duration {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().start_paused(true).build().unwrap();
        let tasks = LocalSet::new();
        tasks.spawn_local(task);
        runtime.block_on(tasks.run_until(async {
            let start = Instant::now();
            drain(Rc::clone(shard), Duration::ZERO).await;
            start.elapsed()
        }))
    }

    /// Ensures that every stream is told that the node stops, however short the drain.
    ///
    /// Scenario: the shard has no time to write to its streams before the drain is over: it has too
    /// many of them, or does not run.
    ///
    /// Cause: the drain ended with its time, and streams that nobody had written to were cut off.
    ///
    /// Fix: the drain waits until each stream has been written to, or its socket is full.
    #[test]
    fn a_drain_without_time_writes_to_every_stream_before_it_ends() {
        let (shard, mut peers) = shard();
        drain_at_once(&shard, {
            let shard = Rc::clone(&shard);
            async move {
                sleep(5 * GRACE).await;
                pump(shard).await;
            }
        });
        assert_eq!(shard.handle.connections.len(), 1, "the blocked stream is left");
        for (at, peer) in peers.iter_mut().enumerate() {
            let mut received = String::new();
            let end = peer.read_to_string(&mut received);
            if at == BLOCKED {
                assert_eq!(end.unwrap_err().kind(), ErrorKind::WouldBlock);
            } else {
                assert!(end.is_ok() && received.contains("event: shutdown"), "{at}: {received}");
            }
        }
    }

    #[test]
    fn a_drain_does_not_wait_for_ever_for_streams_that_nobody_writes_to() {
        let (shard, peers) = shard();
        let took = drain_at_once(&shard, async {});
        assert_eq!(shard.handle.connections.len(), peers.len());
        assert!((OVERTIME_MAX..OVERTIME_MAX + 2 * GRACE).contains(&took), "{took:?}");
    }

    #[test]
    fn streams_that_are_all_blocked_end_with_the_drain() {
        let (shard, peers) = shard();
        shard.handle.connections.for_each(|_, conn| conn.readiness.block(0));
        let took = drain_at_once(&shard, async {});
        assert_eq!(shard.handle.connections.len(), peers.len());
        assert!((GRACE..2 * GRACE).contains(&took), "{took:?}");
    }
}
