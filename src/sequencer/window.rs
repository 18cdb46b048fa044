//! Eviction of batches from the rings, by age and by bytes.
//!
//! A slot of a ring keeps its whole batch's buffer alive. A quiet ring would keep the batch of its
//! last epoch for ever. So a batch leaves all of its rings when it is older than a socket may be
//! blocked (`FANFARE_WRITE_TIMEOUT`) plus 5 s and every shard has visited the streams it is for, or
//! when all batches together exceed `FANFARE_WINDOW_BYTES`. Age alone is not enough: a node that is
//! late would take events from streams that are ready to receive them (I10). Nor does a batch age
//! while the whole process stands still: the streams that were blocked before could not go on.
//!
//! Each step evicts a bounded number of epochs, and as many bytes as were admitted: so the bytes of
//! the rings stay within their bound although the work is bounded. Room for what readers newly hold
//! back is made in as many steps as that takes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::event::{Batch, Seq};
use crate::ring::{Placed, Ring, SCAN_BYTES};

/// Bytes a batch takes besides its encoded events and their ends, by the sizes of its parts.
const BATCH_BYTES: u64 = 192;

/// Bytes of the record of a batch whose epochs were all overwritten.
const RECORD_BYTES: u64 = 128;

/// Bytes per event of a batch: where its chunk ends.
const END_BYTES: u64 = size_of::<u32>() as u64;

/// Bytes an epoch takes, with its slot and its record here.
const EPOCH_BYTES: u64 = 128;

/// Bytes that readers may hold back before the rings keep less: as many as the sequencer lets
/// gather before it frees anything.
const HELD_BYTES_FREE: u64 = SCAN_BYTES as u64;

/// Time between two calls counts at most this much. While the node runs, the sequencer's thread
/// trims the window about once a second or more often.
const STEP_MAX: Duration = Duration::from_secs(2);

/// Epochs evicted in one step, at most; more only to make room for as many bytes as were admitted.
const TRIMMED_MAX: usize = 4096;

struct LiveBatch {
    first: Seq,
    last: Seq,
    at: Duration,
    bytes: u64,
    /// Ring and number of each epoch; empty once the rings have overwritten all of them.
    epochs: Vec<(Arc<Ring>, u64)>,
    /// Epochs that were not overwritten.
    live: usize,
}

/// The batches that rings hold, in the order of publication.
pub(super) struct LiveWindow {
    batches: VecDeque<LiveBatch>,
    bytes: u64,
    /// Bytes admitted since the last step, for which room has to be made.
    admitted: u64,
    bytes_max: u64,
    age_max: Duration,
    /// The time of the last call.
    now: Duration,
    /// How much of it the node was running.
    ran: Duration,
}

impl LiveWindow {
    pub(super) fn new(bytes_max: u64, age_max: Duration) -> Self {
        let (now, ran) = (Duration::ZERO, Duration::ZERO);
        Self { batches: VecDeque::new(), bytes: 0, admitted: 0, bytes_max, age_max, now, ran }
    }

    fn tick(&mut self, now: Duration) {
        self.ran += now.saturating_sub(self.now).min(STEP_MAX);
        self.now = now;
    }

    /// Records a batch that was published to at least one ring.
    pub(super) fn admit(&mut self, now: Duration, batch: &Batch, placed: Vec<Placed>) {
        self.tick(now);
        let mut bytes = batch.bytes() as u64 + END_BYTES * batch.len() as u64 + BATCH_BYTES;
        for epoch in &placed {
            bytes += EPOCH_BYTES + epoch.list_bytes as u64;
            if let Some(first) = epoch.overwritten {
                self.overwritten(first);
            }
        }
        self.bytes += bytes;
        self.admitted += bytes;
        let (first, live) = (batch.first(), placed.len());
        let last = Seq(first.0 + batch.len() as u64 - 1);
        let epochs = placed.into_iter().map(|epoch| (epoch.ring, epoch.number)).collect();
        self.batches.push_back(LiveBatch { first, last, at: self.ran, bytes, epochs, live });
    }

    /// A ring has overwritten its epoch of the batch. With its last epoch the batch is freed.
    fn overwritten(&mut self, first: Seq) {
        let index = self.batches.partition_point(|batch| batch.first < first);
        let Some(batch) = self.batches.get_mut(index).filter(|batch| batch.first == first) else {
            return;
        };
        batch.live -= 1;
        if batch.live == 0 {
            self.bytes -= batch.bytes - RECORD_BYTES;
            batch.bytes = RECORD_BYTES;
            batch.epochs = Vec::new();
        }
    }

