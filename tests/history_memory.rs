//! The memory cost that the history counts, compared with the memory it really allocates.
//!
//! A test binary of its own with a single test, because the counting allocator serves the whole
//! process.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use fanfare::event::{EventId, Incarnation, Topic};
use fanfare::log::history::{Encoded, History, Retention};

struct CountingAllocator;

static ALLOCATED: AtomicI64 = AtomicI64::new(0);

/// Memory that glibc's allocator uses for an allocation: a header of 8 bytes, rounded up to 16.
fn cost(layout: Layout) -> i64 {
    (layout.size() + 8).next_multiple_of(16) as i64
}

// SAFETY: forwards every call unchanged to the system allocator; the counter has no effect on it.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // Ordering: Relaxed; the only thread that matters, the test's, reads its own writes.
        ALLOCATED.fetch_add(cost(layout), Ordering::Relaxed);
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // Ordering: as above.
        ALLOCATED.fetch_sub(cost(layout), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const NOW: Duration = Duration::ZERO;
const RETENTION: Retention = Retention {
    events_per_topic: 1_000_000,
    age: Duration::from_secs(1),
    bytes: u64::MAX,
    topics_max: usize::MAX,
};

fn append(history: &mut History, topics: &[String], id: Option<String>) {
    let topics: Vec<_> = topics.iter().map(|name| Topic::new(name).unwrap()).collect();
    let id = id.map(|id| EventId::new(&id).unwrap());
    let wire = Bytes::copy_from_slice(&[0; 150]);
    // Cloning allocates the shared header of `Bytes`, as the first reader of an event does.
    drop(wire.clone());
    history.append(history.next_seq(), Encoded { topics: &topics, id, wire }, NOW);
}

/// Fills a history, compares the memory it counts with the memory allocated, empties it, and checks
/// that the memory is released.
fn compare(workload: &str, retention: Retention, fill: impl Fn(&mut History)) {
    let mut history = History::new(retention, Incarnation::from_bits(1));
    append(&mut history, &["warm".into()], Some("up".into()));
    history.expire(Duration::MAX, usize::MAX);
    // Ordering: as in `alloc`.
    let allocated = || ALLOCATED.load(Ordering::Relaxed);
    let before = allocated();
    fill(&mut history);
    let (counted, real) = (history.stats().bytes as i64, allocated() - before);
    let ratio = counted as f64 / real as f64;
    println!("{workload}: counted {counted}, allocated {real}, ratio {ratio:.2}");
    assert!((1.0..2.0).contains(&ratio), "{workload}: counted {counted}, allocated {real}");
    let topics = history.stats().topics as i64;
    history.expire(Duration::MAX, usize::MAX);
    assert_eq!(history.stats().bytes, 0);
    // Each of the 256 stripes of a map retains a minimal table, and each expired topic its loss.
    let (remaining, most) = (allocated() - before, 2_000_000 + 40 * topics);
    assert!(remaining < most, "{workload}: {remaining} of {real} remain");
}

/// Three million topics expire, for whose losses there is no room.
fn bound_losses() {
    // Ordering: as in `alloc`, here and below.
    let before = ALLOCATED.load(Ordering::Relaxed);
    let mut history =
        History::new(Retention { topics_max: 100, ..RETENTION }, Incarnation::from_bits(1));
    let mut most = 0;
    for n in 0..3_000_000 {
        append(&mut history, &[format!("user {n}")], None);
        let losses = ALLOCATED.load(Ordering::Relaxed) - before - history.stats().bytes as i64;
        most = losses.max(most);
    }
    println!("losses: allocated {most} at most");
    assert!((30_000_000..37_000_000).contains(&most), "{most}");
}

#[test]
fn the_counted_memory_covers_the_allocated_memory() {
    bound_losses();
    let name = |n: usize| format!("https://example.com/users/{n}");
    compare("one topic", RETENTION, |history| {
        (0..150_000).for_each(|_| append(history, &[name(0)], None));
    });
    for topics in [60_000, 100_000, 115_000] {
        compare("one topic per event", RETENTION, |history| {
            (0..topics).for_each(|n| append(history, &[name(n)], None));
        });
    }
    compare("one publisher's id per event", RETENTION, |history| {
        (0..120_000).for_each(|n| append(history, &[name(n % 7)], Some(format!("order {n}"))));
    });
    compare(
        "three topics per event, two of them busy",
        Retention { events_per_topic: 1, ..RETENTION },
        |history| {
            (0..60_000)
                .for_each(|n| append(history, &[name(n), "x".repeat(500), "y".repeat(500)], None));
        },
    );
    compare(
        "quiet topics among a million events of busy topics",
        Retention { events_per_topic: 100, ..RETENTION },
        |history| {
            for n in 0..1_000_000 {
                let topic = if n % 100 == 0 { name(n) } else { name(n % 7) };
                append(history, &[topic], None);
            }
        },
    );
}
