//! Non-blocking counting semaphore: bounds how many units of a resource are in use at once, over
//! all shards.
//!
//! The one bounded counter of the node: connections, streams, rings, subscriptions, bytes of
//! publish bodies, and bytes that blocked streams have yet to send. A request over the bound is
//! refused at once; nobody waits.
//!
//! # Ordering
//!
//! | word | writer | readers | what becomes visible | model |
//! |---|---|---|---|---|
//! | `used` | any thread, Relaxed RMW | any thread | the number only | none: a count |
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

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
