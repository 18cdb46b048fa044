//! Eviction of batches from the rings, by age and by bytes.
//!
//! A slot of a ring keeps its whole batch's buffer alive. A quiet ring would keep the batch of its
//! last epoch for ever. So a batch leaves all of its rings when it is older than a socket may be
//! blocked (`FANFARE_WRITE_TIMEOUT`) plus 5 s and every shard has visited the streams it is for, or
//! when all batches together exceed `FANFARE_WINDOW_BYTES`. Age alone is not enough: a node that is
//! late would take events from streams that are ready to receive them (I10). Nor does a batch age
//! while the whole process stands still: the streams that were blocked before could not go on.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::event::{Batch, Seq};
use crate::ring::{Ring, SCAN_BYTES};

/// The epochs of one batch: ring and number.
pub(super) type Placed = Vec<(Arc<Ring>, u64)>;

/// Bytes a batch takes besides its encoded events and their ends, by the sizes of its parts.
const BATCH_BYTES: u64 = 192;

/// Bytes an epoch takes, with its slot and its record here.
const EPOCH_BYTES: u64 = 128;

/// Bytes that readers may hold back before the rings keep less: as many as the sequencer lets
/// gather before it frees anything.
const HELD_BYTES_FREE: u64 = SCAN_BYTES as u64;

/// Time between two calls counts at most this much. While the node runs, the sequencer's thread
/// trims the window about once a second or more often.
const STEP_MAX: Duration = Duration::from_secs(2);

struct LiveBatch {
    /// How long the node had run.
    at: Duration,
    last: Seq,
    bytes: u64,
    epochs: Placed,
}

/// The batches that rings hold, in the order of publication.
pub(super) struct LiveWindow {
    batches: VecDeque<LiveBatch>,
    bytes: u64,
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
        Self { batches: VecDeque::new(), bytes: 0, bytes_max, age_max, now, ran }
    }

    fn tick(&mut self, now: Duration) {
        self.ran += now.saturating_sub(self.now).min(STEP_MAX);
        self.now = now;
    }

    /// Records a batch that was published to at least one ring.
    pub(super) fn admit(&mut self, now: Duration, batch: &Batch, epochs: Placed) {
        self.tick(now);
        let bytes = batch.bytes() as u64 + BATCH_BYTES + EPOCH_BYTES * epochs.len() as u64;
        self.bytes += bytes;
        let last = Seq(batch.first().0 + batch.len() as u64 - 1);
        self.batches.push_back(LiveBatch { at: self.ran, last, bytes, epochs });
    }

    /// Evicts the batches that are too old or over the byte bound, of which readers hold back
    /// `held` bytes of batches evicted before. The newest two stay whatever their size: two large
    /// events back to back must not make a stream that keeps up lag. `slowest` returns the seq up
    /// to which the slowest shard has visited its streams, if any is behind.
    pub(super) fn trim(&mut self, now: Duration, held: u64, slowest: impl Fn() -> Option<Seq>) {
        self.tick(now);
        // Readers that look at an epoch now hold back a little all the time; that comes on top.
        let held = held.saturating_sub(HELD_BYTES_FREE);
        while let Some(oldest) = self.batches.front() {
            let aged = self.ran.saturating_sub(oldest.at) > self.age_max
                && slowest().is_none_or(|visited| oldest.last <= visited);
            let over = self.bytes + held > self.bytes_max && self.batches.len() > 2;
            if !aged && !over {
                break;
            }
            let gone = self.batches.pop_front().expect("the front was just seen");
            self.bytes -= gone.bytes;
            for (ring, number) in gone.epochs {
                ring.expel(number);
            }
        }
        if self.batches.is_empty() {
            self.batches.shrink_to(64);
        }
    }
}

#[cfg(all(test, not(ring_loom)))]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::ring::{EventIndices, Read};

    fn publish(window: &mut LiveWindow, ring: &Arc<Ring>, at: u64) {
        let batch = Arc::new(Batch::new(vec![0; 100].into(), Box::new([100]), Seq(at + 1)));
        let number = ring.publish(&batch, EventIndices::Range(0..1));
        window.admit(Duration::from_secs(at), &batch, vec![(Arc::clone(ring), number)]);
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
        let mut window =
            LiveWindow::new(3 * (100 + BATCH_BYTES + EPOCH_BYTES), Duration::from_secs(20));
        for at in 0..5 {
            publish(&mut window, &ring, at);
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
            publish(&mut window, &ring, at);
        }
        for (slowest, left) in [(Some(Seq(0)), 5), (Some(Seq(2)), 3), (None, 0)] {
            run(&mut window, 4..60, slowest);
            assert_eq!(live(&ring), left, "{slowest:?}");
        }
    }

    #[test]
    fn what_readers_hold_back_is_part_of_the_bytes() {
        let ring = Arc::new(Ring::new(NonZeroUsize::new(64).unwrap()));
        let batch_bytes = 100 + BATCH_BYTES + EPOCH_BYTES;
        let mut window = LiveWindow::new(10 * batch_bytes, Duration::MAX);
        (0..10).for_each(|at| publish(&mut window, &ring, at));
        window.trim(Duration::ZERO, HELD_BYTES_FREE, || None);
        assert_eq!(window.batches.len(), 10);
        window.trim(Duration::ZERO, HELD_BYTES_FREE + 4 * batch_bytes, || None);
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
        publish(&mut window, &ring, 0);
        window.trim(Duration::from_secs(60), 0, || None);
        assert_eq!(live(&ring), 1);
        run(&mut window, 60..77, None);
        assert_eq!(live(&ring), 1);
        run(&mut window, 77..80, None);
        assert_eq!(live(&ring), 0);
    }
}
