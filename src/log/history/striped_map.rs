//! A hash map in parts.
//!
//! A hash map grows by moving everything it has. With a million topics that is a pause of tens of
//! milliseconds for the sequencer and for every reader; each of 256 parts moves by itself, and
//! 1/256 at a time is too little to notice.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash};

use crate::event::TopicHasher;

const PARTS: usize = 256;

/// Below this capacity a part isn't worth shrinking.
const SHRINK_FROM: usize = 32;

/// One part; its keys hash themselves as one `u64`.
pub(super) type Part<K, V> = HashMap<K, V, BuildHasherDefault<TopicHasher>>;

/// A map whose keys carry, or are, a hash.
pub(super) struct StripedMap<K, V>(Box<[Part<K, V>]>);

impl<K, V> Default for StripedMap<K, V> {
    fn default() -> Self {
        Self((0..PARTS).map(|_| Part::default()).collect())
    }
}

impl<K: Eq + Hash, V> StripedMap<K, V> {
    /// The part for keys with this hash.
    pub(super) fn stripe(&self, hash: u64) -> &Part<K, V> {
        &self.0[Self::index(hash)]
    }

    /// The part for keys with this hash.
    pub(super) fn stripe_mut(&mut self, hash: u64) -> &mut Part<K, V> {
        &mut self.0[Self::index(hash)]
    }

    /// Removes an entry, and gives memory back when three quarters of the part are free.
    pub(super) fn remove(&mut self, hash: u64, key: &K) -> Option<V> {
        let part = self.stripe_mut(hash);
        let removed = part.remove(key);
        if part.capacity() > SHRINK_FROM && part.len() < part.capacity() / 4 {
            part.shrink_to(part.len() * 2);
        }
        removed
    }

    /// Bits that the part itself doesn't use: it places by the lowest and tags by the highest
    /// seven.
    fn index(hash: u64) -> usize {
        (hash >> 40) as usize % PARTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_gives_memory_back_when_most_of_it_is_gone() {
        let mut parts = StripedMap::<u64, ()>::default();
        for key in 0..10_000 {
            parts.stripe_mut(key).insert(key, ());
        }
        assert!(parts.stripe(0).capacity() >= 10_000, "small keys share the first part");
        for key in 0..9_990 {
            assert!(parts.remove(key, &key).is_some());
        }
        assert!(parts.stripe(0).capacity() <= SHRINK_FROM * 2, "{}", parts.stripe(0).capacity());
        assert!((9_990..10_000).all(|key| parts.stripe(key).contains_key(&key)));
    }
}
