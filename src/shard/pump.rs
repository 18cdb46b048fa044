//! The fan-out loop of a shard: visits the streams that may have something to send, and writes.
//!
//! A stream comes up for three reasons: a ring it reads has a new epoch, it was scheduled (for a
//! heartbeat, or its end), or its socket accepts bytes again. Live fan-out polls no task: a
//! detached stream has none.
//!
//! After a [quantum](super::quantum) of streams the pump yields, so that accepting and health
//! checks stay quick while 100,000 streams are written to.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use tokio::task::yield_now;

use super::state::Shard;
use super::writer::Writer;
use crate::conn::Conn;

/// The shard's pump task.
pub(super) async fn pump(shard: Rc<Shard>) {
    let mut pump = Pump { shard, writer: Writer::default(), visits: Vec::new(), spent: 0 };
    loop {
        pump.shard.mailbox.woken().await;
        pump.spent += 1;
        pump.shard.tick();
        pump.visit_ready().await;
        while let Some(waker) = pump.shard.mailbox.take() {
            // Before the first session reads: what is published from here on puts the waker into
            // the mailbox again.
            waker.clear();
            pump.spent += 1;
            let mut below = Some(usize::MAX);
            while let Some(at) = below {
                let room = pump.room();
                below = pump.shard.handle.subscribers.collect(&waker, at, room, &mut pump.visits);
                if pump.spent + pump.visits.len() >= pump.shard.quantum() {
                    pump.visit().await;
                    // A busy ring can get new epochs faster than one pass over its subscribers;
                    // scheduled streams are served in between.
                    pump.visit_ready().await;
                }
            }
        }
        pump.visit().await;
    }
}

struct Pump {
    shard: Rc<Shard>,
    writer: Writer,
    /// Connections to visit next.
    visits: Vec<Rc<Conn>>,
    /// Streams, wakers and wake-ups since the pump last yielded.
    spent: usize,
}

impl Pump {
    /// Streams that may still be visited in this quantum, at least one.
    fn room(&self) -> usize {
        self.shard.quantum().saturating_sub(self.spent + self.visits.len()).max(1)
    }

    /// Visits some of the scheduled connections; the pump wakes itself for the others.
    async fn visit_ready(&mut self) {
        let room = self.room();
        if self.shard.take_ready(room, &mut self.visits) {
            self.shard.mailbox.wake();
        }
        self.visit().await;
    }

    /// Visits the connections in `visits`, and yields if the quantum is spent.
    async fn visit(&mut self) {
        let mut woken = false;
        self.spent += self.visits.len();
        for conn in self.visits.drain(..) {
            if conn.lifecycle.is_detached() {
                self.writer.add(&self.shard, conn);
            } else {
                conn.wake_task();
                woken = true;
            }
        }
        self.writer.flush(&self.shard);
        if woken {
            yield_to_local_tasks().await;
        }
        // Not after every stream: with few on a topic, polling the I/O driver would be most of what
        // an event costs.
        if self.spent >= self.shard.quantum() {
            // Yields to the I/O driver and to tasks woken by other threads, which tokio polls only
            // after 31 local tasks.
            self.spent = 0;
            self.shard.end_quantum();
            yield_now().await;
        }
    }
}

