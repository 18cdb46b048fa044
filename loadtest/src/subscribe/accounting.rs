//! The delivery accounts of a worker: received, missing, duplicate and misrouted events.

use super::message::{Assignment, Final};
use super::sequences::Sequences;
use super::stream::{DueTimes, Stream};
use super::stream_set::StreamSet;
use crate::measure::account::{Account, Fates};
use crate::measure::sequence::{Arrival, Gap, count_except};
use crate::measure::stamp::lane;

#[derive(Default)]
pub(super) struct Accounting {
    account: Account,
    slow: Account,
    /// Gaps of streams that left, with their lane.
    gaps_of_left: Vec<(u32, Gap)>,
    published: Option<Published>,
    /// [`Accounting::take_drained`] has returned true.
    drained: bool,
}

/// What was published in all.
struct Published {
    /// By lane.
    counts: Vec<u64>,
    /// By lane, sorted.
    rejected: Vec<Vec<u64>>,
    publishers: u32,
}

/// Missing events of a stream.
#[derive(Default)]
struct Missing {
    silent: u64,
    announced: u64,
}

impl Published {
    fn end(&self, topic: u32, publisher: usize) -> u64 {
        self.counts[lane(topic, publisher as u8, self.publishers) as usize]
    }

    /// The events of `topic` that `stream` expects and has not received. The server's last
    /// announcement covers the numbers below `told_end`.
    fn missing(&self, topic: u32, stream: &Stream, told_end: u64) -> Missing {
        let mut missing = Missing::default();
        let ranges = stream.sequences.missing(|publisher| self.end(topic, publisher), told_end);
        for (publisher, gap) in ranges {
            self.count(lane(topic, publisher, self.publishers), gap, &mut missing);
        }
        missing
    }

    fn count(&self, lane: u32, gap: Gap, missing: &mut Missing) {
        let count = count_except(gap, &self.rejected[lane as usize]);
        match gap.announced {
            true => missing.announced += count,
            false => missing.silent += count,
        }
    }
}

impl Accounting {
    pub(super) fn record_misrouted(&mut self, slow: bool) {
        self.account_of(slow).misrouted += 1;
    }

    /// Records an arrival; `is_late` if the server's ids say that it is out of order.
    pub(super) fn record(&mut self, slow: bool, arrival: Arrival, is_late: bool) {
        let account = self.account_of(slow);
        if arrival == Arrival::Duplicate {
            account.repeated += 1;
            return;
        }
        account.received += 1;
        account.out_of_order += u64::from(is_late || arrival == Arrival::OutOfOrder);
    }

    fn account_of(&mut self, slow: bool) -> &mut Account {
        if slow { &mut self.slow } else { &mut self.account }
    }

    /// A stream leaves and will not resume: events in flight are not expected any more, but gaps
    /// remain missing.
    pub(super) fn settle(&mut self, topic: u32, publishers: u32, stream: &mut Stream) {
        if !stream.slow {
            let gaps = stream.sequences.gaps();
            let gaps = gaps.map(|(publisher, gap)| (lane(topic, publisher, publishers), gap));
            self.gaps_of_left.extend(gaps);
        }
        stream.sequences = Sequences::default();
        stream.tracked = false;
    }

    /// No events beyond `counts` will be published, and those `rejected` are not expected.
    pub(super) fn finish(&mut self, publishers: u32, counts: Vec<u64>, rejected: Vec<(u32, u64)>) {
        let mut by_lane = vec![Vec::new(); counts.len()];
        for (lane, number) in rejected {
            by_lane[lane as usize].push(number);
        }
        by_lane.iter_mut().for_each(|numbers: &mut Vec<u64>| numbers.sort_unstable());
        self.published = Some(Published { counts, rejected: by_lane, publishers });
        self.drained = false;
    }

    /// True once, when every reading stream has received every event, except in a gap that the
    /// server has announced. After an announcement, what comes next may still be on its way.
    pub(super) fn take_drained(&mut self, streams: &StreamSet, assignment: &Assignment) -> bool {
        let Some(published) = &self.published else { return false };
        if self.drained {
            return false;
        }
        let is_missing_events = |(index, stream): (usize, &Stream)| {
            let topic = assignment.topic_of(index);
            stream.is_open()
                && !stream.slow
                && !stream.sequences.is_complete(|publisher| published.end(topic, publisher))
                && published.missing(topic, stream, 0).silent > 0
        };
        self.drained = !streams.iter().any(is_missing_events);
        self.drained
    }

    /// Closes the accounts. If it is unknown what was published, nothing is missing.
    pub(super) fn report(
        mut self,
        streams: &StreamSet,
        assignment: &Assignment,
        due_times: Option<DueTimes>,
        last: &mut Final,
    ) {
        let published = self.published.take();
        for (index, stream) in streams.iter() {
            let topic = assignment.topic_of(index);
            let told_end = told_end(stream, topic, assignment, due_times);
            let missing = published.as_ref().filter(|_| stream.tracked);
            let missing = missing.map(|published| published.missing(topic, stream, told_end));
            let missing = missing.unwrap_or_default();
            add_fate(&mut last.fates, stream, &missing);
            add_missing(self.account_of(stream.slow), &missing);
        }
        if let Some(published) = published {
            let mut missing = Missing::default();
            for (lane, gap) in &self.gaps_of_left {
                published.count(*lane, *gap, &mut missing);
            }
            add_missing(&mut self.account, &missing);
        }
        for account in [&mut self.account, &mut self.slow] {
            account.expected = account.received + account.missing;
        }
        (last.account, last.slow) = (self.account, self.slow);
    }
}

/// The first number of `topic` that an announcement to `stream` can't have covered: that of the
/// first event due after it. Without due times, all may have been sent before.
fn told_end(
    stream: &Stream,
    topic: u32,
    assignment: &Assignment,
    due_times: Option<DueTimes>,
) -> u64 {
    match due_times {
        Some(due) if due.interval > 0 && assignment.publishers == 1 => {
            due.next_after(stream.told_at, topic - assignment.first_topic, assignment.topics)
        }
        _ => u64::MAX,
    }
}

fn add_missing(account: &mut Account, missing: &Missing) {
    account.missing += missing.silent + missing.announced;
    account.announced += missing.announced;
}

fn add_fate(fates: &mut Fates, stream: &Stream, missing: &Missing) {
    let fate = stream.fate;
    if !fate.watched {
        return;
    }
    let count = u64::from;
    fates.watched += 1;
    fates.stayed += count(!fate.ended);
    fates.ended += count(fate.ended);
    fates.reconnected += count(fate.ended && stream.is_open());
    fates.lagged += count(fate.lagged);
    fates.reset += count(fate.reset);
    fates.missing_silently += count(missing.silent > 0);
    fates.missing_announced += count(missing.silent == 0 && missing.announced > 0);
}