    /// Evicts batches that are too old or over the byte bound, of which readers hold back `held`
    /// bytes of batches evicted before; returns whether more are left to evict. The newest two stay
    /// whatever their size: two large events back to back must not make a stream that keeps up lag.
    /// `slowest` returns the seq up to which the slowest shard has visited its streams, if any is
    /// behind.
    pub(super) fn trim(
        &mut self,
        now: Duration,
        held: u64,
        slowest: impl Fn() -> Option<Seq>,
    ) -> bool {
        self.tick(now);
        // Readers that look at an epoch now hold back a little all the time; that comes on top.
        let held = held.saturating_sub(HELD_BYTES_FREE);
        let (mut evicted, mut freed) = (0, 0);
        let admitted = std::mem::take(&mut self.admitted);
        while let Some(oldest) = self.batches.front() {
            let aged = oldest.live == 0
                || self.ran.saturating_sub(oldest.at) > self.age_max
                    && slowest().is_none_or(|visited| oldest.last <= visited);
            let over = self.bytes + held > self.bytes_max && self.batches.len() > 2;
            if !aged && !over {
                break;
            }
            if evicted >= TRIMMED_MAX && !(over && freed < admitted) {
                return true;
            }
            let gone = self.batches.pop_front().expect("the front was just seen");
            (evicted, freed) = (evicted + gone.epochs.len().max(1), freed + gone.bytes);
            self.bytes -= gone.bytes;
            for (ring, number) in gone.epochs {
                ring.expel(number);
            }
        }
        if self.batches.is_empty() {
            self.batches.shrink_to(64);
        }
        false
    }
}

