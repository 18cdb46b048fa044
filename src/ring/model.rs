//! loom models of the ring, of its memory reclamation and of the wake-ups. Run with `make model`.
//!
//! They run the real [`Ring`], [`Reader`], [`Mailbox`] and [`PendingWakes`]. The writer scans after
//! each object that it unlinks. What it frees stays allocated until the model ends, and a use after
//! that, or one that is not ordered before it, fails the model.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::task::{Context, Waker};

use loom::model::Builder;
use loom::thread;

use super::epoch::EventIndices;
use super::epoch_ring::{Read, Ring};
use super::reader::Reader;
use super::reclaim::Reclaimer;
use super::wake::{Mailbox, PendingWakes, RingWaker};
use super::watermark::Watermark;
use crate::event::{Batch, Selector, Seq};

fn ring(window: usize) -> Arc<Ring> {
    let window = NonZeroUsize::new(window).expect("a window");
    Arc::new(Ring::with_reclaimer(window, Arc::new(Reclaimer::scanning_every(1))))
}

fn batch(seq: u64) -> Arc<Batch> {
    Arc::new(Batch::new("x".into(), Box::new([1]), Seq(seq)))
}

fn publish(ring: &Ring, seq: u64) {
    ring.publish(&batch(seq), EventIndices::Range(0..1));
}

