//! Striped hash map: 256 independent hash tables, each of which resizes by itself.
//!
//! A single hash table moves all its entries when it grows. With a million topics that pauses the
//! sequencer and every reader for tens of milliseconds; moving 1/256 of the entries at a time is
//! not noticeable. The stripes share one lock with the rest of the history: they spread the cost of
//! resizing, not contention.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash};

use crate::event::TopicHasher;

pub(super) const STRIPES: usize = 256;

/// A stripe of this capacity or less isn't shrunk.
const SHRINK_ABOVE: usize = 32;

/// One stripe; its keys hash as a single `u64`.
pub(super) type Stripe<K, V> = HashMap<K, V, BuildHasherDefault<TopicHasher>>;

/// The caller passes the key's hash, which the key carries or is.
pub(super) struct StripedMap<K, V>(Box<[Stripe<K, V>]>);

impl<K, V> Default for StripedMap<K, V> {
    fn default() -> Self {
        Self((0..STRIPES).map(|_| Stripe::default()).collect())
    }
}

impl<K: Eq + Hash, V> StripedMap<K, V> {
    pub(super) fn stripe(&self, hash: u64) -> &Stripe<K, V> {
        &self.0[stripe_of(hash)]
    }

    pub(super) fn stripe_mut(&mut self, hash: u64) -> &mut Stripe<K, V> {
        &mut self.0[stripe_of(hash)]
    }

    /// Removes an entry; shrinks the stripe if it is less than a quarter full.
    pub(super) fn remove(&mut self, hash: u64, key: &K) -> Option<V> {
        let stripe = self.stripe_mut(hash);
        let removed = stripe.remove(key);
        if stripe.capacity() > SHRINK_ABOVE && stripe.len() < stripe.capacity() / 4 {
            stripe.shrink_to(stripe.len() * 2);
        }
        removed
    }
}

/// The index of a hash's stripe. Uses bits that the stripe's own table doesn't: hashbrown takes the
/// lowest bits for the bucket and the highest seven for the tag.
pub(super) fn stripe_of(hash: u64) -> usize {
    (hash >> 40) as usize % STRIPES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stripe_that_is_nearly_empty_shrinks() {
        let mut map = StripedMap::<u64, ()>::default();
        for key in 0..10_000 {
            map.stripe_mut(key).insert(key, ());
        }
        assert!(map.stripe(0).capacity() >= 10_000, "small keys share the first stripe");
        for key in 0..9_990 {
            assert!(map.remove(key, &key).is_some());
        }
        assert!(map.stripe(0).capacity() <= SHRINK_ABOVE * 2, "{}", map.stripe(0).capacity());
        assert!((9_990..10_000).all(|key| map.stripe(key).contains_key(&key)));
    }
}
