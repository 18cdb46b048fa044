//! A single-writer, multi-reader ring buffer of epochs whose readers take no lock.
//!
//! The sequencer is the only writer ([`Ring::publish`], [`Ring::expel`]), one thread at a time,
//! under its lock. Any number of sessions on any shard read ([`Ring::read`]), each with its own
//! cursor: the number of the next epoch it wants. A reader gets that epoch, has to wait, or has
//! lagged; it never blocks the writer, and the writer never looks at a reader (I3).
//!
//! Epoch `n` lives in slot `n % slots`. A ring starts without slots, doubles up to the window when
//! it is full of live epochs, and frees its slots when all epochs are expelled, so a million quiet
//! topics cost little. Growth installs a new array: a reader that holds the old one finds its epoch
//! there, or finds that it has left. Epochs and arrays that left are freed when no reader can be
//! looking at them ([`reclaim`](super::reclaim)).
//!
//! # Ordering
//!
//! | word | writer | readers | what becomes visible |
//! |---|---|---|---|
//! | `tail` | sequencer, Release | sessions, Acquire | array, slots below it, `counted` |
//! | `slots`, slot | sequencer, Release ([`Slot`]) | sessions, Acquire | the epoch |
//! | `head` | sequencer, Relaxed | sequencer | nothing: its lock hands it on |
//! | `counted` | sequencer, Relaxed | sequencer, sessions | nothing: it rides on `tail` |
//!
//! Models: `a_reader_sees_every_epoch_or_knows_it_lagged`, `growing_loses_nothing`,
//! `expelling_is_seen_as_lag`.
//!
//! Why *tail, then array, then slot* is enough: the reader read `tail > n`, so it loads the array
//! and the slot as they were when epoch `n` was published, or later ones. In every later state slot
//! `n % slots` holds epoch `n` unless that epoch was overwritten or expelled. So a slot that does
//! not hold `n` means lagged, never "not yet".

use std::num::NonZeroUsize;
use std::sync::Arc;

use super::epoch::{Epoch, EpochData, EventIndices};
use super::reader::{Reader, Section};
use super::reclaim::{Dated, Footprint, Reclaimer, Writer};
use super::slot::{EraChanged, Slot};
use crate::event::{Batch, Seq};
use crate::sync::{AtomicU64, Ordering};

/// Slots a ring starts with when its first epoch comes.
const SLOTS_MIN: usize = 2;

type Slots = Box<[Slot<EpochData>]>;

/// One selector's window of recent epochs.
pub struct Ring {
    slots: Slot<Slots>,
    /// Number of the next epoch; every one below it has been published.
    tail: AtomicU64,
    /// Number of the oldest epoch still in the ring.
    head: AtomicU64,
    /// Events published so far.
    counted: AtomicU64,
    window: NonZeroUsize,
    reclaimer: Arc<Reclaimer>,
}

impl Footprint for Slots {
    fn footprint(&self) -> (usize, usize) {
        (self.as_ptr().addr(), size_of_val(&**self))
    }
}

/// Result of a read.
#[derive(Debug, PartialEq, Eq)]
pub enum Read<R> {
    /// The value returned by `look`.
    Epoch(R),
    /// The epoch is not published yet.
    Wait,
    /// The epoch has left the ring.
    Lagged,
}

impl Ring {
    /// An empty ring that holds at most `window` epochs, with readers of its own.
    pub fn new(window: NonZeroUsize) -> Self {
        Self::with_reclaimer(window, Arc::new(Reclaimer::new()))
    }

    /// An empty ring that is read by the readers of `reclaimer`.
    pub(super) fn with_reclaimer(window: NonZeroUsize, reclaimer: Arc<Reclaimer>) -> Self {
        Self {
            slots: Slot::default(),
            tail: AtomicU64::new(0),
            head: AtomicU64::new(0),
            counted: AtomicU64::new(0),
            window,
            reclaimer,
        }
    }

    /// A new reader of this ring, and of all rings of its registry.
    pub fn reader(&self) -> Reader {
        Reader::new(&self.reclaimer)
    }

    /// The cursor that reads what is published from now on.
    #[inline]
    pub fn tail(&self) -> u64 {
        // Ordering: Acquire, so that a reader that takes a cursor here sees everything published
        // before it, in the slots and in the history. Pairs with Release in `publish`. Model:
        // a_reader_sees_every_epoch_or_knows_it_lagged.
        self.tail.load(Ordering::Acquire)
    }

    /// Events published so far; at least those of every epoch below a tail that was read before.
    pub fn counted(&self) -> u64 {
        // Ordering: Relaxed: it rides on `tail`, and only feeds the count of missed events. Pairs
        // with the store in `publish`. Model: a_reader_sees_every_epoch_or_knows_it_lagged.
        self.counted.load(Ordering::Relaxed)
    }

