//! A thread's right to look at epochs.
//!
//! A [`Reader`] announces the era before it looks at an epoch, so that the writer does not free it
//! ([`reclaim`](super::reclaim)). A single read announces, looks and retracts. Between
//! [`hold`](Reader::hold) and [`quiesce`](Reader::quiesce) a reader stays announced from one read
//! to the next, and announces anew only if the era has changed: many reads pay for one fence.
#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use super::owners::Owners;
use super::reclaim::{Announcement, Reclaimer};

/// Reads the rings of one [`Registry`](super::Registry), or one [`Ring`](super::Ring) alone. Each
/// shard has one; it can be moved to another thread, but not shared between threads.
pub struct Reader {
    reclaimer: Arc<Reclaimer>,
    announcement: Arc<Announcement>,
    /// The era announced.
    era: Cell<Option<u64>>,
    /// Whether the announcement stays after a read.
    held: Cell<bool>,
    /// Whether the reader is looking at an epoch now.
    reading: Cell<bool>,
    owners: RefCell<Owners>,
}

/// One read: while it lasts, nothing is freed that was found with [`Section::is_current`] true.
pub(super) struct Section<'a> {
    reader: &'a Reader,
    era: u64,
}

impl Reader {
    pub(super) fn new(reclaimer: &Arc<Reclaimer>) -> Self {
        Self {
            reclaimer: Arc::clone(reclaimer),
            announcement: reclaimer.register(),
            era: Cell::new(None),
            held: Cell::new(false),
            reading: Cell::new(false),
            owners: RefCell::default(),
        }
    }

    /// Stays announced after the next reads, until [`quiesce`](Self::quiesce). The caller makes
    /// that short: what was in the rings when a read began can't be freed while it lasts.
    pub fn hold(&self) {
        self.held.set(true);
    }

    /// Announces that the reader looks at nothing. Without [`hold`](Self::hold) it does nothing.
    ///
    /// # Panics
    ///
    /// If it is called within a read.
    pub fn quiesce(&self) {
        assert!(!self.reading.get(), "a reader quiesces between two reads");
        self.held.set(false);
        self.owners.borrow_mut().clear();
        if self.era.take().is_some() {
            self.announcement.retract();
        }
    }

    /// Begins a read of a ring of `reclaimer`.
    ///
    /// # Panics
    ///
    /// If the reader reads the rings of another reclaimer, or if it is called within a read.
    pub(super) fn enter(&self, reclaimer: &Arc<Reclaimer>) -> Section<'_> {
        assert!(Arc::ptr_eq(reclaimer, &self.reclaimer), "a reader reads its own registry's rings");
        assert!(!self.reading.replace(true), "a reader reads one epoch at a time");
        let mut section = Section { reader: self, era: 0 };
        match self.era.get() {
            Some(era) => section.era = era,
            None => section.renew(),
        }
        section
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.announcement.retract();
        self.reclaimer.deregister(&self.announcement);
    }
}

impl Section<'_> {
    /// Whether what was loaded from a slot before this call may be looked at.
    pub(super) fn is_current(&self) -> bool {
        self.reader.reclaimer.is_current(self.era)
    }

    /// Announces the era that is current now. What was loaded before may not be looked at any more.
    pub(super) fn renew(&mut self) {
        self.era = self.reader.reclaimer.announce(&self.reader.announcement);
        self.reader.era.set(Some(self.era));
    }

    /// The reader's own owners of buffers, if it keeps any after this read.
    pub(super) fn owners(&self) -> Option<&RefCell<Owners>> {
        self.reader.held.get().then_some(&self.reader.owners)
    }
}

impl Drop for Section<'_> {
    fn drop(&mut self) {
        self.reader.reading.set(false);
        if !self.reader.held.get() {
            self.reader.era.set(None);
            self.reader.announcement.retract();
        }
    }
}

#[cfg(all(test, not(ring_loom)))]
mod tests {
    use std::num::NonZeroUsize;
    use std::sync::Weak;

    use super::*;
    use crate::event::{Batch, Seq};
    use crate::ring::reclaim::{SCAN_BYTES, SCAN_ITEMS};
    use crate::ring::{EventIndices, Read, Ring};

    fn ring(window: usize) -> (Ring, Arc<Reclaimer>) {
        let (window, reclaimer) = (NonZeroUsize::new(window).unwrap(), Arc::new(Reclaimer::new()));
        (Ring::with_reclaimer(window, Arc::clone(&reclaimer)), reclaimer)
    }

    fn scan(reclaimer: &Reclaimer) {
        reclaimer.writer().scan();
    }

    /// Publishes `n` batches of a kibibyte and returns them, without keeping them.
    fn publish_weak(ring: &Ring, n: usize) -> Vec<Weak<Batch>> {
        let batch = || Arc::new(Batch::new(vec![b'x'; 1024].into(), Box::new([1024]), Seq(1)));
        (0..n)
            .map(|_| {
                let batch = batch();
                ring.publish(&batch, EventIndices::Range(0..1));
                Arc::downgrade(&batch)
            })
            .collect()
    }

    fn alive(batches: &[Weak<Batch>]) -> usize {
        batches.iter().filter(|batch| batch.strong_count() > 0).count()
    }

