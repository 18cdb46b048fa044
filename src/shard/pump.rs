//! The shard's own loop over its streams: takes what each has to send and sends it, batch by batch.
//!
//! Three things put a stream before the pump: its ring is marked, something is due for it (a
//! heartbeat, the end), or its socket takes bytes again. Live fan-out polls no task: a detached
//! stream has none.
//!
//! After a quantum of `FANFARE_QUANTUM_STREAMS` streams everything else on the shard has its batch, so that
//! accepting and health checks stay quick while 100,000 streams are being written to. While events
//! are published on the shard, slices are shorter: a publisher that sends its next event when it
//! has the answer would otherwise give each event a quantum of its own, and every stream a send for
//! each, where one send can take all of them. A quantum grows with the events published since the
//! last, so that publishing never takes the shard's time from its streams.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use tokio::task::yield_now;

use super::Shard;
use super::conn::{Conn, Stream};
use super::sender::{SLICES_MAX, Slices, WRITES_MAX, Write, WriteResult};
use crate::session::Next;

/// A write takes no further run from this many bytes on. About what a socket's buffer holds: what
/// is over stays here.
const WRITE_BYTES: usize = 64 * 1024;

/// Sends to one stream in a row, so that a long replay does not hold up the others.
const ROUNDS: usize = 4;

/// Unsent slices smaller than this on average are copied.
const COPIED_SLICE_BYTES: usize = 8 * 1024;

/// Ends a chunked response (RFC 9112 §7.1).
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// The shard's pump task.
pub async fn pump(shard: Rc<Shard>) {
    let mut batch = WriteBatch::default();
    let mut quantum = Vec::new();
    loop {
        shard.mailbox.woken().await;
        batch.spent += 1;
        shard.tick();
        pump_ready(&shard, &mut batch, &mut quantum).await;
        while let Some(ring_waker) = shard.mailbox.take() {
            // Before the first session reads: what is published from here on posts the ring_waker again.
            ring_waker.clear();
            batch.spent += 1;
            let mut below = Some(usize::MAX);
            while let Some(at) = below {
                below = shard.table.readers(
                    &ring_waker,
                    at,
                    batch.room(&shard, quantum.len()),
                    &mut quantum,
                );
                if batch.spent + quantum.len() >= shard.quantum_max() {
                    pump_quantum(&shard, &mut batch, &mut quantum).await;
                    // A busy ring may be marked again before its walk has ended, and again.
                    pump_ready(&shard, &mut batch, &mut quantum).await;
                }
            }
        }
        pump_quantum(&shard, &mut batch, &mut quantum).await;
    }
}

/// Looks at some of the connections that were scheduled; the pump is rung again for the others.
async fn pump_ready(shard: &Rc<Shard>, batch: &mut WriteBatch, quantum: &mut Vec<Rc<Conn>>) {
    if shard.take_ready(batch.room(shard, quantum.len()), quantum) {
        shard.mailbox.wake();
    }
    pump_quantum(shard, batch, quantum).await;
}

async fn pump_quantum(shard: &Rc<Shard>, batch: &mut WriteBatch, quantum: &mut Vec<Rc<Conn>>) {
    let mut woken = false;
    batch.spent += quantum.len();
    for conn in quantum.drain(..) {
        if conn.is_detached() {
            batch.add(shard, conn);
        } else {
            conn.wake();
            woken = true;
        }
    }
    batch.flush(shard);
    if woken {
        queue_up().await;
    }
    // Not after every stream: with few on a topic, the look at the driver would be most of what an
    // event costs.
    if batch.spent >= shard.quantum_max() {
        // Behind that look and what other threads have woken, for which a full local queue would
        // wait long.
        batch.spent = 0;
        shard.note_quantum();
        yield_now().await;
    }
}

/// Goes on with a stream whose socket takes bytes again.
pub fn resume(shard: &Rc<Shard>, conn: &Rc<Conn>) {
    conn.wrote(shard.now());
    begin(shard, conn);
}

/// Writes what a stream just taken from hyper has to say.
pub fn begin(shard: &Rc<Shard>, conn: &Rc<Conn>) {
    let mut batch = WriteBatch::default();
    batch.add(shard, Rc::clone(conn));
    batch.flush(shard);
}

/// Writes on their way into one call.
#[derive(Default)]
struct WriteBatch {
    writes: Vec<Write>,
    more: Vec<Write>,
    results: Vec<WriteResult>,
    /// Streams, wakers and rings of the bell since the pump last gave way.
    spent: usize,
}

impl WriteBatch {
    /// Streams that may join the quantum, one at least.
    fn room(&self, shard: &Shard, quantum: usize) -> usize {
        shard.quantum_max().saturating_sub(self.spent + quantum).max(1)
    }

