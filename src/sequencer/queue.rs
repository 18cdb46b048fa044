//! The way from a publisher's request to the sequencer: a bounded queue and a bounded number of
//! bytes.
//!
//! Shards push, whoever is at the sequencer takes. A full queue or a full budget is told at once
//! ([`QueueFull`]); nobody waits for room.
//!
//! # Ordering
//!
//! | word | writer | readers | what becomes visible | model |
//! |---|---|---|---|---|
//! | `bytes` | shards and sequencer, Relaxed read-modify-write | each other | nothing but the number: it is a budget | none |
//! | `closed` | drain, SeqCst | shards, sequencer | see [`Queue::close`] | none: see there |
//!
//! The queue orders what is pushed before what is taken. The wake is `Thread::unpark`, whose token
//! is kept if the sequencer's thread is not parked yet.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;

use crossbeam_queue::ArrayQueue;
use tokio::sync::oneshot;

use crate::event::{Publication, Seq};

/// An event on its way into the log.
pub struct Submission {
    /// The event.
    pub publication: Publication,
    /// Answered with the event's ack once the log has it.
    pub ack: oneshot::Sender<Seq>,
    reservation: ByteReservation,
}

/// There is no room: `FANFARE_QUEUE_EVENTS` are waiting, `FANFARE_QUEUE_BYTES` are being read or
/// waiting, or the node is leaving service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueueFull {
    /// The queue is full.
    #[error("{0} events are waiting for the log (FANFARE_QUEUE_EVENTS); publish again later")]
    Events(usize),
    /// The byte budget is used up.
    #[error("publish bodies take up {0} bytes (FANFARE_QUEUE_BYTES); publish again later")]
    Bytes(u64),
    /// The node has stopped taking events.
    #[error("this node is leaving service; publish to another one")]
    Closed,
}

/// The bounded way in; one per node.
pub struct Queue {
    queue: ArrayQueue<Submission>,
    bytes: AtomicU64,
    bytes_max: u64,
    /// Pushes under way.
    pushing: AtomicUsize,
    closed: AtomicBool,
    sequencer: OnceLock<Thread>,
}

/// Bytes of the budget; given back when dropped.
pub struct ByteReservation {
    queue: Arc<Queue>,
    bytes: u64,
}

impl Queue {
    /// Room for `events_max` events and `bytes_max` bytes of bodies.
    pub fn new(events_max: usize, bytes_max: u64) -> Self {
        Self {
            queue: ArrayQueue::new(events_max),
            bytes: AtomicU64::new(0),
            bytes_max,
            pushing: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            sequencer: OnceLock::new(),
        }
    }

