//! k-way merge of a session's rings, in seq order.
//!
//! With one ring the order is the ring's own. With several, the next event is the one with the
//! lowest seq in any ring, up to the [`Watermark`]. Seqs up to the last one delivered are skipped,
//! so an event in two rings is delivered once. A slice has consecutive seqs, so no other ring's
//! event falls inside it.

use std::cell::Cell;
use std::sync::Arc;

use super::subscription::Subscription;
use crate::event::{Chunks, Selector, Seq, Topic};
use crate::ring::{Epoch, Mailbox, Read, Reader, Registry, Ring, RingWaker, Watermark};

/// A session's position in one ring.
pub(super) struct Cursor {
    pub(super) waker: Arc<RingWaker>,
    /// The next epoch to read.
    next: u64,
    /// Events of the ring before `next`, modulo 2^32: it only serves to count missed events.
    counted: u32,
    /// The session's index among the shard's subscribers of the ring.
    pub(super) index: Cell<u32>,
}

/// What comes next for the session.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Events up to and including the seq.
    Slice(Chunks, Seq),
    /// Nothing yet.
    Wait,
    /// An event left its ring before it was read.
    Lagged,
}

/// What one ring's next epoch holds for the merge.
enum Peek {
    At(Seq),
    /// The epoch's batch is not in all rings yet.
    AboveWatermark,
    /// Nothing after the last seq; events of the ring so far.
    Done(u64),
}

impl Cursor {
    pub(super) fn new(subscription: Subscription) -> Self {
        let Subscription { waker, index } = subscription;
        let mut cursor = Self { waker, next: 0, counted: 0, index: Cell::new(index) };
        cursor.seek_to_end();
        cursor
    }

    pub(super) fn selector(&self) -> &Selector {
        &self.waker.selector
    }

    /// Moves to the ring's end: what is published from here on will be read. What was published
    /// before is in the log for whoever reads it after this. Returns how many events were passed
    /// over.
    pub(super) fn seek_to_end(&mut self) -> u64 {
        self.next = self.ring().tail();
        let counted = self.ring().counted() as u32;
        u64::from(counted.wrapping_sub(std::mem::replace(&mut self.counted, counted)))
    }

    /// Whether the ring has nothing more. Of a stream's many rings most have nothing, and this is
    /// all that a visit does for them.
    #[inline]
    fn is_at_end(&self) -> bool {
        self.next >= self.ring().tail()
    }

    #[inline]
    fn ring(&self) -> &Ring {
        &self.waker.ring
    }

    fn advance(&mut self, counted: u64) {
        self.next += 1;
        self.counted = counted as u32;
    }

    /// The next slice after `last`, whatever other rings have.
    fn step(&mut self, reader: &Reader, last: Seq) -> Step {
        loop {
            let look = |epoch: &Epoch| (epoch.slice_after(last), epoch.counted());
            match self.ring().read(reader, self.next, look) {
                Read::Epoch((Some(slice), counted)) => {
                    if slice.ends_epoch {
                        self.advance(counted);
                    }
                    return Step::Slice(slice.bytes, slice.last);
                }
                Read::Epoch((None, counted)) => self.advance(counted),
                Read::Wait => return Step::Wait,
                Read::Lagged => return Step::Lagged,
            }
        }
    }

    /// The seq of the next event after `last` in a batch up to `watermark`; `Err` if the event left
    /// the ring. Passes over `pending`, an event that another ring has as well, if it is the last
    /// of its epoch.
    fn peek(
        &mut self,
        reader: &Reader,
        last: Seq,
        watermark: Seq,
        pending: Option<Seq>,
    ) -> Result<Option<Seq>, ()> {
        loop {
            let look = |epoch: &Epoch| match epoch.next_after(last) {
                _ if epoch.batch_first() > watermark => Peek::AboveWatermark,
                Some(seq) if pending == Some(seq) && epoch.last() == seq => {
                    Peek::Done(epoch.counted())
                }
                Some(seq) => Peek::At(seq),
                None => Peek::Done(epoch.counted()),
            };
            match self.ring().read(reader, self.next, look) {
                Read::Epoch(Peek::At(seq)) => return Ok(Some(seq)),
                Read::Epoch(Peek::Done(counted)) => self.advance(counted),
                Read::Epoch(Peek::AboveWatermark) | Read::Wait => return Ok(None),
                Read::Lagged => return Err(()),
            }
        }
    }
}

/// What the last look at all cursors found. Looking at a hundred rings costs as much as a send, so
/// it is done once per visit where one ring has all there is.
#[derive(Default)]
pub(super) struct Scan {
    /// The watermark at that time.
    watermark: Seq,
    /// The only cursor with events up to it.
    only: Option<u32>,
}