    /// A stream can come up twice, once for each of its rings. Its first write goes before the
    /// second is write_pending: were both in one call and the first taken in part, the second would follow
    /// in the middle of an event. And it is write_pending, not passed over, because its second ring may
    /// have been published to since.
    fn add(&mut self, shard: &Rc<Shard>, conn: Rc<Conn>) {
        if conn.write_pending().get() {
            self.flush(shard);
        }
        if conn.is_killed() {
            shard.close(&conn);
        } else if let Some(write) = prepare(conn) {
            self.writes.push(write);
            if self.writes.len() == WRITES_MAX {
                self.flush(shard);
            }
        }
    }

    /// Sends, and again for those that have more, some wakes; those that have more still are
    /// scheduled.
    fn flush(&mut self, shard: &Rc<Shard>) {
        for round in 1..=ROUNDS {
            if self.writes.is_empty() {
                return;
            }
            shard.sender.borrow_mut().send(&self.writes, &mut self.results);
            for (write, result) in self.writes.drain(..).zip(&self.results) {
                if !complete(shard, &write, *result) || !write.more {
                    continue;
                }
                if round == ROUNDS {
                    shard.schedule(&write.conn);
                } else {
                    self.more.extend(prepare(write.conn));
                }
            }
            std::mem::swap(&mut self.writes, &mut self.more);
        }
    }
}

/// Takes what a stream has to send, if it has anything and its socket takes bytes.
fn prepare(conn: Rc<Conn>) -> Option<Write> {
    if conn.blocked_for(0).is_some() {
        return None;
    }
    let mut borrowed = conn.stream().borrow_mut();
    let stream = borrowed.as_mut()?;
    let mut slices = Gathered::from(std::mem::take(&mut stream.unsent));
    while slices.has_room() && !stream.ended {
        match stream.session.next_slice(&conn) {
            Next::Slice(slice) => slices.push(slice),
            Next::Wait => break,
            Next::End => {
                slices.push(Bytes::from_static(LAST_CHUNK));
                stream.ended = true;
            }
        }
    }
    let (more, ends) = (!slices.has_room(), stream.ended);
    drop(borrowed);
    let write = slices.into_write(conn, more, ends)?;
    write.conn.write_pending().set(true);
    Some(write)
}

/// Notes what became of a write; true if the socket took all of it and stays.
fn complete(shard: &Rc<Shard>, write: &Write, result: WriteResult) -> bool {
    let conn = &write.conn;
    conn.write_pending().set(false);
    let sent = match result {
        Ok(sent) => sent,
        Err(Errno::AGAIN) => 0,
        Err(_) => {
            shard.close(conn);
            return false;
        }
    };
    if sent > 0 {
        conn.wrote(shard.now());
    }
    if sent < write.bytes {
        conn.block(shard.now());
        if let Some(stream) = conn.stream().borrow_mut().as_mut() {
            retain_unsent(stream, write, sent);
        }
        return false;
    }
    if write.ends {
        end(shard, conn);
    }
    !write.ends
}

/// Closes a connection whose stream has ended. With unread bytes the kernel would send a reset,
/// which may overtake the last event; so they are read off first, within bounds.
fn end(shard: &Rc<Shard>, conn: &Rc<Conn>) {
    let mut scratch = [0; 4096];
    for _ in 0..16 {
        if !matches!(recv(conn.fd(), &mut scratch, RecvFlags::DONTWAIT), Ok((_, read)) if read > 0)
        {
            break;
        }
    }
    shard.close(conn);
}

/// Keeps what the socket did not take. A slice keeps its whole batch alive, so small ones are copied
/// out: a stalled stream of a quiet topic must not pin the batches its events came in.
fn retain_unsent(stream: &mut Stream, write: &Write, sent: usize) {
    debug_assert!(stream.unsent.is_empty(), "a write takes all that is unsent");
    let rest = write.slices.rest(sent);
    stream.unsent = if write.bytes - sent < rest.len() * COPIED_SLICE_BYTES {
        vec![rest.concat().into()]
    } else {
        rest
    };
}

/// Slices for one connection, gathered without an allocation while there is one.
enum Gathered {
    None,
    One(Bytes),
    Many(Vec<Bytes>, usize),
}

impl From<Vec<Bytes>> for Gathered {
    fn from(unsent: Vec<Bytes>) -> Self {
        if unsent.is_empty() {
            return Self::None;
        }
        let bytes = unsent.iter().map(Bytes::len).sum();
        Self::Many(unsent, bytes)
    }
}

impl Gathered {
    fn push(&mut self, slice: Bytes) {
        *self = match std::mem::replace(self, Self::None) {
            Self::None => Self::One(slice),
            Self::One(first) => {
                let bytes = first.len() + slice.len();
                Self::Many(vec![first, slice], bytes)
            }
            Self::Many(mut slices, bytes) => {
                let bytes = bytes + slice.len();
                slices.push(slice);
                Self::Many(slices, bytes)
            }
        };
    }