    /// Takes `bytes` of the budget for a body about to be read.
    pub fn reserve(self: &Arc<Self>, bytes: u64) -> Result<ByteReservation, QueueFull> {
        // Ordering: Relaxed: a budget, see the table.
        let take = |used: u64| used.checked_add(bytes).filter(|&used| used <= self.bytes_max);
        match self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
            Ok(_) => Ok(ByteReservation { queue: Arc::clone(self), bytes }),
            Err(_) => Err(QueueFull::Bytes(self.bytes_max)),
        }
    }

    /// Puts an event into the queue; [`Combiner::submit`](crate::sequencer::Combiner::submit) also
    /// sees to it that it is taken. The receiver yields the event's seq once the log has it.
    pub fn submit(
        &self,
        publication: Publication,
        reservation: ByteReservation,
    ) -> Result<oneshot::Receiver<Seq>, QueueFull> {
        let (ack, acked) = oneshot::channel();
        // Ordering: SeqCst on `pushing` and `closed`: see `close`.
        self.pushing.fetch_add(1, Ordering::SeqCst);
        let pushed = if self.closed.load(Ordering::SeqCst) {
            Err(QueueFull::Closed)
        } else {
            let submission = Submission { publication, ack, reservation };
            self.queue.push(submission).map_err(|_| QueueFull::Events(self.queue.capacity()))
        };
        self.pushing.fetch_sub(1, Ordering::SeqCst);
        if pushed.is_err() {
            // Who looked whether it is finished may have seen this push.
            self.wake();
        }
        pushed.map(|()| acked)
    }

    /// How many events are waiting.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Takes the event that has waited longest. Sequencer only.
    pub fn take(&self) -> Option<Submission> {
        self.queue.pop()
    }

    /// Says which thread to wake; the sequencer's calls it before it first looks at the queue.
    pub fn set_consumer(&self) {
        // A second sequencer would be a defect of `node`; the first stays.
        let _ = self.sequencer.set(std::thread::current());
    }

    /// Takes no more events. What was taken before is still in the queue for the sequencer.
    ///
    /// A push counts itself in `pushing`, then looks at `closed`; [`Self::is_finished`] reads them
    /// the other way round. In the one order of SeqCst, a push that did not see `closed` had
    /// counted itself before `closed` was set, so whoever sees `closed` and then `pushing` at zero
    /// sees its event in the queue.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.wake();
    }

    /// Wakes the sequencer's thread.
    pub fn wake(&self) {
        if let Some(sequencer) = self.sequencer.get() {
            sequencer.unpark();
        }
    }

    /// Whether it takes no more events.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Whether no event is waiting and none will come.
    pub fn is_finished(&self) -> bool {
        self.is_closed() && self.pushing.load(Ordering::SeqCst) == 0 && self.queue.is_empty()
    }
}

impl ByteReservation {
    /// Takes more of the budget for the same body.
    pub fn extend(&mut self, bytes: u64) -> Result<(), QueueFull> {
        let mut more = self.queue.reserve(bytes)?;
        self.bytes += std::mem::take(&mut more.bytes);
        Ok(())
    }
}

impl Drop for ByteReservation {
    fn drop(&mut self) {
        // Ordering: Relaxed: a budget, see the module's table.
        self.queue.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Submission {
    /// Ends the submission: the bytes go back to the budget, the publisher has its answer.
    pub fn acknowledge(self, seq: Seq) {
        drop(self.reservation);
        // The publisher may have gone; its event is published all the same.
        let _ = self.ack.send(seq);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Topic;

    fn publication() -> Publication {
        let topics = [Topic::new("a").unwrap()].into();
        Publication { topics, data: String::new(), id: None, event_type: None, retry: None }
    }

    #[test]
    fn one_event_too_many_is_told_at_once_and_its_bytes_come_back() {
        let queue = Arc::new(Queue::new(1, 100));
        let mut ack = queue.submit(publication(), queue.reserve(60).unwrap()).unwrap();
        let full = queue.submit(publication(), queue.reserve(40).unwrap());
        assert_eq!(full.err(), Some(QueueFull::Events(1)));
        assert_eq!(queue.reserve(41).err(), Some(QueueFull::Bytes(100)));
        queue.take().unwrap().acknowledge(Seq(3));
        assert_eq!(ack.try_recv(), Ok(Seq(3)));
        assert!(queue.reserve(100).is_ok());
    }

    #[test]
    fn a_permit_grows_within_the_budget() {
        let queue = Arc::new(Queue::new(1, 100));
        let mut reservation = queue.reserve(10).unwrap();
        reservation.extend(90).unwrap();
        assert_eq!(reservation.extend(1), Err(QueueFull::Bytes(100)));
        drop(reservation);
        assert!(queue.reserve(100).is_ok());
    }

    #[test]
    fn a_closed_ingest_is_finished_when_the_last_event_is_taken() {
        let queue = Arc::new(Queue::new(2, 100));
        let _place = queue.submit(publication(), queue.reserve(1).unwrap()).unwrap();
        queue.close();
        assert_eq!(
            queue.submit(publication(), queue.reserve(1).unwrap()).err(),
            Some(QueueFull::Closed)
        );
        assert!(!queue.is_finished());
        queue.take().unwrap();
        assert!(queue.is_finished());
    }
}
