//! Flat combining: the sequencer runs on its own thread or, if nobody runs it, on the shard that
//! has just accepted an event.
//!
//! A publish that wakes a thread, waits for it and is woken by it costs two context switches, and
//! on busy cores each of them waits for a processor: fifty events published one after the other on
//! one connection took 25 to 60 ms while their streams were being written to, and each stream was
//! sent to several times. So a shard that finds the sequencer's lock free runs the batch itself,
//! with whatever else is waiting (flat combining: Hendler, Incze, Shavit and Tzafrir, SPAA 2010).
//! The thread runs the other batches: events that were pushed while the lock was held, many events
//! at once, and eviction by age.
//!
//! # No lost wake-ups
//!
//! An event is in the queue before its shard tries the lock. A shard that does not run a batch
//! wakes the thread; one that has run a batch wakes it if events are left. So every event is either
//! taken by a batch, or the thread is woken after the event was pushed. The thread parks only after
//! a batch that found nothing, and a wake-up since then makes its park return at once. Model:
//! `every_item_is_run_once`.
//!
//! # What a shard pays
//!
//! The shard's streams wait while it runs a batch. It runs one only if few events wait
//! ([`COMBINED_MAX`]), the lock is free and nobody reads the log: a lock holder may be preempted,
//! so a shard does not wait for one. It leaves an event of many topics or bytes, and what follows
//! it, to the thread. Two short waits remain: for a shard that changes its
//! subscriptions in the same stripe of the registry, and for a producer between two steps of a
//! push.
#![forbid(unsafe_code)]

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::closable_queue::ClosableQueue;
use crate::sync::{Mutex, yield_now};

/// A shard runs a batch if no more events than this wait. With more, publishing is busy, and the
/// sequencer's thread makes larger batches of them.
pub(super) const COMBINED_MAX: usize = 8;

/// What a [`Combiner`] runs, one thread at a time.
pub trait BatchRunner {
    /// What the queue holds.
    type Item;
    /// Runs one batch; false if nothing was waiting.
    fn run_batch(&mut self) -> bool;
    /// Runs one batch that takes a shard little time. False if that would wait for another thread,
    /// or if it leaves an item it has popped to the thread's next batch.
    fn try_run_batch(&mut self) -> bool;
    /// Evicts what is too old, within a bound; true if more is left.
    fn evict_expired(&mut self) -> bool;
    /// Drops the events of a batch that panicked and the one left to the thread; their publishers
    /// receive an error.
    fn fail_pending(&mut self);
}

/// What the sequencer's thread does next.
enum Step {
    /// Another step: there may be more to do.
    Worked,
    /// Wait.
    Idle,
    /// End.
    Finished,
}

/// A queue and the one [`BatchRunner`] that empties it, under a lock.
pub struct Combiner<R: BatchRunner> {
    queue: Arc<ClosableQueue<R::Item>>,
    runner: Mutex<R>,
    evict_interval: Duration,
}

impl<R: BatchRunner> Combiner<R> {
    /// Creates a combiner; [`run`](Self::run) is the body of its thread, which evicts at least once
    /// per `evict_interval`.
    pub(super) fn with_runner(
        queue: Arc<ClosableQueue<R::Item>>,
        runner: R,
        evict_interval: Duration,
    ) -> Self {
        Self { queue, runner: Mutex::new(runner), evict_interval }
    }

    pub(super) fn queue(&self) -> &ClosableQueue<R::Item> {
        &self.queue
    }

    /// The runner; waits for whoever runs a batch.
    #[cfg(all(test, not(ring_loom)))]
    pub(super) fn lock(&self) -> std::sync::MutexGuard<'_, R> {
        self.runner.lock().expect("no batch has panicked")
    }

    /// Called after a push: runs a batch here if the lock is free, else wakes the thread.
    pub(super) fn run_or_wake(&self) {
        if !self.try_run_batch() || self.queue.needs_consumer() {
            self.queue.wake();
        }
    }

    /// Runs a batch if that waits for nobody; false if the thread has to run one.
    fn try_run_batch(&self) -> bool {
        if self.queue.len() > COMBINED_MAX {
            return false;
        }
        let _wake_on_panic = WakeOnPanic(&self.queue);
        let Ok(mut runner) = self.runner.try_lock() else { return false };
        runner.try_run_batch()
    }

    /// One step of the thread; true if there may be more to do.
    #[cfg(all(test, not(ring_loom)))]
    pub(crate) fn run_once(&self) -> bool {
        matches!(self.step(), Step::Worked)
    }

    /// Runs batches until the queue is closed and empty: the body of the sequencer's thread.
    ///
    /// # Panics
    ///
    /// If a batch panicked, on this thread or on a shard. The queue is closed then.
    pub fn run(&self) {
        let _close_on_drop = CloseOnDrop(self);
        self.queue.set_consumer();
        loop {
            match self.step() {
                Step::Worked => {}
                Step::Finished => return,
                // Returns at once if an event was pushed since the batch: the wake-up is kept.
                Step::Idle => self.queue.park(self.evict_interval),
            }
        }
    }

    /// Runs a batch or, if nothing waits, evicts what is too old.
    fn step(&self) -> Step {
        let mut runner = self.runner.lock().expect("no batch has panicked");
        if runner.run_batch() || runner.evict_expired() {
            return Step::Worked;
        }
        // Under the lock: a shard that has it could have popped the last event and leave it to this
        // thread. Model: an_item_left_to_the_thread_is_run.
        if self.queue.is_finished() { Step::Finished } else { Step::Idle }
    }
}

/// Wakes the sequencer's thread if a batch panics on a shard: the thread finds the lock poisoned
/// and closes the queue.
struct WakeOnPanic<'a, T>(&'a ClosableQueue<T>);

impl<T> Drop for WakeOnPanic<'_, T> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.wake();
        }
    }
}

/// Closes the queue when the sequencer's thread ends, however it ends. After a panic, publishers
/// are refused at once, those that wait receive an error, and `/healthz` answers `failed`.
struct CloseOnDrop<'a, R: BatchRunner>(&'a Combiner<R>);

impl<R: BatchRunner> Drop for CloseOnDrop<'_, R> {
    fn drop(&mut self) {
        let Combiner { queue, runner, .. } = self.0;
        queue.close();
        while !queue.is_finished() {
            match queue.pop() {
                Some(item) => drop(item),
                // A push is under way, which takes a few instructions more.
                None => yield_now(),
            }
        }
        // What a batch that panicked had taken.
        runner.lock().unwrap_or_else(PoisonError::into_inner).fail_pending();
    }
}
