//! Wake-ups for readers that found the log's lock taken by the writer.
//!
//! A shard must not wait for a lock whose holder may be preempted. A reader that finds the lock
//! taken registers its shard's waker and tries once more; if that fails too, it comes back when it
//! is woken. The writer wakes all of them after it has released the lock.
//!
//! # Ordering
//!
//! | word | writers | readers | what becomes visible |
//! |---|---|---|---|
//! | `waiting` | readers, writer: Relaxed, in the list's lock | writer | nothing: fences order it |
//!
//! Store-then-load on both sides: a reader sets `waiting`, then tries the lock again; the writer
//! releases the lock, then reads `waiting`. Each has a SeqCst fence between the two, so a reader
//! that still finds the lock taken is seen by the writer that holds it. Model:
//! `a_reader_that_comes_back_is_woken`.

use std::sync::PoisonError;
use std::task::Waker;

use crate::sync::{AtomicBool, Mutex, Ordering, fence};

/// The shards whose readers come back.
pub(super) struct Waiters {
    waiting: AtomicBool,
    /// Each shard once.
    wakers: Mutex<Vec<Waker>>,
}

impl Waiters {
    pub(super) fn new() -> Self {
        Self { waiting: AtomicBool::new(false), wakers: Mutex::new(Vec::new()) }
    }

    /// Calls `attempt`, and once more after `waker` is registered; `None` if both fail because the
    /// lock is taken. The waker is then woken when it is released.
    pub(super) fn attempt<R>(
        &self,
        waker: &Waker,
        mut attempt: impl FnMut() -> Option<R>,
    ) -> Option<R> {
        attempt().or_else(|| {
            self.register(waker);
            attempt()
        })
    }

    fn register(&self, waker: &Waker) {
        let mut wakers = self.wakers.lock().unwrap_or_else(PoisonError::into_inner);
        if !wakers.iter().any(|known| known.will_wake(waker)) {
            wakers.push(waker.clone());
        }
        // Ordering: Relaxed: the fence orders it before the next attempt to take the log's lock.
        // Pairs with the load in `wake_all`. Model: a_reader_that_comes_back_is_woken.
        self.waiting.store(true, Ordering::Relaxed);
        drop(wakers);
        fence(Ordering::SeqCst);
    }

    /// Wakes the readers that have found the lock taken. The writer calls it after it has released
    /// the lock.
    pub(super) fn wake_all(&self) {
        // Ordering: SeqCst: the release of the log's lock before the load of `waiting`. Pairs with
        // the fence in `register`. Model: a_reader_that_comes_back_is_woken.
        fence(Ordering::SeqCst);
        // Ordering: Relaxed: the fence orders it. Model: the same.
        if !self.waiting.load(Ordering::Relaxed) {
            return;
        }
        let mut wakers = self.wakers.lock().unwrap_or_else(PoisonError::into_inner);
        // Ordering: Relaxed: under the list's lock, as the store in `register`.
        self.waiting.store(false, Ordering::Relaxed);
        let woken = std::mem::take(&mut *wakers);
        drop(wakers);
        woken.into_iter().for_each(Waker::wake);
    }
}