    /// Calls `look` with the epoch at `cursor`.
    ///
    /// # Panics
    ///
    /// If the reader is another registry's, or if `look` reads a ring with it.
    pub fn read<R>(
        &self,
        reader: &Reader,
        cursor: u64,
        look: impl FnOnce(&Epoch<'_>) -> R,
    ) -> Read<R> {
        if cursor >= self.tail() {
            return Read::Wait;
        }
        let mut section = reader.enter(&self.reclaimer);
        loop {
            match self.find(cursor, &section) {
                Ok(Some(epoch)) => {
                    let owners = section.owners();
                    return Read::Epoch(look(&Epoch { data: epoch.get(), owners }));
                }
                Ok(None) => return Read::Lagged,
                // The writer has scanned since: rare.
                Err(EraChanged) => section.renew(),
            }
        }
    }

    /// The epoch `number`, which has been published, if it is still in the ring.
    fn find<'s>(
        &'s self,
        number: u64,
        section: &'s Section<'_>,
    ) -> Result<Option<&'s Dated<EpochData>>, EraChanged> {
        // SAFETY: `enter` made the section for this ring's reclaimer.
        let Some(slots) = unsafe { self.slots.load(section) }? else { return Ok(None) };
        let slots = slots.get();
        // SAFETY: likewise.
        let epoch = unsafe { slots[slot(number, slots.len())].load(section) }?;
        Ok(epoch.filter(|epoch| epoch.get().number == number))
    }

    /// Publishes a batch's events to this ring as one epoch and returns its number. Sequencer only.
    pub fn publish(&self, batch: &Arc<Batch>, indices: EventIndices) -> u64 {
        self.place(batch, indices).0
    }

    /// Likewise; also returns the first seq of the batch whose epoch was overwritten for it.
    pub(super) fn place(&self, batch: &Arc<Batch>, indices: EventIndices) -> (u64, Option<Seq>) {
        let mut writer = self.reclaimer.writer();
        // Ordering: Relaxed: written under the sequencer's lock only. Model:
        // a_reader_sees_every_epoch_or_knows_it_lagged.
        let number = self.tail.load(Ordering::Relaxed);
        let counted = self.counted.load(Ordering::Relaxed);
        let slots = self.room_for(number, &mut writer);
        let epoch = EpochData::new(number, counted, Arc::clone(batch), indices);
        // Ordering: Relaxed: published by the Release store of `tail` below. Model: the same.
        self.counted.store(epoch.counted, Ordering::Relaxed);
        let epoch = Some(writer.date(epoch));
        let slot = &slots[slot(number, slots.len())];
        // SAFETY: the writer is of this ring's reclaimer; the result is used before `replace`.
        let overwritten = unsafe { slot.current() }.map(|oldest| oldest.get().batch_first());
        // SAFETY: the writer is of this ring's reclaimer.
        unsafe { slot.replace(epoch, &mut writer) };
        // Ordering: Release: who reads the new tail finds the slot and its array. Pairs with
        // Acquire in `tail`. Model: a_reader_sees_every_epoch_or_knows_it_lagged.
        self.tail.store(number + 1, Ordering::Release);
        (number, overwritten)
    }

    /// Drops every epoch up to and including `number`. Sequencer only.
    pub fn expel(&self, number: u64) {
        let mut writer = self.reclaimer.writer();
        // Ordering: Relaxed: head and tail are written under the sequencer's lock only. Model:
        // expelling_is_seen_as_lag.
        let head = self.head.load(Ordering::Relaxed);
        let tail = self.tail.load(Ordering::Relaxed);
        let end = (number + 1).min(tail);
        if end <= head {
            return;
        }
        // Ordering: Relaxed: read under the sequencer's lock only. Model: expelling_is_seen_as_lag.
        self.head.store(end, Ordering::Relaxed);
        // SAFETY: the writer is of this ring's reclaimer, and the array is replaced after the loop.
        let slots = unsafe { self.slots.current() }.expect("a ring with live epochs has slots");
        let slots = slots.get();
        for gone in head..end {
            // SAFETY: the writer is of this ring's reclaimer.
            unsafe { slots[slot(gone, slots.len())].replace(None, &mut writer) };
        }
        if end == tail {
            // SAFETY: likewise.
            unsafe { self.slots.replace(None, &mut writer) };
        }
    }

    /// The array for epoch `number`: as it is, grown, or with its oldest epoch overwritten.
    fn room_for(&self, number: u64, writer: &mut Writer<'_>) -> &Slots {
        // Ordering: Relaxed: written under the sequencer's lock only. Model: growing_loses_nothing.
        let head = self.head.load(Ordering::Relaxed);
        // SAFETY: the writer is of this ring's reclaimer. If the array is replaced below, the old
        // one is not used after that.
        let old = unsafe { self.slots.current() }.map(Dated::get);
        let have = old.map_or(0, |slots| slots.len());
        let live = (number - head) as usize;
        if let Some(slots) = old.filter(|_| live < have) {
            return slots;
        }
        if live >= self.window.get() {
            // The new epoch takes the slot of the oldest.
            self.head.store(number + 1 - self.window.get() as u64, Ordering::Relaxed);
            return old.expect("a full ring has slots");
        }
        let size = (have * 2).max(SLOTS_MIN).min(self.window.get());
        let mut new: Slots = (0..size).map(|_| Slot::default()).collect();
        if let Some(old) = old {
            for kept in head..number {
                // SAFETY: the writer is of this ring's reclaimer.
                new[slot(kept, size)] = Slot::from(unsafe { old[slot(kept, have)].share() });
            }
        }
        // SAFETY: likewise.
        unsafe { self.slots.replace(Some(writer.date(new)), writer) };
        // SAFETY: the writer is of this ring's reclaimer, and `place`, the only caller, does not
        // replace the array.
        let new = unsafe { self.slots.current() };
        new.expect("the array was just stored").get()
    }

    /// Slots allocated now; for tests and memory accounts.
    pub fn slots(&self) -> usize {
        let _writer = self.reclaimer.writer();
        // SAFETY: the writer is of this ring's reclaimer, and nothing is replaced here.
        unsafe { self.slots.current() }.map_or(0, |slots| slots.get().len())
    }
}

