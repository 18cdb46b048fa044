//! The bounded queue between publishers and the sequencer, and the byte budget of publish bodies.
//!
//! Shards push; whoever runs the sequencer pops. A full queue or a spent budget is reported at once
//! ([`QueueFull`]); nobody waits for room. How the queue closes without losing an event:
//! [`closable_queue`](super::closable_queue).
#![forbid(unsafe_code)]

use std::sync::Arc;

use tokio::sync::oneshot;

use super::closable_queue::{ClosableQueue, PushError};
use crate::event::{Publication, Seq};
use crate::quota::Quota;

/// An event in the queue, with its share of the byte budget.
pub struct Submission {
    pub(super) publication: Publication,
    /// Receives the event's seq once log and rings have the event.
    ack: oneshot::Sender<Seq>,
    reservation: ByteReservation,
}

/// Why an event is not accepted now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueueFull {
    /// `FANFARE_QUEUE_EVENTS` events are waiting.
    #[error("the queue is full ({0} events, FANFARE_QUEUE_EVENTS); publish again later")]
    Events(usize),
    /// The body does not fit into `FANFARE_QUEUE_BYTES` beside those being read or waiting.
    #[error(
        "no room for this body: publish bodies may take up {0} bytes in total \
         (FANFARE_QUEUE_BYTES); publish again later"
    )]
    Bytes(usize),
    /// The node has stopped accepting events.
    #[error("this node has failed and accepts no more events; publish to another node")]
    Closed,
}

/// A handle to the node's queue; clones share it.
#[derive(Clone)]
pub struct Queue {
    submissions: Arc<ClosableQueue<Submission>>,
    bytes: Arc<Quota>,
}

/// Bytes of the budget; released when dropped.
pub struct ByteReservation {
    budget: Arc<Quota>,
    bytes: usize,
}

impl Queue {
    /// Room for `events_max` events and `bytes_max` bytes of bodies.
    pub fn new(events_max: usize, bytes_max: u64) -> Self {
        let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        Self {
            submissions: Arc::new(ClosableQueue::new(events_max)),
            bytes: Arc::new(Quota::new(bytes_max)),
        }
    }

    /// Reserves `bytes` of the budget for a body about to be read.
    ///
    /// # Errors
    ///
    /// [`QueueFull::Bytes`] if fewer are left.
    pub fn reserve(&self, bytes: usize) -> Result<ByteReservation, QueueFull> {
        let mut reservation = ByteReservation { budget: Arc::clone(&self.bytes), bytes: 0 };
        reservation.extend(bytes)?;
        Ok(reservation)
    }

    /// Pushes an event without running a batch; [`Combiner::submit`](super::Combiner::submit) does
    /// both. The receiver yields the event's seq once log and rings have the event.
    ///
    /// # Errors
    ///
    /// [`QueueFull::Events`] or [`QueueFull::Closed`]; the event is dropped.
    pub fn submit(
        &self,
        publication: Publication,
        reservation: ByteReservation,
    ) -> Result<oneshot::Receiver<Seq>, QueueFull> {
        push(&self.submissions, publication, reservation)
    }

    /// Events in the queue.
    pub fn waiting(&self) -> usize {
        self.submissions.len()
    }

    /// Pops the event that has waited longest. Sequencer only.
    pub(super) fn pop(&self) -> Option<Submission> {
        self.submissions.pop()
    }

    /// The queue as the combiner uses it.
    pub(super) fn submissions(&self) -> Arc<ClosableQueue<Submission>> {
        Arc::clone(&self.submissions)
    }

    /// Wakes the sequencer's thread.
    pub fn wake(&self) {
        self.submissions.wake();
    }

    /// Refuses every later event. Events accepted before stay in the queue for the sequencer.
    pub fn close(&self) {
        self.submissions.close();
    }

    /// Whether events are refused because the queue was closed.
    pub fn is_closed(&self) -> bool {
        self.submissions.is_closed()
    }
}

/// Pushes an event; see [`Queue::submit`].
pub(super) fn push(
    submissions: &ClosableQueue<Submission>,
    publication: Publication,
    reservation: ByteReservation,
) -> Result<oneshot::Receiver<Seq>, QueueFull> {
    let (ack, acked) = oneshot::channel();
    match submissions.push(Submission { publication, ack, reservation }) {
        Ok(()) => Ok(acked),
        Err(PushError::Full) => Err(QueueFull::Events(submissions.capacity())),
        Err(PushError::Closed) => Err(QueueFull::Closed),
    }
}

impl ByteReservation {
    /// Reserves more of the budget for the same body.
    ///
    /// # Errors
    ///
    /// [`QueueFull::Bytes`] if fewer are left; what was reserved before stays reserved.
    pub fn extend(&mut self, bytes: usize) -> Result<(), QueueFull> {
        if !self.budget.try_acquire(bytes) {
            return Err(QueueFull::Bytes(self.budget.max()));
        }
        self.bytes += bytes;
        Ok(())
    }

    /// Returns what is reserved beyond `bytes`.
    pub fn shrink_to(&mut self, bytes: usize) {
        let excess = self.bytes.saturating_sub(bytes);
        self.budget.release(excess);
        self.bytes -= excess;
    }
}

impl Drop for ByteReservation {
    fn drop(&mut self) {
        self.budget.release(self.bytes);
    }
}

impl Submission {
    /// Releases the bytes and answers the publisher.
    pub(super) fn acknowledge(self, seq: Seq) {
        drop(self.reservation);
        // The publisher may have disconnected; its event is published all the same.
        let _ = self.ack.send(seq);
    }
}

#[cfg(all(test, not(ring_loom)))]
mod tests {
    use super::*;
    use crate::event::Topic;

    fn publication() -> Publication {
        let topics = [Topic::new("a").unwrap()].into();
        Publication { topics, data: String::new(), id: None, event_type: None, retry: None }
    }

    #[test]
    fn an_event_over_the_bound_is_refused_and_its_bytes_are_released() {
        let queue = Queue::new(1, 100);
        let mut ack = queue.submit(publication(), queue.reserve(60).unwrap()).unwrap();
        let full = queue.submit(publication(), queue.reserve(40).unwrap());
        assert_eq!(full.err(), Some(QueueFull::Events(1)));
        assert_eq!(queue.reserve(41).err(), Some(QueueFull::Bytes(100)));
        queue.pop().unwrap().acknowledge(Seq(3));
        assert_eq!(ack.try_recv(), Ok(Seq(3)));
        assert!(queue.reserve(100).is_ok());
    }

    #[test]
    fn a_reservation_grows_within_the_budget() {
        let queue = Queue::new(1, 100);
        let mut reservation = queue.reserve(10).unwrap();
        reservation.extend(90).unwrap();
        assert_eq!(reservation.extend(1), Err(QueueFull::Bytes(100)));
        drop(reservation);
        assert!(queue.reserve(100).is_ok());
    }

    #[test]
    fn a_closed_queue_is_finished_when_its_last_event_is_taken() {
        let queue = Queue::new(2, 100);
        let _ack = queue.submit(publication(), queue.reserve(1).unwrap()).unwrap();
        queue.close();
        assert_eq!(
            queue.submit(publication(), queue.reserve(1).unwrap()).err(),
            Some(QueueFull::Closed)
        );
        assert!(!queue.submissions.is_finished());
        queue.pop().unwrap();
        assert!(queue.submissions.is_finished());
    }
}
