//! Monotonic stack: the highest seq evicted since any earlier eviction, by binary search.
//!
//! Events leave the store out of seq order: a busy topic evicts its oldest event while older events
//! of quiet topics stay. A replay of `*` that began after eviction `n` has lost an event if and
//! only if one *after its position* was evicted later than `n`, so one maximum over all evictions
//! is not enough.
//!
//! The stack holds (number of the eviction, seq). An eviction removes every entry with a lower seq
//! from the top, whose answers it now gives itself, and adds its own. From bottom to top numbers
//! rise and seqs fall, so the first entry after `n` has the highest seq evicted since `n`.
//!
//! # Bound
//!
//! At most one entry for each topic with stored events, and one more. Charge each entry to the
//! topic that evicted its event last. One topic evicts in seq order, while entries that follow each
//! other have falling seqs: no topic is charged twice. A topic loses its last stored event only
//! when that is the oldest of the store; this eviction removes every entry of the topic but its
//! own, which the next eviction removes, as its seq is higher. The memory is counted with the
//! topics ([`TOPIC_BYTES`](super::indexes::TOPIC_BYTES)).

use crate::event::Seq;

/// A stack of this capacity or less isn't shrunk.
const SHRINK_ABOVE: usize = 64;

/// The events that no topic stores any more.
#[derive(Default)]
pub(super) struct Evictions {
    count: u64,
    stack: Vec<Eviction>,
}

struct Eviction {
    /// Counted from 1.
    number: u64,
    seq: Seq,
}

impl Evictions {
    pub(super) fn record(&mut self, seq: Seq) {
        self.count += 1;
        while self.stack.last().is_some_and(|top| top.seq < seq) {
            self.stack.pop();
        }
        if self.stack.capacity() > SHRINK_ABOVE && self.stack.len() < self.stack.capacity() / 4 {
            self.stack.shrink_to(self.stack.len() * 2);
        }
        self.stack.push(Eviction { number: self.count, seq });
    }

    /// Number of evictions so far.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The highest seq evicted since there were `count` evictions; 0 if nothing was.
    pub(super) fn highest_since(&self, count: u64) -> Seq {
        let first = self.stack.partition_point(|eviction| eviction.number <= count);
        self.stack.get(first).map_or(Seq(0), |eviction| eviction.seq)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.stack.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_highest_seq_since_any_eviction_is_that_of_a_list(
            seqs in Just((1..40u64).collect::<Vec<_>>()).prop_shuffle(),
        ) {
            let mut evictions = Evictions::default();
            for (evicted, &seq) in seqs.iter().enumerate() {
                evictions.record(Seq(seq));
                for since in 0..=evicted + 1 {
                    let highest = seqs[since.min(evicted + 1)..=evicted].iter().max();
                    prop_assert_eq!(
                        evictions.highest_since(since as u64),
                        Seq(highest.copied().unwrap_or(0))
                    );
                }
            }
        }
    }

    #[test]
    fn a_stack_that_lost_most_of_its_entries_shrinks() {
        let mut evictions = Evictions::default();
        (0..10_000).rev().for_each(|seq| evictions.record(Seq(seq)));
        assert_eq!(evictions.len(), 10_000);
        evictions.record(Seq(10_000));
        assert!(evictions.len() == 1 && evictions.stack.capacity() <= SHRINK_ABOVE);
    }
}
