//! The timer of a shard: heartbeats for idle streams, aborts of blocked connections, and another
//! try for those that no edge will unblock.
//!
//! Each tick checks a part of the shard's connections, in steps of [`STEP`] between which the other
//! tasks run, so that no step is noticed and every connection has been checked after
//! [`TICKS_PER_SWEEP`] ticks. Heartbeats are due up to a quarter before the setting, spread by
//! connection: sessions that received the same event would otherwise all be due at once.
//!
//! # Blocked connections
//!
//! A blocked connection waits for an edge of epoll. Before it is aborted the kernel is asked
//! whether its socket accepts bytes after all (`poll(2)`), for two reasons. On a shard that was
//! starved or stopped, the edge may wait behind others that the reactor has not taken yet; the peer
//! has been reading all the time. And no edge comes at all for a send that was refused because the
//! machine is short of memory for sockets (`net.ipv4.tcp_mem`) while nothing was in flight. So the
//! kernel is also asked every [`RETRY_INTERVAL`], at most once per sweep.
//!
//! The timer also aborts a stream whose socket accepts too little for too long ([`age_max`]), and
//! the longest-blocked streams when the budget for unsent bytes is reached
//! ([`unsent`](super::unsent)).

use std::rc::Rc;

use tokio::task::yield_now;
use tokio::time::{MissedTickBehavior, interval};

use super::clock::{Clock, millis, tick_interval};
use super::state::Shard;
use super::unsent::{age_max, close_longest_blocked, count_stalled};
use crate::config::Config;
use crate::conn::{Conn, Millis};

/// Ticks after which every connection has been checked once.
const TICKS_PER_SWEEP: usize = 4;

/// Connections checked before the shard's other tasks run: about a tenth of a millisecond.
const STEP: usize = 1024;

/// How often the kernel is asked whether a blocked socket accepts bytes again, which takes half a
/// microsecond for each.
const RETRY_INTERVAL: Millis = 1000;

/// The shard's timer task.
pub(super) async fn run_timer(shard: Rc<Shard>) {
    let config = &shard.core.config;
    let mut ticks = interval(tick_interval(config));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sweep = Sweep::new(config);
    loop {
        ticks.tick().await;
        sweep.share(&shard, STEP).await;
    }
}

/// One walk over all connections after the other.
struct Sweep {
    deadlines: Deadlines,
    /// The key to continue at.
    at: usize,
    /// Whether this walk tries blocked sockets again, and when one last did.
    retry: bool,
    retried: Millis,
    /// The kernel's buffer of a connection.
    kernel_bytes: usize,
}

impl Sweep {
    fn new(config: &Config) -> Self {
        Self {
            deadlines: Deadlines::new(config),
            at: 0,
            retry: false,
            retried: 0,
            kernel_bytes: 2 * config.send_buffer_bytes,
        }
    }

    /// Checks one tick's share of the connections, `step` of them between two looks at other tasks.
    async fn share(&mut self, shard: &Shard, step: usize) {
        let mut left = shard.handle.connections.capacity().div_ceil(TICKS_PER_SWEEP);
        loop {
            // Also without a connection: the clock is read at each tick.
            self.step(shard, left.min(step));
            left = left.saturating_sub(step);
            if left == 0 {
                return;
            }
            yield_now().await;
        }
    }

    /// Reads the clock and checks the connections of the next `keys` keys. What is stalled counts
    /// towards the budget of what streams have yet to send; those that exceed it are closed.
    fn step(&mut self, shard: &Shard, keys: usize) {
        shard.tick();
        let now = shard.now();
        if self.at == 0 {
            self.retry = now.wrapping_sub(self.retried) >= RETRY_INTERVAL;
            if self.retry {
                self.retried = now;
            }
        }
        let (deadlines, retry, kernel_bytes) = (&self.deadlines, self.retry, self.kernel_bytes);
        let mut over = 0;
        self.at = shard.handle.connections.sweep(self.at, keys, |key, conn| {
            if deadlines.check(key, conn, &shard.clock, retry) {
                shard.schedule(conn);
            } else if conn.readiness.is_blocked() && !count_stalled(conn, now, kernel_bytes) {
                over += 1;
            }
        });
        close_longest_blocked(shard, over);
    }
}

