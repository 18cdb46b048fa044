//! A bounded multi-producer queue that can be closed without losing an item, and whose consumer
//! parks.
//!
//! Producers push on any thread. One thread at a time pops, under the sequencer's lock. The
//! consumer thread parks when it finds nothing; `unpark` keeps its token if that thread is not
//! parked yet, so a wake-up is never lost.
//!
//! # Closing
//!
//! A push counts itself in `pushing`, then reads `closed`; [`is_finished`] reads `closed`, then
//! `pushing`. A fence stands between the two steps on both sides (store buffering), so of a push
//! and a check that race, at least one sees the other: either the push sees `closed` and returns
//! its item, or the check sees the push under way, or finds its item in the queue.
//!
//! # Ordering
//!
//! | word | writer | readers | what becomes visible | model |
//! |---|---|---|---|---|
//! | `pushing` | producers, AcqRel | consumer, Acquire | pushes counted out: their items | `closing_loses_no_item` |
//! | `closed` | whoever closes, Release | producers, consumer, Acquire | see above | the same |
//!
//! [`is_finished`]: ClosableQueue::is_finished

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
        // Ordering: AcqRel here and Release below order the push against `is_finished`, which
        // reads this count; the fence orders this store before the load of `closed`. Pairs with
        // the fence in `is_finished`. Model: closing_loses_no_item.
        self.pushing.fetch_add(1, Ordering::AcqRel);
        fence(Ordering::SeqCst);
        let pushed = if self.is_closed() {
            Err(PushError::Closed)
        } else {
            self.items.push(item).map_err(|_| PushError::Full)
        };
        // Ordering: Release (as AcqRel): who sees the push counted out sees its item. Pairs with
        // Acquire in `is_finished`. Model: closing_loses_no_item.
        self.pushing.fetch_sub(1, Ordering::AcqRel);
        if pushed.is_err() {
            // The consumer may have seen this push under way and parked.
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
        // Ordering: Release: pairs with Acquire in `is_closed`. What it must be ordered against is
        // up to the fences, see the module. Model: closing_loses_no_item.
        self.closed.store(true, Ordering::Release);
        self.wake();
    }

    pub(super) fn is_closed(&self) -> bool {
        // Ordering: Acquire: pairs with Release in `close`. Model: closing_loses_no_item.
        self.closed.load(Ordering::Acquire)
    }

    /// Whether the queue is closed and empty, and no push is under way.
    pub(super) fn is_finished(&self) -> bool {
        if !self.is_closed() {
            return false;
        }
        // Ordering: SeqCst fence: orders the load of `closed` before that of `pushing`. Pairs with
        // the fence in `push`. Model: closing_loses_no_item.
        fence(Ordering::SeqCst);
        // Ordering: Acquire: a push that is counted out has its item in the queue. Pairs with the
        // second step of `push`. Model: closing_loses_no_item.
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
