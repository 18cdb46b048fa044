//! A bounded multi-producer queue that can be closed without losing an item, and whose consumer
//! parks.
//!
//! Producers push on any thread. One thread at a time pops, under the sequencer's lock. The
//! consumer thread parks when it finds nothing; `unpark` keeps its token if that thread is not
//! parked yet, so a wake-up is never lost.
//!
//! # Closing
//!
//! A push counts itself in `pushing`, then reads `closed`. [`is_finished`] reads `closed`, then
//! `pushing` and the items. Each side has a SeqCst fence between its two steps (store buffering),
//! so at least one of two that race sees the other. If the push sees `closed`, it returns its item
//! and wakes the consumer. If `is_finished` sees the push, either under way or by its item, the
//! queue is not finished. [`needs_consumer`] has the same fence, for a producer that has emptied
//! the queue itself: either it sees `closed`, or `is_finished` sees the queue empty.
//!
//! # Ordering
//!
//! | word | writer | readers | what becomes visible |
//! |---|---|---|---|
//! | `pushing` | producers, Release when a push ends | consumer, Acquire | the item of that push |
//! | `closed` | whoever closes, Release | producers, consumer, Acquire | nothing else |
//!
//! Models of the fences: `closing_loses_no_item`, `closing_ends_the_run`. The Release and Acquire
//! of the two words hold by argument: the models' stand-in queue synchronises as well.
//!
//! [`is_finished`]: ClosableQueue::is_finished
//! [`needs_consumer`]: ClosableQueue::needs_consumer
#![forbid(unsafe_code)]

use std::time::Duration;

use crate::sync::{
    ArrayQueue, AtomicBool, AtomicUsize, OnceLock, Ordering, Thread, current, fence, park_timeout,
};

pub(super) struct ClosableQueue<T> {
    items: ArrayQueue<T>,
    /// Pushes under way.
    pushing: AtomicUsize,
    closed: AtomicBool,
    consumer: OnceLock<Thread>,
}

/// Why an item was not pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PushError {
    Full,
    Closed,
}

impl<T> ClosableQueue<T> {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            items: ArrayQueue::new(capacity),
            pushing: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            consumer: OnceLock::new(),
        }
    }

    /// Adds an item, without waiting. Does not wake the consumer.
    pub(super) fn push(&self, item: T) -> Result<(), PushError> {
        // Ordering: Relaxed: the fence orders it before the load of `closed`. Pairs with the fence
        // in `is_finished`. Model: closing_loses_no_item.
        self.pushing.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let pushed = if self.is_closed() {
            Err(PushError::Closed)
        } else {
            self.items.push(item).map_err(|_| PushError::Full)
        };
        // Ordering: Release: whoever sees the push ended sees its item. Pairs with Acquire in
        // `is_finished`. By argument, see the module.
        self.pushing.fetch_sub(1, Ordering::Release);
        if pushed.is_err() {
            // The consumer may have seen this push under way and parked. Model:
            // closing_ends_the_run.
            self.wake();
        }
        pushed
    }

    /// Removes the item that has waited longest.
    pub(super) fn pop(&self) -> Option<T> {
        self.items.pop()
    }

    /// Items in the queue.
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn capacity(&self) -> usize {
        self.items.capacity()
    }

    /// Makes the calling thread the one that [`wake`](Self::wake) unparks. It must call this
    /// before it first looks at the queue.
    pub(super) fn set_consumer(&self) {
        // A second consumer would be a defect of `node`; the first one stays.
        let _ = self.consumer.set(current());
    }

    /// Unparks the consumer, or lets its next [`park`](Self::park) return at once.
    pub(super) fn wake(&self) {
        if let Some(consumer) = self.consumer.get() {
            consumer.unpark();
        }
    }

    /// Parks the consumer until [`wake`](Self::wake) or for `timeout`.
    pub(super) fn park(&self, timeout: Duration) {
        park_timeout(timeout);
    }

    /// Refuses every later push. Items pushed before stay in the queue.
    pub(super) fn close(&self) {
        // Ordering: Release: pairs with Acquire in `is_closed`. By argument, see the module.
        self.closed.store(true, Ordering::Release);
        self.wake();
    }

    pub(super) fn is_closed(&self) -> bool {
        // Ordering: Acquire: pairs with Release in `close`. By argument, see the module.
        self.closed.load(Ordering::Acquire)
    }

    /// For a producer that has just run a batch itself: whether it must still wake the consumer.
    /// True if items are left, or if the queue was closed meanwhile, since the consumer may have
    /// parked when it saw the items that the producer has taken.
    pub(super) fn needs_consumer(&self) -> bool {
        if !self.items.is_empty() {
            return true;
        }
        // Ordering: SeqCst: what this thread popped before the load of `closed`. Pairs with the
        // fence in `is_finished`. Model: closing_ends_the_run.
        fence(Ordering::SeqCst);
        self.is_closed()
    }

    /// Whether the queue is closed and empty, and no push is under way.
    pub(super) fn is_finished(&self) -> bool {
        if !self.is_closed() {
            return false;
        }
        // Ordering: SeqCst: the load of `closed` before those of `pushing` and the items. Pairs
        // with the fences in `push` and `needs_consumer`. Model: closing_loses_no_item.
        fence(Ordering::SeqCst);
        // Ordering: Acquire: a push that has ended has its item in the queue, so the items are read
        // after this. Pairs with Release in `push`. By argument, see the module.
        self.pushing.load(Ordering::Acquire) == 0 && self.items.is_empty()
    }
}

#[cfg(all(test, not(ring_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_refuses_until_an_item_is_popped() {
        let queue = ClosableQueue::new(2);
        assert_eq!((queue.push(1), queue.push(2)), (Ok(()), Ok(())));
        assert_eq!(queue.push(3), Err(PushError::Full));
        assert_eq!(queue.pop(), Some(1));
        assert_eq!(queue.push(4), Ok(()));
    }

    #[test]
    fn a_closed_queue_keeps_its_items_and_refuses_new_ones() {
        let queue = ClosableQueue::new(2);
        assert_eq!(queue.push(1), Ok(()));
        queue.close();
        assert_eq!(queue.push(2), Err(PushError::Closed));
        assert!(!queue.is_finished());
        assert_eq!(queue.pop(), Some(1));
        assert!(queue.is_finished());
    }
}