/// The intervals after which a connection needs a heartbeat or is aborted.
struct Deadlines {
    heartbeat: Millis,
    /// Heartbeats are due up to this much earlier, depending on the connection.
    spread: Millis,
    write_timeout: Millis,
    /// How long a stream may have something to send, if its socket accepts a little.
    age_max: Millis,
}

impl Deadlines {
    fn new(config: &Config) -> Self {
        // Due one sweep early, so that a check once per sweep is never late.
        let sweep = tick_interval(config) * TICKS_PER_SWEEP as u32;
        let heartbeat = config.heartbeat.saturating_sub(sweep);
        Self {
            heartbeat: millis(heartbeat),
            spread: millis(heartbeat / 4),
            write_timeout: millis(config.write_timeout),
            age_max: millis(age_max(config.write_timeout)),
        }
    }

    /// Asks the connection for what is due; true if anything is. With `retry`, a blocked socket
    /// that accepts bytes is due as well.
    fn check(&self, key: usize, conn: &Conn, clock: &Clock, retry: bool) -> bool {
        let now = clock.now();
        let Some(blocked) = conn.readiness.blocked_for(now) else {
            let idle = conn.readiness.idle_for(now);
            let due = conn.is_streaming()
                && idle.saturating_add(clock.stood_still(idle)) >= self.heartbeat - self.early(key);
            if due {
                conn.signals.ask_heartbeat();
            }
            return due;
        };
        let expired = blocked >= self.write_timeout || self.is_aged(conn, now);
        let tried = expired || retry && blocked >= RETRY_INTERVAL;
        if !tried {
            return false;
        }
        if conn.accepts_bytes() {
            conn.readiness.note(false, true, false);
            conn.readiness.unblock();
        } else if expired {
            conn.lifecycle.request_abort();
        } else {
            return false;
        }
        true
    }

    fn is_aged(&self, conn: &Conn, now: Millis) -> bool {
        conn.unsent_for(now).is_some_and(|age| age >= self.age_max)
    }

    /// Fibonacci hashing of the connection's key, so that neighbours are far apart.
    fn early(&self, key: usize) -> Millis {
        let hash = (key as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        ((hash * u64::from(self.spread)) >> 32) as Millis
    }
}

#[cfg(all(test, not(ring_loom)))]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::core::Core;
    use crate::quota::Quota;

    const TICK: Duration = Duration::from_millis(500);

    fn config() -> Config {
        let second = Duration::from_secs(1);
        Config { heartbeat: 30 * second, write_timeout: 15 * second, ..Config::default() }
    }

    /// A connection whose socket is full, blocked since now, and its peer.
    fn blocked(clock: &Clock) -> (Rc<Conn>, UnixStream) {
        let (mut near, far) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        while near.write(&[0; 4096]).is_ok() {}
        let permit = Arc::new(Quota::new(1)).try_permit().unwrap();
        let conn = Rc::new(Conn::new(near.into(), permit, clock.now()));
        conn.readiness.block(clock.now());
        (conn, far)
    }

    /// Lets the clock run for a time, tick by tick.
    fn run(clock: &Clock, time: Duration) {
        for _ in 0..time.div_duration_f64(TICK) as u32 {
            clock.pass(TICK);
        }
    }

    #[test]
    fn a_heartbeat_is_due_within_its_interval_and_not_in_the_first_half() {
        let deadlines = Deadlines::new(&config());
        let sweep = millis(TICK) * TICKS_PER_SWEEP as u32;
        for key in 0..1000 {
            let due = deadlines.heartbeat - deadlines.early(key);
            assert!(due + sweep <= 30_000 && due > 15_000, "{key}: {due}");
        }
    }

    #[test]
    fn only_blocked_connections_are_aborted_and_idle_ones_without_a_stream_are_not() {
        let (deadlines, clock) = (Deadlines::new(&config()), Clock::new(&config()));
        run(&clock, Duration::from_secs(60));
        assert!(!deadlines.check(0, &Conn::for_test(), &clock, true), "no session");
        let (conn, _peer) = blocked(&clock);
        run(&clock, Duration::from_millis(14_500));
        assert!(!deadlines.check(0, &conn, &clock, true));
        run(&clock, TICK);
        assert!(deadlines.check(0, &conn, &clock, true) && conn.lifecycle.is_abort_requested());
    }

