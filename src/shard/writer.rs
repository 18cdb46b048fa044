//! Prepares writes, sends many of them in one call and applies their results.

use std::rc::Rc;

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use super::state::Shard;
use super::unsent::retain_unsent;
use super::write::{Visit, WRITES_MAX, Write, WriteResult};
use crate::conn::Conn;

/// Sends to one stream in a row, so that a long replay does not hold up the others.
const ROUNDS: usize = 4;

/// Bytes that one call sends, about; further writes go with the next one.
const CALL_BYTES: usize = 1024 * 1024;

/// Writing this many bytes takes about as long as visiting a stream.
const BYTES_PER_VISIT: usize = 8 * 1024;

/// Reads of what a peer sent on a stream before its connection is closed, at most.
const DISCARD_READS: usize = 16;

/// Collects writes for one call.
#[derive(Default)]
pub(super) struct Writer {
    writes: Vec<Write>,
    more: Vec<Write>,
    results: Vec<WriteResult>,
    /// Length of all writes since the last flush.
    bytes: usize,
}

impl Writer {
    /// Prepares a connection's write; sends all when they are one call.
    ///
    /// A connection can come up twice, once for each of its rings. Its first write is sent before
    /// the second is prepared: were both in one call and the first accepted in part, the second
    /// would follow in the middle of an event. The second is not skipped, because its ring may have
    /// been published to since.
    ///
    /// Returns the work it was, in visits: one, and more for long writes.
    pub(super) fn add(&mut self, shard: &Rc<Shard>, conn: Rc<Conn>) -> usize {
        let mut work = 1;
        if conn.is_write_pending() {
            work += self.flush(shard);
        }
        shard.handle.reader().hold();
        if conn.lifecycle.is_abort_requested() {
            shard.close(&conn);
        } else if let Some(write) = prepare(shard, conn) {
            work += write.bytes / BYTES_PER_VISIT;
            self.bytes += write.bytes;
            self.writes.push(write);
            if self.writes.len() == WRITES_MAX || self.bytes >= CALL_BYTES {
                work += self.flush(shard);
            }
        }
        work
    }

    /// Sends, and again for streams that have more, a few rounds; those that have still more are
    /// scheduled. Returns the work beyond that of the first round.
    pub(super) fn flush(&mut self, shard: &Rc<Shard>) -> usize {
        let mut work = 0;
        for round in 1..=ROUNDS {
            // The writes are prepared: while they are sent, the shard holds back nothing that has
            // left the rings.
            shard.handle.reader().quiesce();
            if self.writes.is_empty() {
                break;
            }
            let is_last = round == ROUNDS || self.bytes >= CALL_BYTES;
            shard.sender.borrow_mut().send(&self.writes, &mut self.results);
            if round < ROUNDS {
                shard.handle.reader().hold();
            }
            for (write, result) in self.writes.drain(..).zip(&self.results) {
                if !complete(shard, &write, *result) || !write.more {
                    continue;
                }
                if is_last {
                    shard.schedule(&write.conn);
                } else if let Some(next) = prepare(shard, write.conn) {
                    work += 1 + next.bytes / BYTES_PER_VISIT;
                    self.bytes += next.bytes;
                    self.more.push(next);
                }
            }
            std::mem::swap(&mut self.writes, &mut self.more);
        }
        self.bytes = 0;
        work
    }
}

/// The stream's write, if it has one. A stream that needs the log is put off until the sequencer
/// has released it.
fn prepare(shard: &Shard, conn: Rc<Conn>) -> Option<Write> {
    match Write::prepare(conn) {
        Visit::Write(write) => return Some(write),
        Visit::Idle => {}
        Visit::Later(conn) => shard.postpone(&conn),
    }
    None
}

/// Writes what one stream has to send now.
#[cfg(all(test, not(ring_loom)))]
pub(super) fn write_now(shard: &Rc<Shard>, conn: &Rc<Conn>) {
    let mut writer = Writer::default();
    writer.add(shard, Rc::clone(conn));
    writer.flush(shard);
}

/// Applies a write's result; true if it was complete and the stream is still open.
fn complete(shard: &Rc<Shard>, write: &Write, result: WriteResult) -> bool {
    let conn = &write.conn;
    conn.end_write();
    let sent = match result {
        Ok(sent) => sent,
        Err(Errno::AGAIN) => 0,
        Err(_) => {
            shard.close(conn);
            return false;
        }
    };
    if sent > 0 {
        conn.readiness.wrote(shard.now());
    }
    if sent < write.bytes {
        conn.readiness.block(shard.now());
        retain_unsent(shard, write, sent);
        return false;
    }
    if write.ends {
        end(shard, conn);
    }
    !write.ends
}

/// Closes a connection whose stream has ended. With unread bytes the kernel would send a reset,
/// which may overtake the last event; so they are read and discarded first, within a bound.
fn end(shard: &Rc<Shard>, conn: &Rc<Conn>) {
    let mut scratch = [0; 4096];
    for _ in 0..DISCARD_READS {
        if !matches!(recv(conn.fd(), &mut scratch, RecvFlags::DONTWAIT), Ok((_, read)) if read > 0)
        {
            break;
        }
    }
    shard.close(conn);
}

#[cfg(all(test, not(ring_loom)))]
mod tests {
    use std::io::Read;
    use std::sync::Arc;

    use super::*;
    use crate::config::Config;
    use crate::event::{Batch, Position, Seq};
    use crate::ring::PendingWakes;

    #[test]
    fn a_stream_whose_log_is_being_written_is_put_off() {
        let shard = Shard::for_test(Config::default());
        let (conn, mut far) = shard.stream_for_test("*", &Position::After("x".into()));
        let mut received = || {
            let mut buffer = [0; 1024];
            let read = far.read(&mut buffer).unwrap_or(0);
            String::from_utf8(buffer[..read].to_vec()).unwrap()
        };
        let writer = shard.core.log.writer();
        write_now(&shard, &conn);
        let preamble = received();
        assert!(preamble.contains("retry: ") && !preamble.contains("reset"), "{preamble}");
        let mut ready = Vec::new();
        assert!(!shard.take_ready(usize::MAX, &mut ready));
        shard.resume_postponed();
        shard.take_ready(usize::MAX, &mut ready);
        assert!(ready.len() == 1 && Rc::ptr_eq(&ready[0], &conn));
        write_now(&shard, &conn);
        assert_eq!(received(), "");
        drop(writer);
        write_now(&shard, &conn);
        assert!(received().contains("event: reset"));
    }

    /// Ensures that a shard that sends or sleeps does not keep what has left the rings allocated.
    #[test]
    fn a_shard_that_has_written_holds_back_nothing_that_has_left_the_rings() {
        let shard = Shard::for_test(Config::default());
        let (conn, mut far) = shard.stream_for_test("*", &Position::Live);
        write_now(&shard, &conn);
        assert!(far.read(&mut [0; 1024]).unwrap() > 0, "the preamble");

        let batch = Arc::new(Batch::new("event".into(), Box::new([5]), Seq(1)));
        let registry = &shard.core.registry;
        let placed = registry.publish_all(&batch, &mut PendingWakes::default()).unwrap();
        write_now(&shard, &conn);
        assert_eq!(far.read(&mut [0; 1024]).unwrap(), 5);
        placed.ring.expel(placed.number);
        registry.reclaim();
        assert_eq!(Arc::strong_count(&batch), 1);
    }
}
