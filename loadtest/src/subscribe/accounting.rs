//! The delivery accounts of a worker: received, missing, duplicate and misrouted events.

use super::message::{Assignment, Final};
use super::stream::Stream;
use super::stream_set::StreamSet;
use crate::measure::account::Account;
use crate::measure::sequence::{Arrival, SequenceTracker, count_except};

#[derive(Default)]
pub(super) struct Accounting {
    account: Account,
    slow: Account,
    /// Gaps of streams that left: topic and range.
    gaps_of_left: Vec<(u32, (u64, u64))>,
    published: Option<Published>,
    /// [`Accounting::take_drained`] has returned true.
    drained: bool,
}

/// What was published in all.
struct Published {
    counts: Vec<u64>,
    /// By topic, sorted.
    rejected: Vec<Vec<u64>>,
}

impl Published {
    /// The events of `topic` that `sequence` expects and has not received.
    fn missing(&self, topic: u32, sequence: &SequenceTracker) -> u64 {
        let (end, rejected) = (self.counts[topic as usize], &self.rejected[topic as usize]);
        sequence.missing(end).map(|range| count_except(range, rejected)).sum()
    }
}

impl Accounting {
    pub(super) fn record_misrouted(&mut self, slow: bool) {
        self.account_of(slow).misrouted += 1;
    }

    pub(super) fn record(&mut self, slow: bool, arrival: Arrival) {
        let account = self.account_of(slow);
        match arrival {
            Arrival::New => account.received += 1,
            Arrival::OutOfOrder => {
                account.received += 1;
                account.out_of_order += 1;
            }
            Arrival::Duplicate => account.repeated += 1,
        }
    }

    fn account_of(&mut self, slow: bool) -> &mut Account {
        if slow { &mut self.slow } else { &mut self.account }
    }

    /// A stream leaves and will not resume: events in flight are not expected any more, but gaps
    /// remain missing.
    pub(super) fn settle(&mut self, topic: u32, stream: &mut Stream) {
        if !stream.slow {
            self.gaps_of_left.extend(stream.sequence.gaps().map(|range| (topic, range)));
        }
        stream.sequence = SequenceTracker::default();
        stream.tracked = false;
    }

    /// No events beyond `counts` will be published, and those `rejected` are not expected.
    pub(super) fn finish(&mut self, counts: Vec<u64>, rejected: Vec<(u32, u64)>) {
        let mut by_topic = vec![Vec::new(); counts.len()];
        for (topic, number) in rejected {
            by_topic[topic as usize].push(number);
        }
        by_topic.iter_mut().for_each(|numbers: &mut Vec<u64>| numbers.sort_unstable());
        self.published = Some(Published { counts, rejected: by_topic });
        self.drained = false;
    }

    /// True once, when every reading stream has received every event.
    pub(super) fn take_drained(&mut self, streams: &StreamSet, assignment: &Assignment) -> bool {
        let Some(published) = &self.published else { return false };
        if self.drained {
            return false;
        }
        let is_missing_events = |(index, stream): (usize, &Stream)| {
            let topic = assignment.topic_of(index);
            stream.is_open()
                && !stream.slow
                && !stream.sequence.is_complete(published.counts[topic as usize])
                && published.missing(topic, &stream.sequence) > 0
        };
        self.drained = !streams.iter().any(is_missing_events);
        self.drained
    }

    /// Closes the accounts. If it is unknown what was published, nothing is missing.
    pub(super) fn report(mut self, streams: &StreamSet, assignment: &Assignment, last: &mut Final) {
        if let Some(published) = self.published.take() {
            for (index, stream) in streams.iter().filter(|(_, stream)| stream.tracked) {
                let missing = published.missing(assignment.topic_of(index), &stream.sequence);
                self.account_of(stream.slow).missing += missing;
            }
            for (topic, range) in &self.gaps_of_left {
                self.account.missing += count_except(*range, &published.rejected[*topic as usize]);
            }
        }
        for account in [&mut self.account, &mut self.slow] {
            account.expected = account.received + account.missing;
        }
        (last.account, last.slow) = (self.account, self.slow);
    }
}