    /// Ensures that time in which the node could not write does not count as time in which a client
    /// did not read.
    ///
    /// Scenario: a stream's socket is full when the process is stopped for longer than
    /// `FANFARE_WRITE_TIMEOUT`; its client reads on soon after the process continues.
    ///
    /// Cause: the deadline was a time of day. At the first tick after the gap, every stream that
    /// had been blocked before it was aborted.
    ///
    /// Fix: the clock of a shard counts the time in which the shard was running.
    #[test]
    fn a_stream_that_was_blocked_when_the_node_stood_still_is_not_aborted() {
        let (deadlines, clock) = (Deadlines::new(&config()), Clock::new(&config()));
        let (conn, _peer) = blocked(&clock);
        run(&clock, Duration::from_secs(10));
        clock.pass(Duration::from_secs(60));
        assert!(!deadlines.check(0, &conn, &clock, true));
        run(&clock, Duration::from_secs(4));
        assert!(deadlines.check(0, &conn, &clock, true), "its time goes on");
        assert!(conn.lifecycle.is_abort_requested());
    }

    /// Ensures that a stream is not aborted whose client has read.
    ///
    /// Scenario: the reactor has not taken the stream's edge from epoll when the timer checks the
    /// stream, because the edges of many others came first.
    ///
    /// Cause: the timer only knew what the reactor had told it.
    ///
    /// Fix: the kernel is asked before a connection is aborted.
    #[test]
    fn a_blocked_stream_whose_socket_accepts_bytes_is_written_to_and_not_aborted() {
        let (deadlines, clock) = (Deadlines::new(&config()), Clock::new(&config()));
        let (conn, mut peer) = blocked(&clock);
        run(&clock, Duration::from_secs(60));
        peer.set_nonblocking(true).unwrap();
        while peer.read(&mut [0; 4096]).is_ok() {}
        assert!(deadlines.check(0, &conn, &clock, false));
        assert!(!conn.lifecycle.is_abort_requested());
        assert!(!conn.readiness.is_blocked() && conn.readiness.is_writable());
    }

    /// Ensures that a send that was refused without a reason in the socket is tried again.
    ///
    /// Scenario: the machine is short of memory for sockets, so a send to an empty socket fails
    /// with `EAGAIN`. Nothing is in flight, so no acknowledgement makes the socket writable, and
    /// epoll reports no edge.
    ///
    /// Cause: only an edge unblocked a stream. This one waited until it was aborted.
    ///
    /// Fix: the timer asks the kernel whether blocked sockets accept bytes.
    #[test]
    fn a_send_refused_while_nothing_is_in_flight_is_tried_again_by_a_sweep() {
        let shard = Shard::new(Core::for_test(config()), Arc::default()).unwrap();
        let conn = Rc::new(Conn::for_test());
        shard.handle.connections.insert(&conn);
        conn.lifecycle.detached();
        conn.readiness.block(shard.now());
        let mut sweep = Sweep::new(&config());
        sweep.step(&shard, STEP);
        assert!(conn.readiness.is_blocked(), "an edge may be on its way");
        run(&shard.clock, Duration::from_secs(1));
        sweep.step(&shard, STEP);
        assert!(!conn.readiness.is_blocked());
        let mut ready = Vec::new();
        assert!(shard.take_ready(STEP, &mut ready) && ready.len() == 1, "it is scheduled");
    }

    /// Ensures that the timer does not hold up a shard with many connections.
    ///
    /// Scenario: a tick comes while other tasks have something to do.
    ///
    /// Cause: a quarter of all connections was checked in one go, 250,000 of a million.
    ///
    /// Fix: the timer yields after each step.
    #[test]
    fn other_tasks_run_between_the_steps_of_a_tick() {
        let shard = Shard::new(Core::for_test(config()), Arc::default()).unwrap();
        let conns: Vec<_> = (0..6).map(|_| Rc::new(Conn::for_test())).collect();
        for conn in &conns {
            shard.handle.connections.insert(conn);
            conn.lifecycle.detached();
            conn.readiness.block(shard.now());
        }
        run(&shard.clock, Duration::from_secs(20));
        let mut sweep = Sweep::new(&config());
        let mut seen = Vec::new();
        let other_task = async {
            loop {
                seen.push(conns.iter().filter(|conn| conn.readiness.is_blocked()).count());
                yield_now().await;
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            tokio::select! {
                biased;
                () = sweep.share(&shard, 2) => {}
                () = other_task => {}
            }
        });
        assert_eq!(seen[..3], [4, 2, 0]);
    }
}
