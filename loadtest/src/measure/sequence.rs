//! Sequence tracking: which event numbers of its topic a stream has received, which are missing,
//! and which arrived twice or out of order.
//!
//! Numbers are dense from 0, so the common case is one comparison; a heap allocation is made only
//! for a stream with gaps.

/// How an event's number relates to those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// The next number, or a higher one, which opens a gap.
    New,
    /// Fills a gap.
    OutOfOrder,
    Duplicate,
}

/// The numbers one stream has received. 32 bytes; gaps are ranges `from..to`.
#[derive(Debug, Default)]
pub(crate) struct SequenceTracker {
    /// The first number expected (before any arrival) or received.
    base: u64,
    next: u64,
    #[expect(clippy::box_collection, reason = "a thin pointer: most of a million have no gaps")]
    gaps: Option<Box<Vec<(u64, u64)>>>,
    received_any: bool,
}

impl SequenceTracker {
    /// Expects every number from `start` on.
    pub(crate) fn starting_at(start: u64) -> Self {
        Self { base: start, next: start, gaps: None, received_any: false }
    }

    pub(crate) fn record(&mut self, number: u64) -> Arrival {
        let first = !std::mem::replace(&mut self.received_any, true);
        if number == self.next {
            self.next += 1;
            return Arrival::New;
        }
        if number > self.next {
            self.gaps.get_or_insert_default().push((self.next, number));
            self.next = number + 1;
            return Arrival::New;
        }
        if number < self.base {
            // Published while the stream was opening. It was not expected, but once it has
            // arrived, so are the numbers between it and the base.
            if !first && number + 1 < self.base {
                self.gaps.get_or_insert_default().insert(0, (number + 1, self.base));
            } else if first {
                self.next = number + 1;
            }
            self.base = number;
            return if first { Arrival::New } else { Arrival::OutOfOrder };
        }
        if self.fill(number) { Arrival::OutOfOrder } else { Arrival::Duplicate }
    }

    fn fill(&mut self, number: u64) -> bool {
        let Some(gaps) = self.gaps.as_mut() else { return false };
        let Some(at) = gaps.iter().position(|&(from, to)| (from..to).contains(&number)) else {
            return false;
        };
        let (from, to) = gaps[at];
        let rest = [(from, number), (number + 1, to)];
        gaps.splice(at..=at, rest.into_iter().filter(|(from, to)| from < to));
        if gaps.is_empty() {
            self.gaps = None;
        }
        true
    }

    /// True once every expected number below `end` has arrived.
    pub(crate) fn is_complete(&self, end: u64) -> bool {
        self.next >= end && self.gaps.is_none()
    }

    /// The ranges below `end` that are expected and have not arrived.
    pub(crate) fn missing(&self, end: u64) -> impl Iterator<Item = (u64, u64)> {
        let tail = (self.next < end).then_some((self.next, end));
        self.gaps().chain(tail)
    }

    /// The missing ranges below the highest number received.
    pub(crate) fn gaps(&self) -> impl Iterator<Item = (u64, u64)> {
        self.gaps.iter().flat_map(|gaps| gaps.iter().copied())
    }
}

/// Counts the numbers of `range` that are not in `excluded`, which is sorted.
pub(crate) fn count_except(range: (u64, u64), excluded: &[u64]) -> u64 {
    let below = |bound| excluded.partition_point(|&number| number < bound) as u64;
    (range.1 - range.0) - (below(range.1) - below(range.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(tracker: &SequenceTracker, end: u64) -> u64 {
        tracker.missing(end).map(|range| count_except(range, &[])).sum()
    }

    #[test]
    fn arrivals_in_order_are_new_and_complete() {
        let mut tracker = SequenceTracker::starting_at(0);
        assert!((0..5).all(|number| tracker.record(number) == Arrival::New));
        assert!(tracker.is_complete(5));
        assert_eq!(missing(&tracker, 7), 2);
    }

    #[test]
    fn a_gap_is_missing_until_filled() {
        let mut tracker = SequenceTracker::starting_at(0);
        assert_eq!([0, 4].map(|number| tracker.record(number)), [Arrival::New; 2]);
        assert_eq!(missing(&tracker, 5), 3);
        assert_eq!(tracker.record(2), Arrival::OutOfOrder);
        assert_eq!(tracker.record(2), Arrival::Duplicate);
        assert_eq!([1, 3].map(|number| tracker.record(number)), [Arrival::OutOfOrder; 2]);
        assert!(tracker.is_complete(5));
        assert_eq!(tracker.record(4), Arrival::Duplicate);
    }

    #[test]
    fn numbers_below_the_start_are_accepted_but_not_expected() {
        let mut tracker = SequenceTracker::starting_at(10);
        assert_eq!(tracker.record(8), Arrival::New);
        assert_eq!(tracker.record(9), Arrival::New);
        assert_eq!(tracker.record(12), Arrival::New);
        assert_eq!(missing(&tracker, 13), 2);
        let mut late = SequenceTracker::starting_at(10);
        assert_eq!(late.record(12), Arrival::New);
        assert_eq!(missing(&late, 13), 2);
        assert_eq!(late.record(9), Arrival::OutOfOrder);
        assert_eq!(missing(&late, 13), 2);
    }

    #[test]
    fn excluded_numbers_are_not_counted() {
        assert_eq!(count_except((3, 9), &[1, 3, 8, 9]), 4);
    }

    /// Compares with a plain set: any order, with duplicates.
    #[test]
    fn agrees_with_a_set_for_any_order() {
        let mut seed = 1u64;
        for _ in 0..2_000 {
            let mut tracker = SequenceTracker::starting_at(0);
            let mut received = std::collections::BTreeSet::new();
            for _ in 0..20 {
                seed = seed
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                let number = (seed >> 40) % 16;
                let duplicate = tracker.record(number) == Arrival::Duplicate;
                assert_eq!(duplicate, !received.insert(number));
            }
            assert_eq!(missing(&tracker, 16), 16 - received.len() as u64);
        }
    }
}