#[cfg(all(test, not(ring_loom)))]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::event::{Selector, Topic};
    use crate::ring::{EventIndices, Mailbox, PendingWakes, Read, Registry};

    /// What the window counts for a batch of one event of 100 bytes in one ring.
    const SMALL: u64 = 100 + END_BYTES + BATCH_BYTES + EPOCH_BYTES;

    fn batch(seq: u64, bytes: usize) -> Arc<Batch> {
        Arc::new(Batch::new(vec![0; bytes].into(), Box::new([bytes as u32]), Seq(seq)))
    }

    fn publish(window: &mut LiveWindow, ring: &Arc<Ring>, at: u64, bytes: usize) {
        let seq = window.batches.back().map_or(1, |batch| batch.first.0 + 1);
        let batch = batch(seq, bytes);
        let number = ring.publish(&batch, EventIndices::Range(0..1));
        let placed = Placed { ring: Arc::clone(ring), number, list_bytes: 0, overwritten: None };
        window.admit(Duration::from_secs(at), &batch, vec![placed]);
    }

    /// Trims twice a second, as long as the node runs.
    fn run(window: &mut LiveWindow, seconds: std::ops::Range<u64>, slowest: Option<Seq>) {
        for half in 2 * seconds.start..=2 * seconds.end {
            window.trim(Duration::from_millis(500 * half), 0, || slowest);
        }
    }

    fn live(ring: &Ring) -> usize {
        let reader = ring.reader();
        (0..5).filter(|&n| ring.read(&reader, n, |_| ()) == Read::Epoch(())).count()
    }

    #[test]
    fn batches_are_evicted_by_bytes_and_by_age() {
        let ring = Arc::new(Ring::new(NonZeroUsize::new(64).unwrap()));
        let mut window = LiveWindow::new(3 * SMALL, Duration::from_secs(20));
        for at in 0..5 {
            publish(&mut window, &ring, at, 100);
            window.trim(Duration::from_secs(at), 0, || None);
        }
        assert_eq!(live(&ring), 3);
        run(&mut window, 4..23, None);
        assert_eq!(live(&ring), 2);
        run(&mut window, 23..60, None);
        assert_eq!((live(&ring), ring.slots(), window.bytes), (0, 0, 0));
    }

    /// Ensures that a stream that is ready is not lagged out because its node is late.
    ///
    /// Scenario: a shard takes longer to visit its streams than batches stay in the rings.
    ///
    /// Cause: batches left the rings by age alone. With a million streams and a write timeout of
    /// one second, four events back to back ended 253,480 of them.
    ///
    /// Fix: a batch stays until every shard has visited its streams.
    #[test]
    fn a_batch_that_a_shard_has_not_visited_does_not_age() {
        let ring = Arc::new(Ring::new(NonZeroUsize::new(64).unwrap()));
        let mut window = LiveWindow::new(1 << 20, Duration::from_secs(20));
        for at in 0..5 {
            publish(&mut window, &ring, at, 100);
        }
        for (slowest, left) in [(Some(Seq(0)), 5), (Some(Seq(2)), 3), (None, 0)] {
            run(&mut window, 4..60, slowest);
            assert_eq!(live(&ring), left, "{slowest:?}");
        }
    }

    #[test]
    fn what_readers_hold_back_is_part_of_the_bytes() {
        let ring = Arc::new(Ring::new(NonZeroUsize::new(64).unwrap()));
        let mut window = LiveWindow::new(10 * SMALL, Duration::MAX);
        (0..10).for_each(|at| publish(&mut window, &ring, at, 100));
        window.trim(Duration::ZERO, HELD_BYTES_FREE, || None);
        assert_eq!(window.batches.len(), 10);
        window.trim(Duration::ZERO, HELD_BYTES_FREE + 4 * SMALL, || None);
        assert_eq!(window.batches.len(), 6);
        window.trim(Duration::ZERO, u64::MAX / 2, || None);
        assert_eq!(window.batches.len(), 2);
    }

    /// Ensures that a stream that is ready is not lagged out because the process stood still.
    ///
    /// Scenario: a stream's socket is full when the process is stopped for longer than batches stay
    /// in the rings, and no history is kept. Its client reads on.
    ///
    /// Cause: the age of a batch was a time of day. The stream had been visited, so the batch left
    /// the rings before the stream could be written to again.
    ///
    /// Fix: only time in which the node ran counts.
    #[test]
    fn a_batch_does_not_age_while_the_process_stands_still() {
        let ring = Arc::new(Ring::new(NonZeroUsize::new(64).unwrap()));
        let mut window = LiveWindow::new(1 << 20, Duration::from_secs(20));
        publish(&mut window, &ring, 0, 100);
        window.trim(Duration::from_secs(60), 0, || None);
        assert_eq!(live(&ring), 1);
        run(&mut window, 60..77, None);
        assert_eq!(live(&ring), 1);
        run(&mut window, 77..80, None);
        assert_eq!(live(&ring), 0);
    }

    /// Ensures that one step doesn't evict a whole window, for which all topics would wait.
    ///
    /// Scenario: a node that published small events for a while is quiet until they are too old.
    ///
    /// Cause: everything over a bound was evicted at once, up to 120,000 batches.
    ///
    /// Fix: a step evicts a bounded number of epochs, and says that more are left.
    #[test]
    fn a_step_evicts_a_bounded_number_of_aged_batches() {
        let ring = Arc::new(Ring::new(NonZeroUsize::new(4 * TRIMMED_MAX).unwrap()));
        let mut window = LiveWindow::new(u64::MAX, Duration::from_secs(1));
        for _ in 0..2 * TRIMMED_MAX + 1 {
            publish(&mut window, &ring, 0, 100);
        }
        let now = Duration::from_secs(21);
        assert!(window.trim(now, 0, || None) && window.batches.len() == TRIMMED_MAX + 1);
        assert!(window.trim(now, 0, || None) && window.batches.len() == 1);
        assert!(!window.trim(now, 0, || None) && window.batches.is_empty());
    }

    #[test]
    fn a_step_makes_a_bounded_amount_of_room_for_what_readers_hold_back() {
        let ring = Arc::new(Ring::new(NonZeroUsize::new(4 * TRIMMED_MAX).unwrap()));
        let mut window = LiveWindow::new(1 << 40, Duration::MAX);
        for _ in 0..2 * TRIMMED_MAX + 1 {
            publish(&mut window, &ring, 0, 100);
            assert!(!window.trim(Duration::ZERO, 0, || None));
        }
        let held = 1 << 41;
        assert!(window.trim(Duration::ZERO, held, || None));
        assert_eq!(window.batches.len(), TRIMMED_MAX + 1);
        assert!(!window.trim(Duration::ZERO, held, || None) && window.batches.len() == 2);
    }

    #[test]
    fn a_large_batch_makes_room_for_itself_in_one_step() {
        let ring = Arc::new(Ring::new(NonZeroUsize::new(4 * TRIMMED_MAX).unwrap()));
        let bytes_max = 3 * TRIMMED_MAX as u64 * SMALL;
        let mut window = LiveWindow::new(bytes_max, Duration::MAX);
        for _ in 0..3 * TRIMMED_MAX {
            publish(&mut window, &ring, 0, 100);
            assert!(!window.trim(Duration::ZERO, 0, || None) && window.bytes <= bytes_max);
        }
        publish(&mut window, &ring, 0, 2 * TRIMMED_MAX * SMALL as usize);
        assert!(!window.trim(Duration::ZERO, 0, || None) && window.bytes <= bytes_max);
        assert!(window.batches.len() >= TRIMMED_MAX);
    }

    /// Ensures that a quiet topic's events stay in the window while there is room for them.
    ///
    /// Scenario: a busy topic's ring is full, so that each of its batches overwrites an older one,
    /// which is freed; a quiet topic's batch is older than all of them.
    ///
    /// Cause: overwritten batches still counted, so the window seemed full and the quiet topic's
    /// batch was evicted.
    ///
    /// Fix: a batch counts until the last ring has overwritten it.
    #[test]
    fn overwritten_batches_do_not_count() {
        const WINDOW: usize = 4;
        let registry = Registry::new(3, NonZeroUsize::new(WINDOW).unwrap());
        let mailbox = Arc::new(Mailbox::new(0));
        let topics = ["quiet", "busy", "other"].map(|name| Topic::new(name).unwrap());
        let wakers = topics
            .each_ref()
            .map(|topic| registry.subscribe(&Selector::Topic(topic.clone()), &mailbox, 0).unwrap());
        let reader = registry.reader();
        let mut window = LiveWindow::new(20 * SMALL, Duration::MAX);
        let mut publish = |seq: u64, topics: &[Topic]| {
            let batch = batch(seq, 100);
            let mut wakes = PendingWakes::default();
            let placed = |topic| registry.publish(topic, &batch, &[0], &mut wakes).unwrap();
            window.admit(Duration::ZERO, &batch, topics.iter().map(placed).collect());
            // A record needs no visit.
            window.trim(Duration::ZERO, 0, || Some(Seq(0)));
            window.bytes
        };
        publish(1, &topics[..1]);
        publish(2, &topics[1..]);
        for seq in 3..=30 {
            publish(seq, &topics[1..2]);
        }
        assert!(wakers[0].ring.read(&reader, 0, |_| ()) == Read::Epoch(()), "there is room for it");
        assert!(
            wakers[2].ring.read(&reader, 0, |_| ()) == Read::Epoch(()),
            "one ring still has it"
        );
        // Overwritten in `busy`, but not in `other`.
        let live = 1 + WINDOW as u64 + 1;
        let records = (30 - live) * RECORD_BYTES;
        assert_eq!(publish(31, &topics[1..2]), live * SMALL + EPOCH_BYTES + records + RECORD_BYTES);
        // What has no live epoch leaves as soon as it is the oldest.
        for seq in 32..200 {
            publish(seq, &topics[..2]);
        }
        assert!(wakers[0].ring.read(&reader, 0, |_| ()) == Read::Lagged);
        assert_eq!(window.batches.len(), WINDOW);
    }

    #[test]
    fn the_lists_of_an_epochs_events_are_counted() {
        let registry = Registry::new(1, NonZeroUsize::new(8).unwrap());
        let (mailbox, topic) = (Arc::new(Mailbox::new(0)), Topic::new("a").unwrap());
        registry.subscribe(&Selector::Topic(topic.clone()), &mailbox, 0).unwrap();
        let bytes = |indices: &[u32]| {
            let ends: Box<[u32]> = (1..=100).collect();
            let batch = Arc::new(Batch::new(vec![0; 100].into(), ends, Seq(1)));
            let placed = registry.publish(&topic, &batch, indices, &mut PendingWakes::default());
            let mut window = LiveWindow::new(u64::MAX, Duration::MAX);
            window.admit(Duration::ZERO, &batch, placed.into_iter().collect());
            window.bytes
        };
        let every_other: Vec<u32> = (0..100).step_by(2).collect();
        assert_eq!(bytes(&every_other) - bytes(&[3, 4, 5]), 4 * 50);
    }
}
