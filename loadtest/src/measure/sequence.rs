//! One stream's account of one topic: which numbers it had, which it lacks, which came twice or
//! late. Pure.
//!
//! Numbers are dense from 0, so the common case is one comparison; holes cost a heap vector only
//! where they are.

/// What an arrival means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The number awaited, or a later one, which leaves a hole.
    Fresh,
    /// Fills a hole: out of order.
    Late,
    /// Had before.
    Repeated,
}

/// The account. 32 bytes; holes are ranges `from..to`.
#[derive(Debug, Default)]
pub struct Ledger {
    /// The first number this stream is owed (before any arrival) or had.
    base: u64,
    /// The number awaited.
    next: u64,
    #[expect(clippy::box_collection, reason = "a thin pointer: a million ledgers have no holes")]
    holes: Option<Box<Vec<(u64, u64)>>>,
    seen: bool,
}

impl Ledger {
    /// An account of a stream that is owed everything from `start` on.
    pub fn owed_from(start: u64) -> Self {
        Self { base: start, next: start, holes: None, seen: false }
    }

    /// Notes that `number` arrived.
    pub fn note(&mut self, number: u64) -> Arrival {
        let first = !std::mem::replace(&mut self.seen, true);
        if number == self.next {
            self.next += 1;
            return Arrival::Fresh;
        }
        if number > self.next {
            self.holes.get_or_insert_default().push((self.next, number));
            self.next = number + 1;
            return Arrival::Fresh;
        }
        if number < self.base {
            // Published while the stream was opening: a gift, and the numbers between it and the
            // next are owed.
            if !first && number + 1 < self.base {
                self.holes.get_or_insert_default().insert(0, (number + 1, self.base));
            } else if first {
                self.next = number + 1;
            }
            self.base = number;
            return if first { Arrival::Fresh } else { Arrival::Late };
        }
        if self.fill(number) { Arrival::Late } else { Arrival::Repeated }
    }

    fn fill(&mut self, number: u64) -> bool {
        let Some(holes) = self.holes.as_mut() else { return false };
        let Some(at) = holes.iter().position(|&(from, to)| (from..to).contains(&number)) else {
            return false;
        };
        let (from, to) = holes[at];
        let rest = [(from, number), (number + 1, to)];
        holes.splice(at..=at, rest.into_iter().filter(|(from, to)| from < to));
        if holes.is_empty() {
            self.holes = None;
        }
        true
    }

    /// True once it has everything below `end`.
    pub fn has_all(&self, end: u64) -> bool {
        self.next >= end && self.holes.is_none()
    }

    /// The ranges below `end` that are owed and have not arrived.
    pub fn missing(&self, end: u64) -> impl Iterator<Item = (u64, u64)> {
        let holes = self.holes.iter().flat_map(|holes| holes.iter().copied());
        let tail = (self.next < end).then_some((self.next, end));
        holes.chain(tail)
    }

    /// The holes alone: what a stream that has left should have had before.
    pub fn holes(&self) -> impl Iterator<Item = (u64, u64)> {
        self.missing(0)
    }
}

/// How many numbers of `range` are not among `excused`, which is sorted.
pub fn owed(range: (u64, u64), excused: &[u64]) -> u64 {
    let below = |bound| excused.partition_point(|&number| number < bound) as u64;
    (range.1 - range.0) - (below(range.1) - below(range.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(ledger: &Ledger, end: u64) -> u64 {
        ledger.missing(end).map(|range| owed(range, &[])).sum()
    }

    #[test]
    fn in_order_is_fresh_and_complete() {
        let mut ledger = Ledger::owed_from(0);
        assert!((0..5).all(|number| ledger.note(number) == Arrival::Fresh));
        assert!(ledger.has_all(5));
        assert_eq!(missing(&ledger, 7), 2);
    }

    #[test]
    fn a_hole_is_missing_until_filled_and_filled_once() {
        let mut ledger = Ledger::owed_from(0);
        assert_eq!([0, 4].map(|number| ledger.note(number)), [Arrival::Fresh; 2]);
        assert_eq!(missing(&ledger, 5), 3);
        assert_eq!(ledger.note(2), Arrival::Late);
        assert_eq!(ledger.note(2), Arrival::Repeated);
        assert_eq!([1, 3].map(|number| ledger.note(number)), [Arrival::Late; 2]);
        assert!(ledger.has_all(5));
        assert_eq!(ledger.note(4), Arrival::Repeated);
    }

    #[test]
    fn a_visitor_is_owed_from_its_start_and_may_have_more() {
        let mut ledger = Ledger::owed_from(10);
        assert_eq!(ledger.note(8), Arrival::Fresh);
        assert_eq!(ledger.note(9), Arrival::Fresh);
        assert_eq!(ledger.note(12), Arrival::Fresh);
        assert_eq!(missing(&ledger, 13), 2);
        let mut late = Ledger::owed_from(10);
        assert_eq!(late.note(12), Arrival::Fresh);
        assert_eq!(missing(&late, 13), 2);
        assert_eq!(late.note(9), Arrival::Late);
        assert_eq!(missing(&late, 13), 2);
    }

    #[test]
    fn refused_numbers_are_not_owed() {
        assert_eq!(owed((3, 9), &[1, 3, 8, 9]), 4);
    }

    /// Against a plain set: any order, with repeats.
    #[test]
    fn agrees_with_a_set_for_any_order() {
        let mut seed = 1u64;
        for _ in 0..2_000 {
            let mut ledger = Ledger::owed_from(0);
            let mut had = std::collections::BTreeSet::new();
            for _ in 0..20 {
                seed = seed
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                let number = (seed >> 40) % 16;
                let repeated = ledger.note(number) == Arrival::Repeated;
                assert_eq!(repeated, !had.insert(number));
            }
            assert_eq!(missing(&ledger, 16), 16 - had.len() as u64);
        }
    }
}