/// The next slice after `last` of all the cursors' rings.
pub(super) fn step(
    cursors: &mut [Cursor],
    reader: &Reader,
    last: Seq,
    watermark: &Watermark,
    scan: &mut Scan,
) -> Step {
    if let [only] = cursors {
        return only.step(reader, last);
    }
    if let Some(only) = scan.only {
        let cursor = &mut cursors[only as usize];
        match cursor.peek(reader, last, scan.watermark, None) {
            Ok(Some(_)) => return cursor.step(reader, last),
            Ok(None) => scan.only = None,
            Err(()) => return Step::Lagged,
        }
        // Otherwise a ring may have been published to since, and its wake-up been spent on this
        // very visit.
        if watermark.reached() == scan.watermark {
            return Step::Wait;
        }
    }
    scan.watermark = watermark.reached();
    let mut lowest: Option<(Seq, usize)> = None;
    let mut found = 0;
    for (at, cursor) in cursors.iter_mut().enumerate() {
        if cursor.is_at_end() {
            continue;
        }
        let pending = lowest.map(|(seq, _)| seq);
        match cursor.peek(reader, last, scan.watermark, pending) {
            Ok(Some(seq)) => {
                found += 1;
                if pending.is_none_or(|pending| seq < pending) {
                    lowest = Some((seq, at));
                }
            }
            Ok(None) => {}
            Err(()) => return Step::Lagged,
        }
    }
    let Some((_, at)) = lowest else { return Step::Wait };
    scan.only = u32::try_from(at).ok().filter(|_| found == 1);
    cursors[at].step(reader, last)
}

/// The rings of one session outside of a node, for `benches/sessions.rs`.
#[doc(hidden)]
pub struct MergedRings {
    cursors: Box<[Cursor]>,
    scan: Scan,
    last: Seq,
}

impl MergedRings {
    /// The rings of `topics`, from their ends on.
    ///
    /// # Panics
    ///
    /// If the registry has no room for the topics.
    pub fn subscribe(registry: &Registry, mailbox: &Arc<Mailbox>, topics: &[Topic]) -> Self {
        let cursor = |(key, topic): (usize, &Topic)| {
            let waker = registry.subscribe(&Selector::Topic(topic.clone()), mailbox, key);
            Cursor::new(Subscription { waker: waker.expect("room for the topics"), index: 0 })
        };
        let cursors = topics.iter().enumerate().map(cursor).collect();
        Self { cursors, scan: Scan::default(), last: Seq(0) }
    }

    /// Reads all there is; returns how many slices that was.
    pub fn drain(&mut self, reader: &Reader, watermark: &Watermark) -> usize {
        let mut slices = 0;
        while let Step::Slice(_, last) =
            step(&mut self.cursors, reader, self.last, watermark, &mut self.scan)
        {
            self.last = last;
            slices += 1;
        }
        slices
    }
}

#[cfg(all(test, not(ring_loom)))]
mod tests {
    use proptest::prelude::*;
    use std::num::NonZeroUsize;

    use super::*;
    use crate::event::Batch;
    use crate::ring::PendingWakes;

    struct Rig {
        registry: Arc<Registry>,
        reader: Reader,
        watermark: Watermark,
        mailbox: Arc<Mailbox>,
        next: u64,
    }

    impl Rig {
        fn new(window: usize) -> Self {
            let registry = Arc::new(Registry::new(100, NonZeroUsize::new(window).unwrap()));
            let mailbox = Arc::new(Mailbox::new(0));
            let reader = registry.reader();
            Self { registry, reader, watermark: Watermark::new(), mailbox, next: 1 }
        }

        fn cursors(&self, topics: &[usize]) -> Vec<Cursor> {
            let subscription = |topic: &usize| {
                let selector = Selector::Topic(name(*topic));
                let waker = self.registry.subscribe(&selector, &self.mailbox, *topic).unwrap();
                Subscription { waker, index: 0 }
            };
            topics.iter().map(|topic| Cursor::new(subscription(topic))).collect()
        }

        /// Publishes a batch whose event `i` has the topics in `events[i]`; its chunk is its seq
        /// and a space.
        fn publish(&mut self, events: &[Vec<usize>]) {
            let (mut buffer, mut ends) = (Vec::new(), Vec::new());
            for i in 0..events.len() as u64 {
                buffer.extend_from_slice(format!("{} ", self.next + i).as_bytes());
                ends.push(buffer.len() as u32);
            }
            let batch = Arc::new(Batch::new(buffer.into(), ends.into(), Seq(self.next)));
            for topic in 0..4 {
                let has = |i: &u32| events[*i as usize].contains(&topic);
                let indices: Vec<u32> = (0..events.len() as u32).filter(has).collect();
                if !indices.is_empty() {
                    self.registry.publish(
                        &name(topic),
                        &batch,
                        &indices,
                        &mut PendingWakes::default(),
                    );
                }
            }
            self.next += events.len() as u64;
            self.watermark.raise(Seq(self.next - 1));
        }
    }

