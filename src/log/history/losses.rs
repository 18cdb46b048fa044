//! Bounded map with two generations: what topics without stored events have lost.
//!
//! A topic's entry in the topic index ends with its last stored event, but a client may still
//! return with an older position. Its `evicted_through` is therefore kept here, by the topic's
//! hash, for as many topics as there is room for. Topics that lose their last event later have lost
//! a higher seq, so the oldest entries are those with the lowest seqs, which matter to the fewest
//! clients. They are dropped first: a stripe whose newer generation is full drops its older one as
//! a whole, and remembers the highest seq in it as the stripe's *floor*. A topic without an entry
//! may have lost anything up to the floor.
//!
//! So a loss is never hidden. A false alarm needs a position from before the floor, that is, from
//! before about as many topics have expired as a generation of every stripe holds.
//!
//! # Bound
//!
//! At most [`LOSSES_MAX`] entries of [`LOSS_BYTES`], and no more than a quarter of
//! `FANFARE_HISTORY_BYTES`, but [`LOSSES_MIN`] entries in any case. They come on top of the
//! history's bytes. A generation is dropped by freeing one allocation.

use super::striped_map::{STRIPES, Stripe, stripe_of};
use crate::event::{Seq, Topic};

/// Entries at most, in both generations of all stripes: 35 MB. At least half of them, 917,504, are
/// the newest. A power of two less an eighth for each stripe: as much as fits its hash table.
const LOSSES_MAX: usize = 2 * STRIPES * 3584;

/// Entries for which there is room however small the history is: 0.6 MB.
const LOSSES_MIN: usize = 2 * STRIPES * 56;

/// Bytes per entry: a hash, a seq and a control byte in a table that may be half empty.
const LOSS_BYTES: u64 = 40;

/// The part of `FANFARE_HISTORY_BYTES` that entries may take on top of it: one in this many.
const HISTORY_PART: u64 = 4;

pub(super) struct LossTable {
    stripes: Box<[LossStripe]>,
    /// Entries in one generation of a stripe.
    generation_max: usize,
}

#[derive(Default)]
struct LossStripe {
    newer: Generation,
    older: Generation,
    /// The highest seq that a topic in neither generation may have lost.
    floor: Seq,
}

#[derive(Default)]
struct Generation {
    /// The highest seq a topic has evicted, by the topic's hash.
    evicted_through: Stripe<u64, Seq>,
    highest: Seq,
}

impl LossTable {
    /// A table beside a history of at most `history_bytes`.
    pub(super) fn new(history_bytes: u64) -> Self {
        let affordable = history_bytes / HISTORY_PART / LOSS_BYTES;
        let losses = usize::try_from(affordable).unwrap_or(LOSSES_MAX);
        Self {
            stripes: (0..STRIPES).map(|_| LossStripe::default()).collect(),
            generation_max: losses.clamp(LOSSES_MIN, LOSSES_MAX) / STRIPES / 2,
        }
    }

    /// Records that a topic has lost its last stored event.
    pub(super) fn record(&mut self, topic: &Topic, evicted_through: Seq) {
        let hash = topic.hash_key();
        let stripe = &mut self.stripes[stripe_of(hash)];
        let newer = &stripe.newer.evicted_through;
        if newer.len() >= self.generation_max && !newer.contains_key(&hash) {
            stripe.rotate();
        }
        stripe.newer.record(hash, evicted_through);
    }

    /// The highest seq the topic may have evicted: exact if the topic has an entry, unless another
    /// topic has the same hash.
    pub(super) fn evicted_through(&self, topic: &Topic) -> Seq {
        let hash = topic.hash_key();
        let LossStripe { newer, older, floor } = &self.stripes[stripe_of(hash)];
        let known = newer.evicted_through.get(&hash).or_else(|| older.evicted_through.get(&hash));
        known.copied().unwrap_or(*floor)
    }
}

impl LossStripe {
    fn rotate(&mut self) {
        self.floor = self.floor.max(self.older.highest);
        self.older = std::mem::take(&mut self.newer);
    }
}

impl Generation {
    fn record(&mut self, hash: u64, evicted_through: Seq) {
        let known = self.evicted_through.entry(hash).or_default();
        *known = evicted_through.max(*known);
        self.highest = evicted_through.max(self.highest);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn topic(n: u64) -> Topic {
        Topic::new(&format!("topic {n}")).unwrap()
    }

    /// Topics expire again and again, more of them than there is room for.
    #[test]
    fn the_newest_losses_are_exact_and_no_older_one_is_hidden() {
        const TOPICS: u64 = 3 * LOSSES_MIN as u64;
        let mut table = LossTable::new(0);
        let mut lost = BTreeMap::new();
        let mut random = fastrand::Rng::with_seed(7);
        for seq in 1..=4 * TOPICS {
            let n = random.u64(..TOPICS);
            table.record(&topic(n), Seq(seq));
            lost.insert(n, seq);
        }
        let mut alarms = 0;
        for n in 0..TOPICS {
            let (known, lost) = (table.evicted_through(&topic(n)).0, lost.get(&n).unwrap_or(&0));
            assert!(known >= *lost, "a hidden loss");
            // A quarter of a generation, because stripes don't fill up evenly.
            let is_recent = lost + LOSSES_MIN as u64 / 8 > 4 * TOPICS;
            assert!(known == *lost || !is_recent, "{known} of {lost}");
            alarms += u64::from(known != *lost);
        }
        assert!(alarms > TOPICS / 4, "{alarms}: most have been dropped");
    }

    #[test]
    fn the_table_keeps_within_its_bounds() {
        for (history_bytes, losses) in [
            (0, LOSSES_MIN),
            (8 << 20, (8 << 20) / 160),
            (256 << 20, (256 << 20) / 160),
            (u64::MAX, LOSSES_MAX),
        ] {
            let mut table = LossTable::new(history_bytes);
            for n in 0..losses as u64 + 100_000 {
                table.record(&topic(n), Seq(n));
            }
            let entries = |stripe: &LossStripe| {
                stripe.newer.evicted_through.len() + stripe.older.evicted_through.len()
            };
            let entries: usize = table.stripes.iter().map(entries).sum();
            assert!(entries <= losses, "{entries} of {losses}");
            assert!(entries > losses / 2 - losses / 20, "{entries} of {losses}");
        }
    }
}
