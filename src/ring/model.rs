//! loom models of the ring and of the wake-ups. Run with `make model`.
//!
//! They run the real [`Ring`], [`Mailbox`] and [`PendingWakes`]. Only the ring's slot is replaced,
//! by one that promises what `arc-swap` promises: Acquire loads and Release stores.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};

use loom::sync::atomic::{AtomicPtr, Ordering};
use loom::thread;

use super::epoch::EventIndices;
use super::epoch_ring::{Read, Ring};
use super::slot::{ArcSlot, SlotFamily};
use super::wake::{Mailbox, PendingWakes, RingWaker};
use super::watermark::Watermark;
use crate::event::{Batch, Selector, Seq};

struct Model;

impl SlotFamily for Model {
    type Of<T> = ModelSlot<T>;
}

/// A pointer loom sees, and the owners of everything it ever pointed to, so that no load can
/// dangle.
struct ModelSlot<T> {
    now: AtomicPtr<Arc<T>>,
    #[expect(clippy::vec_box, reason = "the pointer needs an address that stays")]
    owned: Mutex<Vec<Box<Arc<T>>>>,
}

impl<T> Default for ModelSlot<T> {
    fn default() -> Self {
        Self { now: AtomicPtr::new(std::ptr::null_mut()), owned: Mutex::default() }
    }
}

impl<T> ArcSlot<T> for ModelSlot<T> {
    fn with<R>(&self, look: impl FnOnce(Option<&Arc<T>>) -> R) -> R {
        let now = self.now.load(Ordering::Acquire);
        // SAFETY: every pointer stored is null or into a box in `owned`, which lives as long as the
        // cell.
        look(unsafe { now.as_ref() })
    }

    fn store(&self, value: Option<Arc<T>>) {
        let Some(value) = value else {
            return self.now.store(std::ptr::null_mut(), Ordering::Release);
        };
        let mut owned = self.owned.lock().expect("no model panics while it holds this");
        let mut boxed = Box::new(value);
        let pointer: *mut Arc<T> = &mut *boxed;
        owned.push(boxed);
        drop(owned);
        self.now.store(pointer, Ordering::Release);
    }
}

fn ring(window: usize) -> Arc<Ring<Model>> {
    Arc::new(Ring::new(NonZeroUsize::new(window).expect("a window")))
}

fn batch(seq: u64) -> Arc<Batch> {
    Arc::new(Batch::new("x".into(), Box::new([1]), Seq(seq)))
}

fn publish(ring: &Ring<Model>, seq: u64) {
    ring.publish(&batch(seq), EventIndices::Range(0..1));
}

/// Reads until it has to wait; true if it lagged. What it read must be epoch `cursor` each time.
fn follow(ring: &Ring<Model>, cursor: &mut u64) -> bool {
    loop {
        match ring.read(*cursor, |epoch| (epoch.number, epoch.counted(), epoch.next_after(Seq(0))))
        {
            Read::Epoch((number, counted, seq)) => {
                assert_eq!((number, counted, seq), (*cursor, *cursor + 1, Some(Seq(*cursor + 1))));
                *cursor += 1;
            }
            Read::Wait => return false,
            Read::Lagged => return true,
        }
    }
}

/// Overwrite against a slow reader: each epoch is had in order, or lag is seen and nothing after
/// it.
#[test]
fn a_reader_sees_every_epoch_or_knows_it_lagged() {
    loom::model(|| {
        let ring = ring(2);
        let reader = Arc::clone(&ring);
        let reads = thread::spawn(move || {
            let mut cursor = 0;
            follow(&reader, &mut cursor);
            let known = reader.counted();
            assert!(known >= cursor);
        });
        for seq in 1..=3 {
            publish(&ring, seq);
        }
        reads.join().expect("the reader");
        assert_eq!(ring.counted(), 3);
    });
}

/// Within the window growth never makes a reader lag.
#[test]
fn growing_loses_nothing() {
    loom::model(|| {
        let ring = ring(4);
        let reader = Arc::clone(&ring);
        let reads = thread::spawn(move || {
            let mut cursor = 0;
            assert!(!follow(&reader, &mut cursor), "three epochs fit the window");
            cursor
        });
        for seq in 1..=3 {
            publish(&ring, seq);
        }
        let mut cursor = reads.join().expect("the reader");
        assert!(!follow(&ring, &mut cursor));
        assert_eq!(cursor, 3);
    });
}

/// An expelled epoch is lagged, never "not yet", and a later one is found.
#[test]
fn expelling_is_seen_as_lag() {
    loom::model(|| {
        let ring = ring(4);
        publish(&ring, 1);
        let reader = Arc::clone(&ring);
        let reads = thread::spawn(move || {
            let mut cursor = 0;
            let lagged = follow(&reader, &mut cursor);
            assert!(lagged || cursor >= 1, "epoch 0 was published before");
        });
        ring.expel(0);
        publish(&ring, 2);
        reads.join().expect("the reader");
        assert!(ring.read(0, |_| ()) == Read::Lagged);
        assert!(ring.read(1, |_| ()) == Read::Epoch(()));
    });
}

/// What the watermark covers is in both rings: a session that merges them misses no earlier event.
#[test]
fn two_rings_are_read_in_one_order() {
    loom::model(|| {
        let rings = [ring(2), ring(2)];
        let watermark = Arc::new(Watermark::new());
        let session = {
            let (rings, watermark) = (rings.clone(), Arc::clone(&watermark));
            thread::spawn(move || {
                let reached = watermark.reached().0;
                for (ring, seq) in rings.iter().zip(1..) {
                    let seen = ring.read(0, |epoch| epoch.next_after(Seq(0)));
                    assert!(
                        seq > reached || seen == Read::Epoch(Some(Seq(seq))),
                        "{reached} {seen:?}"
                    );
                }
            })
        };
        for (ring, seq) in rings.iter().zip(1..) {
            publish(ring, seq);
            watermark.raise(Seq(seq));
        }
        session.join().expect("the session");
    });
}

/// Whatever the interleaving, a shard that waits at its mailbox is woken for the last epoch: either
/// the waker is still in the mailbox, or the shard that took it saw the tail. A lost wake-up is a
/// shard that waits for ever: loom reports the deadlock.
#[test]
fn no_wake_is_lost() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(|| {
        const EPOCHS: u64 = 2;
        let mailbox = Arc::new(Mailbox::new(0));
        let window = NonZeroUsize::new(8).expect("a window");
        let waker = Arc::new(RingWaker::new(
            Arc::new(super::Ring::new(window)),
            Selector::All,
            0,
            Arc::clone(&mailbox),
        ));
        let sequencer = {
            let waker = Arc::clone(&waker);
            thread::spawn(move || {
                let mut wakes = PendingWakes::default();
                for seq in 1..=EPOCHS {
                    waker.ring.publish(&batch(seq), EventIndices::Range(0..1));
                    wakes.add(&waker);
                    wakes.wake_all(Seq(1));
                }
            })
        };
        let mut seen = 0;
        while seen < EPOCHS {
            block_on(mailbox.wait());
            while let Some(taken) = mailbox.take() {
                taken.clear();
                seen = taken.ring.tail();
            }
        }
        sequencer.join().expect("the sequencer");
    });
}

/// Polls a future that blocks its thread instead of returning `Pending`.
fn block_on(future: impl Future<Output = ()>) {
    let polled = std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop()));
    assert!(polled.is_ready(), "the stand-in of Notify blocks");
}