    fn name(topic: usize) -> Topic {
        Topic::new(&format!("t{topic}")).unwrap()
    }

    /// How far a session has read.
    #[derive(Default)]
    struct Progress {
        last: Seq,
        scan: Scan,
    }

    fn drain(rig: &Rig, cursors: &mut [Cursor], progress: &mut Progress) -> (Vec<u64>, Step) {
        take(rig, cursors, progress, usize::MAX)
    }

    /// Takes up to `slices`.
    fn take(
        rig: &Rig,
        cursors: &mut [Cursor],
        progress: &mut Progress,
        slices: usize,
    ) -> (Vec<u64>, Step) {
        let Progress { last, scan } = progress;
        let mut seen = Vec::new();
        for _ in 0..slices {
            match step(cursors, &rig.reader, *last, &rig.watermark, scan) {
                Step::Slice(bytes, to) => {
                    let text = std::str::from_utf8(&bytes).unwrap().to_owned();
                    seen.extend(text.split_terminator(' ').map(|seq| seq.parse::<u64>().unwrap()));
                    assert_eq!(seen.last(), Some(&to.0));
                    *last = to;
                }
                end => return (seen, end),
            }
        }
        (seen, Step::Wait)
    }

    proptest! {
        #[test]
        fn several_rings_are_read_in_seq_order_each_event_once(
            batches in proptest::collection::vec(
                proptest::collection::vec(proptest::collection::vec(0usize..4, 1..3), 1..6), 1..12),
            chosen in proptest::collection::btree_set(0usize..4, 1..4),
            taken in proptest::collection::vec(0usize..6, 12),
        ) {
            let mut rig = Rig::new(64);
            let chosen: Vec<usize> = chosen.into_iter().collect();
            let (mut cursors, mut progress) = (rig.cursors(&chosen), Progress::default());
            let (mut seen, mut expected) = (Vec::new(), Vec::new());
            for (batch, &slices) in batches.iter().zip(&taken) {
                let wanted = |(_, topics): &(u64, &Vec<usize>)| {
                    topics.iter().any(|topic| chosen.contains(topic))
                };
                expected.extend((rig.next..).zip(batch).filter(wanted).map(|(seq, _)| seq));
                rig.publish(batch);
                seen.extend(take(&rig, &mut cursors, &mut progress, slices).0);
            }
            let (rest, end) = drain(&rig, &mut cursors, &mut progress);
            seen.extend(rest);
            prop_assert_eq!(end, Step::Wait);
            prop_assert_eq!(seen, expected);
        }
    }

    #[test]
    fn a_batch_above_the_watermark_is_not_read() {
        let mut rig = Rig::new(8);
        let mut cursors = rig.cursors(&[0, 1]);
        rig.publish(&[vec![0]]);
        let batch = Arc::new(Batch::new("2 ".into(), Box::new([2]), Seq(2)));
        rig.registry.publish(&name(0), &batch, &[0], &mut PendingWakes::default());
        let mut progress = Progress::default();
        assert_eq!(drain(&rig, &mut cursors, &mut progress), (vec![1], Step::Wait));
        rig.watermark.raise(Seq(2));
        assert_eq!(drain(&rig, &mut cursors, &mut progress), (vec![2], Step::Wait));
    }

    #[test]
    fn a_cursor_that_fell_out_of_the_window_counts_the_events_it_missed() {
        let mut rig = Rig::new(4);
        let (mut one, mut two) = (rig.cursors(&[0]), rig.cursors(&[0, 1]));
        rig.publish(&[vec![0], vec![0], vec![1]]);
        let mut progress = Progress::default();
        assert_eq!(drain(&rig, &mut one, &mut progress), (vec![1, 2], Step::Wait));
        for _ in 0..5 {
            rig.publish(&[vec![0], vec![0]]);
        }
        assert_eq!(drain(&rig, &mut one, &mut progress).1, Step::Lagged);
        assert_eq!(drain(&rig, &mut two, &mut Progress::default()).1, Step::Lagged);
        let passed =
            |cursors: &mut [Cursor]| cursors.iter_mut().map(Cursor::seek_to_end).sum::<u64>();
        assert_eq!((passed(&mut one), passed(&mut two)), (10, 13));
    }

    /// A stream of a hundred topics holds a hundred of these.
    #[test]
    fn a_cursor_stays_small() {
        assert!(size_of::<Cursor>() <= 24, "{}", size_of::<Cursor>());
    }
}