    #[test]
    fn what_has_left_is_freed_within_a_bound_and_at_once_on_demand() {
        let ((ring, reclaimer), window) = (ring(8), 8);
        let reader = ring.reader();
        assert_eq!(ring.read(&reader, 0, |_| ()), Read::Wait);
        let batches = publish_weak(&ring, 1000);
        assert_eq!(ring.read(&reader, 999, |_| ()), Read::Epoch(()));
        assert!(alive(&batches) <= window + SCAN_ITEMS, "{}", alive(&batches));
        scan(&reclaimer);
        assert_eq!(alive(&batches), window);
        ring.expel(999);
        scan(&reclaimer);
        assert_eq!(alive(&batches), 0);
    }

    #[test]
    fn large_batches_are_freed_before_there_are_many() {
        let (ring, reclaimer) = ring(2);
        let batches = publish_weak(&ring, 2);
        let large = || Arc::new(Batch::new(vec![0; SCAN_BYTES].into(), [1 << 20].into(), Seq(1)));
        for _ in 0..4 {
            ring.publish(&large(), EventIndices::Range(0..1));
        }
        assert_eq!(alive(&batches), 0);
        assert_eq!(reclaimer.writer().held_bytes(), 0);
    }

    /// Ensures that publishing costs the same however many shards there are.
    #[test]
    fn the_writer_looks_at_one_reader_per_object_at_most() {
        let (ring, reclaimer) = ring(8);
        let readers: Vec<_> = (0..500).map(|_| ring.reader()).collect();
        publish_weak(&ring, 2000);
        let scans = reclaimer.announce(&reclaimer.register()) - 1;
        // After 64 objects the writer learns how many readers there are.
        assert_eq!(scans, 1 + (2000 - SCAN_ITEMS as u64) / readers.len() as u64);
    }

    /// Ensures that a shard that stands still between two reads holds back no more than a window.
    #[test]
    fn a_reader_that_stands_still_holds_back_what_was_in_the_ring_and_no_more() {
        let (ring, reclaimer) = ring(8);
        let (still, other) = (ring.reader(), ring.reader());
        let before = publish_weak(&ring, 20);
        scan(&reclaimer);
        still.hold();
        assert_eq!(ring.read(&still, 19, |_| ()), Read::Epoch(()));
        let after = publish_weak(&ring, 1000);
        assert_eq!(ring.read(&other, 1019, |_| ()), Read::Epoch(()));
        scan(&reclaimer);
        assert_eq!(alive(&before), 8, "they were in the ring when it read");
        // The reader's era lasted until the next scan; what was published in it is held back too.
        assert!(alive(&after) <= 8 + SCAN_ITEMS, "{}", alive(&after));
        assert!(reclaimer.writer().held_bytes() >= 8 * 1024);
        still.quiesce();
        scan(&reclaimer);
        assert_eq!((alive(&before), alive(&after)), (0, 8));
        assert_eq!(reclaimer.writer().held_bytes(), 0);
    }

    /// The models on real threads, with the allocator that would reuse what is freed too early.
    #[test]
    fn epochs_read_on_other_threads_are_whole() {
        const EPOCHS: u64 = 20_000;
        let (ring, _) = ring(4);
        let read_all = |held: bool| {
            let (reader, mut cursor) = (ring.reader(), 0);
            while cursor < EPOCHS {
                if held {
                    reader.hold();
                }
                match ring.read(&reader, cursor, |epoch| epoch.slice_after(Seq(0))) {
                    Read::Epoch(slice) => {
                        assert_eq!(*slice.expect("one event").bytes, cursor.to_ne_bytes());
                        cursor += 1;
                    }
                    Read::Lagged => cursor = ring.tail() - 1,
                    Read::Wait => std::thread::yield_now(),
                }
                if cursor % 16 == 0 {
                    reader.quiesce();
                }
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(|| read_all(true));
            scope.spawn(|| read_all(false));
            for number in 0..EPOCHS {
                let bytes = number.to_ne_bytes().to_vec();
                let batch = Arc::new(Batch::new(bytes.into(), [8].into(), Seq(1 + number)));
                ring.publish(&batch, EventIndices::Range(0..1));
                if number % 64 == 0 {
                    ring.expel(number);
                }
            }
        });
    }

    #[test]
    fn a_reader_that_is_dropped_holds_back_nothing() {
        let (ring, reclaimer) = ring(2);
        let reader = ring.reader();
        let batches = publish_weak(&ring, 1);
        reader.hold();
        assert_eq!(ring.read(&reader, 0, |_| ()), Read::Epoch(()));
        drop(reader);
        ring.expel(0);
        scan(&reclaimer);
        assert_eq!(alive(&batches), 0);
    }

    #[test]
    #[should_panic = "a reader reads one epoch at a time"]
    fn a_read_within_a_read_is_refused() {
        let (ring, _) = ring(2);
        publish_weak(&ring, 1);
        let reader = ring.reader();
        ring.read(&reader, 0, |_| ring.read(&reader, 0, |_| ()));
    }

    #[test]
    #[should_panic = "a reader quiesces between two reads"]
    fn a_reader_does_not_quiesce_within_a_read() {
        let (ring, _) = ring(2);
        publish_weak(&ring, 1);
        let reader = ring.reader();
        ring.read(&reader, 0, |_| reader.quiesce());
    }

    #[test]
    #[should_panic = "a reader reads its own registry's rings"]
    fn another_registrys_reader_is_refused() {
        let ((one, _), (other, _)) = (ring(2), ring(2));
        publish_weak(&one, 1);
        one.read(&other.reader(), 0, |_| ());
    }
}
