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

/// Missing numbers, `from..to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// The server has said that events are missing here.
    pub(crate) announced: bool,
}

/// The numbers one stream has received. 32 bytes.
#[derive(Debug, Default)]
pub(crate) struct SequenceTracker {
    /// The first number expected (before any arrival) or received.
    base: u64,
    next: u64,
    #[expect(clippy::box_collection, reason = "a thin pointer: most of a million have no gaps")]
    gaps: Option<Box<Vec<Gap>>>,
    received_any: bool,
    /// The server has announced a loss since the last arrival: the numbers before the next arrival
    /// are missing with announcement.
    told: bool,
}

impl SequenceTracker {
    /// Expects every number from `start` on.
    pub(crate) fn starting_at(start: u64) -> Self {
        Self { base: start, next: start, ..Self::default() }
    }

    /// Expects every number from the first arrival on.
    pub(crate) fn from_first_arrival() -> Self {
        Self::starting_at(u64::MAX)
    }

    /// The server has announced that events are missing from here on.
    pub(crate) fn announce_loss(&mut self) {
        self.told = true;
    }

    pub(crate) fn record(&mut self, number: u64) -> Arrival {
        let first = !std::mem::replace(&mut self.received_any, true);
        if number == self.next {
            self.next += 1;
            self.told = false;
            return Arrival::New;
        }
        if number > self.next {
            let announced = std::mem::take(&mut self.told);
            let gap = Gap { from: self.next, to: number, announced };
            self.gaps.get_or_insert_default().push(gap);
            self.next = number + 1;
            return Arrival::New;
        }
        if number < self.base {
            // Published while the stream was opening. It was not expected, but once it has
            // arrived, so are the numbers between it and the base.
            if !first && number + 1 < self.base {
                let gap = Gap { from: number + 1, to: self.base, announced: false };
                self.gaps.get_or_insert_default().insert(0, gap);
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
        let Some(at) = gaps.iter().position(|gap| (gap.from..gap.to).contains(&number)) else {
            return false;
        };
        let gap = gaps[at];
        let rest = [Gap { to: number, ..gap }, Gap { from: number + 1, ..gap }];
        gaps.splice(at..=at, rest.into_iter().filter(|gap| gap.from < gap.to));
        if gaps.is_empty() {
            self.gaps = None;
        }
        true
    }

    /// True once every expected number below `end` has arrived.
    pub(crate) fn is_complete(&self, end: u64) -> bool {
        self.next >= end && self.gaps.is_none()
    }

    /// The ranges below `end` that are expected and have not arrived. If the server's last word was
    /// an announcement, it covers the numbers below `told_end`.
    pub(crate) fn missing(&self, end: u64, told_end: u64) -> impl Iterator<Item = Gap> {
        let told_end =
            if self.told { told_end.clamp(self.next, end.max(self.next)) } else { self.next };
        let tail = [
            Gap { from: self.next, to: told_end, announced: true },
            Gap { from: told_end, to: end, announced: false },
        ];
        self.gaps().chain(tail.into_iter().filter(|gap| gap.from < gap.to))
    }

    /// The missing ranges below the highest number received.
    pub(crate) fn gaps(&self) -> impl Iterator<Item = Gap> {
        self.gaps.iter().flat_map(|gaps| gaps.iter().copied())
    }
}

/// Counts the numbers of `gap` that are not in `excluded`, which is sorted.
pub(crate) fn count_except(gap: Gap, excluded: &[u64]) -> u64 {
    let below = |bound| excluded.partition_point(|&number| number < bound) as u64;
    (gap.to - gap.from) - (below(gap.to) - below(gap.from))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(tracker: &SequenceTracker, end: u64) -> u64 {
        tracker.missing(end, 0).map(|gap| count_except(gap, &[])).sum()
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
        let gap = Gap { from: 3, to: 9, announced: false };
        assert_eq!(count_except(gap, &[1, 3, 8, 9]), 4);
    }

    #[test]
    fn only_the_gap_behind_an_announcement_is_announced() {
        let mut tracker = SequenceTracker::starting_at(0);
        tracker.record(0);
        tracker.announce_loss();
        assert_eq!([5, 6, 9].map(|number| tracker.record(number)), [Arrival::New; 3]);
        let gap = |from, to, announced| Gap { from, to, announced };
        let gaps: Vec<Gap> = tracker.missing(12, u64::MAX).collect();
        assert_eq!(gaps, [gap(1, 5, true), gap(7, 9, false), gap(10, 12, false)]);
        // What is filled of an announced gap is no longer missing.
        assert_eq!(tracker.record(3), Arrival::OutOfOrder);
        let gaps: Vec<Gap> = tracker.gaps().take(2).collect();
        assert_eq!(gaps, [gap(1, 3, true), gap(4, 5, true)]);
    }

    #[test]
    fn an_announcement_covers_the_tail_up_to_its_end() {
        let mut tracker = SequenceTracker::starting_at(0);
        tracker.record(0);
        tracker.announce_loss();
        let gap = |from, to, announced| Gap { from, to, announced };
        for (told_end, expected) in [
            (u64::MAX, vec![gap(1, 9, true)]),
            (4, vec![gap(1, 4, true), gap(4, 9, false)]),
            (0, vec![gap(1, 9, false)]),
        ] {
            assert_eq!(tracker.missing(9, told_end).collect::<Vec<_>>(), expected, "{told_end}");
        }
        assert_eq!(tracker.missing(1, u64::MAX).count(), 0, "nothing is missing");
    }

    #[test]
    fn a_tracker_without_a_start_expects_what_follows_its_first_arrival() {
        let mut tracker = SequenceTracker::from_first_arrival();
        assert!(tracker.is_complete(1000) && missing(&tracker, 1000) == 0);
        assert_eq!([7, 9].map(|number| tracker.record(number)), [Arrival::New; 2]);
        assert_eq!(missing(&tracker, 11), 2);
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
