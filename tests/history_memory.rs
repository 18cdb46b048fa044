//! What the history counts against what it really holds. A binary of its own, since the allocator
//! that counts serves the whole process: one test, one thread.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use fanfare::event::{EventId, Incarnation, Topic};
use fanfare::log::history::{Encoded, History, Retention};

struct Counting;

static HELD: AtomicI64 = AtomicI64::new(0);

/// What an allocation costs an allocator: its size in steps of 16, and 8 to remember it by, as in
/// glibc.
fn cost(layout: Layout) -> i64 {
    (layout.size() + 8).next_multiple_of(16) as i64
}

// SAFETY: hands every call on as it came; the counter is no part of the contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // Ordering: a count of one thread's own work, read by the same thread.
        HELD.fetch_add(cost(layout), Ordering::Relaxed);
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // Ordering: as above.
        HELD.fetch_sub(cost(layout), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const NOW: Duration = Duration::ZERO;
const KEEP: Retention = Retention {
    events_per_topic: 1_000_000,
    age: Duration::from_secs(1),
    bytes: u64::MAX,
    topics_max: usize::MAX,
};

fn append(history: &mut History, topics: &[String], id: Option<String>) {
    let topics: Vec<_> = topics.iter().map(|name| Topic::new(name).unwrap()).collect();
    let id = id.map(|id| EventId::new(&id).unwrap());
    let wire = Bytes::copy_from_slice(&[0; 150]);
    // Whoever reads an event makes its bytes shared, which costs a header.
    drop(wire.clone());
    history.append(history.next_seq(), Encoded { topics: &topics, id, wire }, NOW);
}

/// Fills a history, compares its count with what it holds, empties it, and looks for remains.
fn compare(shape: &str, retention: Retention, fill: impl Fn(&mut History)) {
    let mut history = History::new(retention, Incarnation::from_bits(1));
    append(&mut history, &["warm".into()], Some("up".into()));
    history.expire(Duration::MAX, usize::MAX);
    let held = || HELD.load(Ordering::Relaxed);
    let before = held();
    fill(&mut history);
    let (counted, real) = (history.stats().bytes as i64, held() - before);
    let ratio = counted as f64 / real as f64;
    println!("{shape}: counted {counted}, held {real}, {ratio:.2}");
    assert!((1.0..2.0).contains(&ratio), "{shape}: counted {counted}, held {real}");
    history.expire(Duration::MAX, usize::MAX);
    assert_eq!(history.stats().bytes, 0);
    // Tables keep a minimum for each of their 256 parts.
    let remains = held() - before;
    assert!(remains < 2_000_000, "{shape}: {remains} remain of {real}");
}

#[test]
fn what_is_counted_covers_what_is_held_and_little_more() {
    let name = |n: usize| format!("https://example.com/users/{n}");
    compare("one topic", KEEP, |history| {
        (0..150_000).for_each(|_| append(history, &[name(0)], None));
    });
    for topics in [60_000, 100_000, 115_000] {
        compare("a topic each", KEEP, |history| {
            (0..topics).for_each(|n| append(history, &[name(n)], None));
        });
    }
    compare("an id each", KEEP, |history| {
        (0..120_000).for_each(|n| append(history, &[name(n % 7)], Some(format!("order {n}"))));
    });
    compare(
        "three topics each, two of them busy",
        Retention { events_per_topic: 1, ..KEEP },
        |history| {
            (0..60_000)
                .for_each(|n| append(history, &[name(n), "x".repeat(500), "y".repeat(500)], None));
        },
    );
    compare(
        "quiet topics that a million busy events went past",
        Retention { events_per_topic: 100, ..KEEP },
        |history| {
            for n in 0..1_000_000 {
                let topic = if n % 100 == 0 { name(n) } else { name(n % 7) };
                append(history, &[topic], None);
            }
        },
    );
}