/// Goes to the end of the local task queue, behind the tasks just woken.
///
/// `yield_now` alone would come back after the next poll of the I/O driver, however many of those
/// tasks are still waiting; then all tasks of a large ring would be in the queue before any other
/// task runs.
async fn yield_to_local_tasks() {
    let mut queued = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut queued, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[cfg(all(test, not(ring_loom)))]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;
    use std::time::Duration;

    use rustix::net::{RecvFlags, recv};
    use tokio::sync::oneshot;
    use tokio::task::LocalSet;
    use tokio::time::timeout;

    use super::*;
    use crate::config::Config;
    use crate::core::Core;
    use crate::event::{Batch, Position, Selector, Seq};
    use crate::quota::Quota;
    use crate::ring::PendingWakes;
    use crate::shard::writer::write_now;

    const STREAMS: usize = 256;

    /// Opens a detached stream and returns its peer, which has received the preamble.
    fn stream(shard: &Rc<Shard>, quota: &Arc<Quota>) -> UnixStream {
        let (near, mut far) = UnixStream::pair().unwrap();
        let conn = Rc::new(Conn::new(near.into(), quota.try_permit().unwrap(), 0));
        shard.handle.connections.insert(&conn);
        let body = shard.handle.open_stream(&conn, &[Selector::All], &Position::Live, true);
        conn.lifecycle.detached();
        drop(body.unwrap());
        write_now(shard, &conn);
        assert!(far.read(&mut [0; 1024]).unwrap() > 0, "the preamble");
        far.set_nonblocking(true).unwrap();
        far
    }

    fn has_bytes(peer: &UnixStream) -> bool {
        matches!(recv(peer, &mut [0; 1], RecvFlags::PEEK), Ok((_, read)) if read > 0)
    }

    /// Publishes an event to all streams. As soon as one of them has it, another thread wakes a
    /// task of the shard, as the sequencer wakes a publisher's. Returns how many streams have the
    /// event when that task runs.
    fn reached_before_the_answer(quantum_streams: usize, published_here: bool) -> usize {
        let config = Config { quantum_streams, ..Config::default() };
        let shard = Rc::new(Shard::new(Core::for_test(config), Arc::default()).unwrap());
        let quota = Arc::new(Quota::new(STREAMS));
        let peers: Rc<[UnixStream]> = (0..STREAMS).map(|_| stream(&shard, &quota)).collect();
        let count = |peers: &[UnixStream]| peers.iter().filter(|peer| has_bytes(peer)).count();
        assert_eq!(count(&peers), 0);
        if published_here {
            shard.handle.note_publish();
        }
        let (answer, answered) = oneshot::channel();

        let tasks = LocalSet::new();
        tasks.spawn_local(pump(Rc::clone(&shard)));
        let reached = tasks.spawn_local({
            let peers = Rc::clone(&peers);
            async move { answered.await.map(|()| count(&peers)) }
        });
        tasks.spawn_local(async move {
            while count(&peers) == 0 {
                yield_now().await;
            }
            std::thread::spawn(move || answer.send(())).join().unwrap().unwrap();
        });
        let mut wakes = PendingWakes::default();
        let batch = Arc::new(Batch::new("x".into(), Box::new([1]), Seq(1)));
        shard.core.registry.publish_all(&batch, &mut wakes);
        shard.core.watermark.raise(Seq(1));
        wakes.wake_all();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let reached = tasks.run_until(async { timeout(Duration::from_secs(30), reached).await });
        runtime.block_on(reached).unwrap().unwrap().unwrap()
    }

    /// Ensures that publishers are answered while their event is on its way to the streams.
    ///
    /// Scenario: an event goes to many streams of the shard that its publisher is connected to.
    ///
    /// Cause: after each quantum the pump went to the end of the shard's own task queue. tokio
    /// looks at what other threads have woken only after 31 polls of that queue, so the answer
    /// waited for as many quanta (79 ms, p99, at 15,000 streams).
    ///
    /// Fix: the pump yields to the I/O driver.
    #[test]
    fn a_task_woken_by_another_thread_runs_after_the_next_quantum() {
        let reached = reached_before_the_answer(4, false);
        assert!(reached <= 4 * 4, "{reached} of {STREAMS}");
    }

    #[test]
    fn quanta_are_short_after_a_publish() {
        let reached = [false, true].map(|published| reached_before_the_answer(64, published));
        assert!(reached[0] > 4 * 4, "{reached:?}");
        assert!(reached[1] <= 4 * 4, "{reached:?}");
    }
}