fn slot(number: u64, slots: usize) -> usize {
    (number % slots as u64) as usize
}

#[cfg(all(test, not(ring_loom)))]
mod tests {
    use super::*;

    fn batch(seq: u64) -> Arc<Batch> {
        Arc::new(Batch::new("x".into(), Box::new([1]), Seq(seq)))
    }

    fn ring(window: usize) -> Ring {
        Ring::new(NonZeroUsize::new(window).unwrap())
    }

    fn publish(ring: &Ring, n: u64) {
        for seq in 1..=n {
            ring.publish(&batch(seq), EventIndices::Range(0..1));
        }
    }

    #[test]
    fn a_reader_that_keeps_up_reads_every_epoch_in_order() {
        let ring = ring(4);
        let reader = ring.reader();
        for cursor in 0..100 {
            assert_eq!(ring.read(&reader, cursor, |_| ()), Read::Wait);
            ring.publish(&batch(cursor + 1), EventIndices::Range(0..1));
            assert_eq!(
                ring.read(&reader, cursor, |epoch| epoch.next_after(Seq(0))),
                Read::Epoch(Some(Seq(cursor + 1)))
            );
        }
        assert_eq!(ring.counted(), 100);
    }

    #[test]
    fn a_ring_grows_to_its_window_and_keeps_exactly_that() {
        for window in [2, 3, 5, 8, 100] {
            let ring = ring(window);
            let reader = ring.reader();
            assert_eq!(ring.slots(), 0);
            publish(&ring, 1000);
            assert_eq!(ring.slots(), window);
            let oldest = 1000 - window as u64;
            assert!(ring.read(&reader, oldest - 1, |_| ()) == Read::Lagged);
            for cursor in oldest..1000 {
                assert!(
                    ring.read(&reader, cursor, |_| ()) == Read::Epoch(()),
                    "window {window} cursor {cursor}"
                );
            }
        }
    }

    #[test]
    fn a_full_ring_tells_whose_epoch_it_overwrites() {
        let ring = ring(3);
        let place = |seq| ring.place(&batch(seq), EventIndices::Range(0..1)).1;
        assert_eq!([1, 2, 3].map(place), [None; 3]);
        assert_eq!([4, 5].map(place), [1, 2].map(|seq| Some(Seq(seq))));
        ring.expel(2);
        assert_eq!([6, 7].map(place), [None, Some(Seq(4))]);
    }

    #[test]
    fn expelled_epochs_are_lagged_and_an_empty_ring_has_no_slots() {
        let ring = ring(64);
        let reader = ring.reader();
        publish(&ring, 10);
        ring.expel(4);
        assert!(ring.read(&reader, 4, |_| ()) == Read::Lagged);
        assert!(ring.read(&reader, 5, |_| ()) == Read::Epoch(()));
        ring.expel(9);
        assert_eq!(ring.slots(), 0);
        assert!(ring.read(&reader, 9, |_| ()) == Read::Lagged);
        assert!(ring.read(&reader, 10, |_| ()) == Read::Wait);
        publish(&ring, 1);
        assert!(ring.read(&reader, 10, |_| ()) == Read::Epoch(()));
        assert_eq!(ring.slots(), SLOTS_MIN);
        ring.expel(3);
        assert!(
            ring.read(&reader, 10, |_| ()) == Read::Epoch(()),
            "what has left before is not expelled twice"
        );
    }
}
