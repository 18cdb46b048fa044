//! Non-blocking counting semaphore: bounds how many units of a resource are in use at once, over
//! all shards.
//!
//! The one bounded counter of the node: connections, streams, rings, subscriptions, bytes of
//! publish bodies, and bytes that blocked streams have yet to send. A request over the bound is
//! refused at once; nobody waits.
//!
//! Buffers that several shards keep alive count once: [`BufferQuota`] has a lock, which is held for
//! one look into a hash table.
//!
//! # Ordering
//!
//! | word | writer | readers | what becomes visible | model |
//! |---|---|---|---|---|
//! | `used` | any thread, Relaxed RMW | any thread | the number only | none: a count |
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A bound on a number of units.
#[derive(Debug)]
pub(crate) struct Quota {
    used: AtomicUsize,
    max: usize,
}

/// One unit of a [`Quota`]; released when dropped.
#[derive(Debug)]
pub(crate) struct Permit(Arc<Quota>);

impl Quota {
    /// At most `max` units.
    pub(crate) fn new(max: usize) -> Self {
        Self { used: AtomicUsize::new(0), max }
    }

    /// Takes one unit for as long as the permit lives.
    pub(crate) fn try_permit(self: &Arc<Self>) -> Option<Permit> {
        self.try_acquire(1).then(|| Permit(Arc::clone(self)))
    }

    /// Takes `units`; false if fewer are left. The caller releases them.
    pub(crate) fn try_acquire(&self, units: usize) -> bool {
        let add = |used: usize| used.checked_add(units).filter(|&used| used <= self.max);
        // Ordering: Relaxed: a count, see the table.
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok()
    }

    /// Returns units taken by [`try_acquire`](Self::try_acquire).
    pub(crate) fn release(&self, units: usize) {
        // Ordering: Relaxed: a count, see the table.
        self.used.fetch_sub(units, Ordering::Relaxed);
    }

    /// Units in use.
    pub(crate) fn used(&self) -> usize {
        // Ordering: Relaxed: a count, see the table.
        self.used.load(Ordering::Relaxed)
    }

    /// The bound.
    pub(crate) fn max(&self) -> usize {
        self.max
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.release(1);
    }
}

/// A quota of bytes in which a buffer counts once, however many holders keep it alive.
#[derive(Debug)]
pub(crate) struct BufferQuota {
    quota: Quota,
    /// How many holders keep each buffer, by address.
    holders: Mutex<HashMap<usize, usize>>,
}

impl BufferQuota {
    /// At most `max` bytes.
    pub(crate) fn new(max: usize) -> Self {
        Self { quota: Quota::new(max), holders: Mutex::default() }
    }

    /// The bound.
    pub(crate) fn max(&self) -> usize {
        self.quota.max()
    }

    /// Bytes in use.
    pub(crate) fn used(&self) -> usize {
        self.quota.used()
    }

    /// Takes bytes that are no buffer's; false if fewer are left. The caller releases them.
    pub(crate) fn try_acquire(&self, bytes: usize) -> bool {
        self.quota.try_acquire(bytes)
    }

    /// Takes bytes even if fewer are left.
    pub(crate) fn overdraw(&self, bytes: usize) {
        // Ordering: Relaxed: a count, see the table.
        self.quota.used.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Returns bytes taken by [`try_acquire`](Self::try_acquire) or [`overdraw`](Self::overdraw).
    pub(crate) fn release(&self, bytes: usize) {
        self.quota.release(bytes);
    }

    /// Counts one more holder of a buffer. The first one has to `acquire` the buffer's bytes.
    /// Returns whether it did, and `None` if it couldn't.
    pub(crate) fn keep(&self, buffer: usize, acquire: impl FnOnce() -> bool) -> Option<bool> {
        match self.holders().entry(buffer) {
            Entry::Occupied(mut holders) => {
                *holders.get_mut() += 1;
                Some(false)
            }
            Entry::Vacant(entry) => acquire().then(|| {
                entry.insert(1);
                true
            }),
        }
    }

    /// Counts one holder less; the last one to leave releases the buffer's `bytes`.
    pub(crate) fn give_up(&self, buffer: usize, bytes: usize) {
        let mut all = self.holders();
        let Entry::Occupied(mut holders) = all.entry(buffer) else { return };
        *holders.get_mut() -= 1;
        if *holders.get() == 0 {
            holders.remove();
            self.quota.release(bytes);
        }
    }

    /// How many buffers are kept.
    #[cfg(test)]
    pub(crate) fn buffers(&self) -> usize {
        self.holders().len()
    }

    fn holders(&self) -> MutexGuard<'_, HashMap<usize, usize>> {
        // The map is whole at any time.
        self.holders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_over_the_bound_is_refused_until_one_is_released() {
        let quota = Arc::new(Quota::new(2));
        let first = quota.try_permit().unwrap();
        let _second = quota.try_permit().unwrap();
        assert!(quota.try_permit().is_none());
        assert_eq!(quota.used(), 2);
        drop(first);
        assert!(quota.try_permit().is_some());
    }

    #[test]
    fn units_that_overflow_the_counter_are_refused() {
        let quota = Quota::new(usize::MAX);
        assert!(quota.try_acquire(1));
        assert!(!quota.try_acquire(usize::MAX));
        quota.release(1);
        assert!(quota.try_acquire(usize::MAX));
    }
}