    fn has_room(&self) -> bool {
        match self {
            Self::None => true,
            Self::One(slice) => slice.len() < WRITE_BYTES,
            // One place is left for the last chunk.
            Self::Many(slices, bytes) => slices.len() < SLICES_MAX && *bytes < WRITE_BYTES,
        }
    }

    fn into_write(self, conn: Rc<Conn>, more: bool, ends: bool) -> Option<Write> {
        let (slices, bytes) = match self {
            Self::None => return None,
            Self::One(slice) => {
                let bytes = slice.len();
                (Slices::One(slice), bytes)
            }
            Self::Many(slices, bytes) => (Slices::Many(slices), bytes),
        };
        Some(Write { conn, slices, bytes, more, ends })
    }
}

/// Goes to the end of the shard's queue, behind the tasks just woken.
///
/// `yield_now` alone would come back after the next look at the driver, however many of them are
/// still waiting; then all tasks of a large ring would be in the queue before anything else had a/// batch.
async fn queue_up() {
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

    use tokio::sync::oneshot;
    use tokio::task::LocalSet;
    use tokio::time::timeout;

    use super::*;
    use crate::config::{Config, Io};
    use crate::event::Batch;
    use crate::event::{Position, Selector, Seq};
    use crate::node::Core;
    use crate::quota::Quota;
    use crate::ring::PendingWakes;
    use crate::session::Session;
    use crate::shard::Stage;

    const STREAMS: usize = 256;

    /// A stream that is detached and has had its first bytes, and its peer.
    fn stream(shard: &Rc<Shard>, quota: &Arc<Quota>) -> UnixStream {
        let (near, mut far) = UnixStream::pair().unwrap();
        let conn = Rc::new(Conn::new(near.into(), quota.take().unwrap(), 0));
        shard.table.admit(&conn);
        conn.open_stream(Session::open(shard, &conn, &[Selector::All], &Position::Live).unwrap());
        conn.set_stage(Stage::Detached);
        begin(shard, &conn);
        assert!(far.read(&mut [0; 1024]).unwrap() > 0, "the first bytes");
        far.set_nonblocking(true).unwrap();
        far
    }

    fn has_bytes(peer: &UnixStream) -> bool {
        matches!(recv(peer, &mut [0; 1], RecvFlags::PEEK), Ok((_, read)) if read > 0)
    }

    /// An event goes to all streams. As soon as one has it, another thread wakes a task of the
    /// shard, as the sequencer does that of a publisher. How many streams have the event when that
    /// task slices.
    fn reached_before_the_answer(quantum_streams: usize, published_here: bool) -> usize {
        let config = Config { quantum_streams, ..Config::default() };
        let shard =
            Rc::new(Shard::new(Arc::new(Core::new(config, Io::Send)), Arc::default()).unwrap());
        let quota = Quota::new(STREAMS);
        let peers: Rc<[UnixStream]> = (0..STREAMS).map(|_| stream(&shard, &quota)).collect();
        let count = |peers: &[UnixStream]| peers.iter().filter(|peer| has_bytes(peer)).count();
        assert_eq!(count(&peers), 0);
        if published_here {
            shard.note_publish();
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

    /// Ensures publishers are answered while their event is on its way to the streams.
    ///
    /// Scenario: an event goes to many streams of the shard that its publisher is connected to.
    /// Cause: the pump queued up among the shard's own tasks after each quantum; tokio looks at what
    /// other threads have woken only after 31 of those, so the answer waited for as many slices (79
    /// ms, p99, at 15,000 streams). Fix: the pump yields to the driver.
    #[test]
    fn what_another_thread_wakes_has_its_turn_after_the_next_slice() {
        let reached = reached_before_the_answer(4, false);
        assert!(reached <= 4 * 4, "{reached} of {STREAMS}");
    }

    #[test]
    fn slices_are_short_after_a_publish() {
        let reached = [false, true].map(|published| reached_before_the_answer(64, published));
        assert!(reached[0] > 4 * 4, "{reached:?}");
        assert!(reached[1] <= 4 * 4, "{reached:?}");
    }

    #[test]
    fn slices_grow_with_the_events_published_since_the_last_and_are_whole_again_after_some() {
        let config = Config { quantum_streams: 256, ..Config::default() };
        let shard = Shard::new(Arc::new(Core::new(config, Io::Send)), Arc::default()).unwrap();
        assert_eq!(shard.quantum_max(), 256);
        (0..10).for_each(|_| shard.note_publish());
        let mut slices = Vec::new();
        for _ in 0..6 {
            slices.push(shard.quantum_max());
            shard.note_quantum();
        }
        assert_eq!(slices, [40, 16, 16, 16, 256, 256]);
        (0..1000).for_each(|_| shard.note_publish());
        assert_eq!(shard.quantum_max(), 256);
    }
}
