//! A number of things there may be at once: connections, streams.
//!
//! # Ordering
//!
//! | word | writer | readers | what becomes visible | model |
//! |---|---|---|---|---|
//! | `used` | shards, Relaxed read-modify-write | shards, admin | nothing but the number | none: a count |

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A bound on how many there may be at once, over all shards.
#[derive(Debug)]
pub struct Quota {
    used: AtomicUsize,
    max: usize,
}

/// One of them; given back when dropped.
#[derive(Debug)]
pub struct Permit(Arc<Quota>);

impl Quota {
    /// At most `max` at once.
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), max })
    }

    /// Takes one, if there is one left.
    pub fn take(self: &Arc<Self>) -> Option<Permit> {
        // Ordering: Relaxed: a count, see the table.
        let one_more = |used| (used < self.max).then_some(used + 1);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(Permit(Arc::clone(self)))
    }

    /// How many are taken.
    pub fn used(&self) -> usize {
        // Ordering: Relaxed: a count, see the table.
        self.used.load(Ordering::Relaxed)
    }

    /// How many there may be.
    pub fn max(&self) -> usize {
        self.max
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        // Ordering: Relaxed: a count, see the table.
        self.0.used.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_too_many_is_refused_until_one_is_given_back() {
        let quota = Quota::new(2);
        let first = quota.take().unwrap();
        let _second = quota.take().unwrap();
        assert!(quota.take().is_none());
        assert_eq!(quota.used(), 2);
        drop(first);
        assert!(quota.take().is_some());
    }
}