/// Checks every interleaving with few preemptions. Bugs of such protocols need two or three
/// (Musuvathi and Qadeer, PLDI 2007), and without a bound the larger models take hours.
fn check(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

/// Reads epoch `cursor` if it is there. It must be that epoch.
fn read(ring: &Ring, reader: &Reader, cursor: u64) -> Read<()> {
    let look =
        |epoch: &super::Epoch<'_>| (epoch.data.number, epoch.counted(), epoch.next_after(Seq(0)));
    match ring.read(reader, cursor, look) {
        Read::Epoch(seen) => {
            assert_eq!(seen, (cursor, cursor + 1, Some(Seq(cursor + 1))));
            Read::Epoch(())
        }
        Read::Wait => Read::Wait,
        Read::Lagged => Read::Lagged,
    }
}

/// Reads until it has to wait; true if it lagged.
fn follow(ring: &Ring, reader: &Reader, cursor: &mut u64) -> bool {
    loop {
        match read(ring, reader, *cursor) {
            Read::Epoch(()) => *cursor += 1,
            Read::Wait => return false,
            Read::Lagged => return true,
        }
    }
}

/// Overwrite against a slow reader: each epoch is had in order, or lag is seen and nothing after
/// it.
#[test]
fn a_reader_sees_every_epoch_or_knows_it_lagged() {
    check(|| {
        let ring = ring(2);
        let (shared, reader) = (Arc::clone(&ring), ring.reader());
        let reads = thread::spawn(move || {
            let mut cursor = 0;
            follow(&shared, &reader, &mut cursor);
            let known = shared.counted();
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
    check(|| {
        let ring = ring(4);
        let (shared, reader) = (Arc::clone(&ring), ring.reader());
        let reads = thread::spawn(move || {
            let mut cursor = 0;
            assert!(!follow(&shared, &reader, &mut cursor), "three epochs fit the window");
            cursor
        });
        for seq in 1..=3 {
            publish(&ring, seq);
        }
        let mut cursor = reads.join().expect("the reader");
        assert!(!follow(&ring, &ring.reader(), &mut cursor));
        assert_eq!(cursor, 3);
    });
}

/// An expelled epoch is lagged, never "not yet", and a later one is found.
#[test]
fn expelling_is_seen_as_lag() {
    check(|| {
        let ring = ring(4);
        publish(&ring, 1);
        let (shared, reader) = (Arc::clone(&ring), ring.reader());
        let reads = thread::spawn(move || {
            let mut cursor = 0;
            let lagged = follow(&shared, &reader, &mut cursor);
            assert!(lagged || cursor >= 1, "epoch 0 was published before");
        });
        ring.expel(0);
        publish(&ring, 2);
        reads.join().expect("the reader");
        let reader = ring.reader();
        assert!(read(&ring, &reader, 0) == Read::Lagged);
        assert!(read(&ring, &reader, 1) == Read::Epoch(()));
    });
}

/// An epoch that is overwritten is freed after the reader that looks at it has looked: every
/// interleaving, however many preemptions it takes.
#[test]
fn nothing_is_freed_while_it_is_read() {
    loom::model(|| {
        let ring = ring(1);
        publish(&ring, 1);
        let (shared, reader) = (Arc::clone(&ring), ring.reader());
        let reads = thread::spawn(move || read(&shared, &reader, 0));
        publish(&ring, 2);
        reads.join().expect("the reader");
    });
}

/// Likewise an epoch that is expelled, and its array.
#[test]
fn no_array_is_freed_while_it_is_read() {
    check(|| {
        let ring = ring(1);
        publish(&ring, 1);
        let (shared, reader) = (Arc::clone(&ring), ring.reader());
        let reads = thread::spawn(move || read(&shared, &reader, 0));
        publish(&ring, 2);
        ring.expel(1);
        reads.join().expect("the reader");
    });
}

/// A reader that holds its announcement from read to read is safe, and so is one that quiesces and
/// comes back.
#[test]
fn a_reader_holds_quiesces_and_comes_back() {
    check(|| {
        let ring = ring(2);
        publish(&ring, 1);
        let (shared, reader) = (Arc::clone(&ring), ring.reader());
        let reads = thread::spawn(move || {
            reader.hold();
            read(&shared, &reader, 0);
            read(&shared, &reader, 1);
            reader.quiesce();
            read(&shared, &reader, 1);
        });
        publish(&ring, 2);
        publish(&ring, 3);
        ring.expel(2);
        reads.join().expect("the reader");
    });
}

/// A reader that stays announced from read to read announces the new era before it looks at what
/// was born in it: an old announcement keeps nothing that came later.
#[test]
fn a_held_era_does_not_cover_what_is_born_later() {
    check(|| {
        let (ring, reader) = held_in_the_first_era();
        let shared = Arc::clone(&ring);
        let reads = thread::spawn(move || read(&shared, &reader, 2));
        publish(&ring, 3);
        publish(&ring, 4);
        reads.join().expect("the reader");
    });
}

/// A reader that announces a new era has looked at what it found in the old one.
#[test]
fn a_held_reader_announces_anew() {
    check(|| {
        let (ring, reader) = held_in_the_first_era();
        let shared = Arc::clone(&ring);
        let reads = thread::spawn(move || {
            read(&shared, &reader, 1);
            read(&shared, &reader, 2);
        });
        publish(&ring, 3);
        ring.expel(2);
        reads.join().expect("the reader");
    });
}

/// A ring of one slot that has epoch 1, and a reader that looked at epoch 0 an era ago.
fn held_in_the_first_era() -> (Arc<Ring>, Reader) {
    let ring = ring(1);
    let reader = ring.reader();
    publish(&ring, 1);
    reader.hold();
    assert!(read(&ring, &reader, 0) == Read::Epoch(()));
    publish(&ring, 2);
    (ring, reader)
}

/// A reader that is registered while the writer scans is seen by the scan, or sees what was
/// unlinked before.
#[test]
fn a_reader_may_come_at_any_time() {
    check(|| {
        let ring = ring(1);
        publish(&ring, 1);
        let shared = Arc::clone(&ring);
        let reads = thread::spawn(move || {
            read(&shared, &shared.reader(), 0);
        });
        publish(&ring, 2);
        ring.expel(1);
        reads.join().expect("the reader");
    });
}

/// What a reader looks at is kept although another one announced an era before it was born.
#[test]
fn readers_in_different_eras_are_both_safe() {
    check(|| {
        let (ring, _still) = held_in_the_first_era();
        publish(&ring, 3);
        let (shared, reader) = (Arc::clone(&ring), ring.reader());
        let reads = thread::spawn(move || read(&shared, &reader, 2));
        publish(&ring, 4);
        reads.join().expect("the reader");
    });
}

/// Whatever was unlinked or not, the ring and its reclaimer free it with themselves.
#[test]
fn nothing_is_leaked() {
    check(|| {
        let ring = ring(4);
        let batch = batch(1);
        ring.publish(&batch, EventIndices::Range(0..1));
        let (shared, reader) = (Arc::clone(&ring), ring.reader());
        let reads = thread::spawn(move || {
            reader.hold();
            read(&shared, &reader, 0);
            read(&shared, &reader, 0);
        });
        for _ in 2..=3 {
            ring.publish(&batch, EventIndices::Range(0..1));
        }
        ring.expel(1);
        reads.join().expect("the reader");
        drop(ring);
        assert_eq!(Arc::strong_count(&batch), 1);
    });
}

/// What the watermark covers is in both rings: a session that merges them misses no earlier event.
#[test]
fn two_rings_are_read_in_one_order() {
    check(|| {
        let rings = [ring(2), ring(2)];
        let watermark = Arc::new(Watermark::new());
        let session = {
            let (rings, watermark) = (rings.clone(), Arc::clone(&watermark));
            let readers = rings.each_ref().map(|ring| ring.reader());
            thread::spawn(move || {
                let reached = watermark.reached().0;
                for ((ring, reader), seq) in rings.iter().zip(&readers).zip(1..) {
                    let seen = ring.read(reader, 0, |epoch| epoch.next_after(Seq(0)));
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
    check(|| {
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
