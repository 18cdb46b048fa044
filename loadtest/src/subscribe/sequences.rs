//! The sequence trackers of one stream: one for each publisher of its topic, because a server keeps
//! the order of each publisher's events, but not that of several.

use crate::measure::sequence::{Arrival, Gap, SequenceTracker};

pub(super) enum Sequences {
    /// One publisher: no allocation.
    One(SequenceTracker),
    /// By publisher.
    Many(Box<[SequenceTracker]>),
}

impl Default for Sequences {
    fn default() -> Self {
        Self::One(SequenceTracker::default())
    }
}

impl Sequences {
    /// A tracker, made by `tracker`, for each of `publishers`.
    pub(super) fn new(publishers: u32, tracker: impl Fn() -> SequenceTracker) -> Self {
        match publishers {
            0..=1 => Self::One(tracker()),
            _ => Self::Many((0..publishers).map(|_| tracker()).collect()),
        }
    }

    fn trackers(&self) -> &[SequenceTracker] {
        match self {
            Self::One(tracker) => std::slice::from_ref(tracker),
            Self::Many(trackers) => trackers,
        }
    }

    fn trackers_mut(&mut self) -> &mut [SequenceTracker] {
        match self {
            Self::One(tracker) => std::slice::from_mut(tracker),
            Self::Many(trackers) => trackers,
        }
    }

    /// Records an arrival; `None` if there is no such publisher.
    pub(super) fn record(&mut self, publisher: u8, number: u64) -> Option<Arrival> {
        let tracker = self.trackers_mut().get_mut(usize::from(publisher))?;
        Some(tracker.record(number))
    }

    /// The server has announced a loss, which may concern every publisher.
    pub(super) fn announce_loss(&mut self) {
        self.trackers_mut().iter_mut().for_each(SequenceTracker::announce_loss);
    }

    /// True once every expected number below its publisher's end has arrived.
    pub(super) fn is_complete(&self, mut end: impl FnMut(usize) -> u64) -> bool {
        self.trackers()
            .iter()
            .enumerate()
            .all(|(publisher, tracker)| tracker.is_complete(end(publisher)))
    }

    /// What is missing below each publisher's end; see [`SequenceTracker::missing`].
    pub(super) fn missing(
        &self,
        end: impl Fn(usize) -> u64,
        told_end: u64,
    ) -> impl Iterator<Item = (u8, Gap)> {
        self.trackers().iter().enumerate().flat_map(move |(publisher, tracker)| {
            tracker.missing(end(publisher), told_end).map(move |gap| (publisher as u8, gap))
        })
    }

    /// What is missing below the highest number received of each publisher.
    pub(super) fn gaps(&self) -> impl Iterator<Item = (u8, Gap)> {
        self.trackers()
            .iter()
            .enumerate()
            .flat_map(|(publisher, tracker)| tracker.gaps().map(move |gap| (publisher as u8, gap)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ensures that events of several connections are accounted for exactly.
    ///
    /// Scenario: two connections race; the server takes event 1 of the second before event 0 of the
    /// first.
    ///
    /// Cause: events were numbered over all connections, in the order in which they were sent.
    ///
    /// Fix: each connection numbers its own, and each number has its tracker.
    #[test]
    fn publishers_are_accounted_for_by_themselves() {
        let mut sequences = Sequences::new(2, SequenceTracker::default);
        let arrivals = [(1, 0), (1, 1), (0, 0), (1, 3)];
        assert!(arrivals.iter().all(|&(p, n)| sequences.record(p, n) == Some(Arrival::New)));
        assert_eq!(sequences.record(0, 0), Some(Arrival::Duplicate));
        assert_eq!(sequences.record(1, 2), Some(Arrival::OutOfOrder));
        assert_eq!(sequences.record(2, 0), None, "there is no such publisher");
        assert!(sequences.is_complete(|publisher| [1, 4][publisher]));
        let missing: Vec<(u8, Gap)> = sequences.missing(|_| 5, 0).collect();
        let gap = |from, to| Gap { from, to, announced: false };
        assert_eq!(missing, [(0, gap(1, 5)), (1, gap(4, 5))]);
    }

    #[test]
    fn one_publisher_takes_no_more_memory_than_its_tracker() {
        assert_eq!(size_of::<Sequences>(), size_of::<SequenceTracker>());
    }
}
