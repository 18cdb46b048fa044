//! History: appending an event (sequencer) and reading a page of a replay (shard).
//!
//! Appends are measured at a retention limit, so that each also evicts an event, and include the
//! copy of the wire form that the history stores. `cargo bench --bench history`.

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fanfare::event::{EventId, Incarnation, Position, Selector, Seq, Topic};
use fanfare::log::history::{Encoded, History, PageLimit, Retention};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const WIRE: [u8; 250] = [b'x'; 250];
const NOW: Duration = Duration::ZERO;

fn history(events_per_topic: usize, bytes: u64) -> History {
    let retention = Retention {
        events_per_topic,
        age: Duration::from_secs(3600),
        bytes,
        topics_max: 10_000_000,
    };
    History::new(retention, Incarnation::from_bits(1))
}

fn topics(n: usize) -> Vec<Topic> {
    (0..n).map(|n| Topic::new(&format!("https://example.com/users/{n}")).unwrap()).collect()
}

fn append(history: &mut History, topics: &[Topic], id: Option<EventId>) {
    let wire = Bytes::copy_from_slice(black_box(&WIRE));
    history.append(history.next_seq(), Encoded { topics, id, wire }, NOW);
}

fn bench_append(c: &mut Criterion) {
    let mut group = c.benchmark_group("history/append");
    group.throughput(Throughput::Elements(1));
    let topics = topics(1_000_000);

    group.bench_function("hot_topic", |b| {
        let mut history = history(10_000, u64::MAX);
        (0..10_000).for_each(|_| append(&mut history, &topics[..1], None));
        b.iter(|| append(&mut history, &topics[..1], None));
    });
    group.bench_function("hot_topic_above_1000000_quiet", |b| {
        let mut history = history(10_000, u64::MAX);
        topics.iter().for_each(|topic| append(&mut history, std::slice::from_ref(topic), None));
        (0..10_000).for_each(|_| append(&mut history, &topics[..1], None));
        b.iter(|| append(&mut history, &topics[..1], None));
    });
    group.bench_function("1000_topics_in_turn", |b| {
        let mut history = history(1000, u64::MAX);
        let mut next = (0..1000).cycle();
        let mut one = || next.next().map(|n| append(&mut history, &topics[n..=n], None));
        (0..1_000_000).for_each(|_| one().unwrap());
        b.iter(one);
    });
    group.bench_function("1000000_topics_at_random_at_the_byte_limit", |b| {
        let mut history = history(1000, 500_000_000);
        let mut random = fastrand::Rng::with_seed(7);
        let mut one = || {
            let n = random.usize(..topics.len());
            append(&mut history, &topics[n..=n], None);
        };
        (0..1_500_000).for_each(|_| one());
        b.iter(one);
    });
    group.bench_function("two_topics_and_an_id", |b| {
        let mut history = history(10_000, u64::MAX);
        let mut n = 0;
        let mut one = || {
            n += 1;
            append(&mut history, &topics[..2], Some(EventId::new(&format!("order-{n}")).unwrap()));
        };
        (0..10_000).for_each(|_| one());
        b.iter(one);
    });
}

fn bench_read(c: &mut Criterion) {
    const EVENTS: usize = 256;
    let topics = topics(100);
    let mut history = history(10_000, u64::MAX);
    (0..1_000_000).for_each(|n| append(&mut history, &topics[n % 100..=n % 100], None));
    let after = history.incarnation().id(Seq(900_000));
    let mut group = c.benchmark_group("history/read");
    group.throughput(Throughput::Elements(EVENTS as u64));
    for (name, selectors) in [
        ("all", vec![Selector::All]),
        ("1_topic", vec![Selector::Topic(topics[0].clone())]),
        ("10_topics", topics[..10].iter().cloned().map(Selector::Topic).collect()),
        ("100_topics", topics.iter().cloned().map(Selector::Topic).collect()),
    ] {
        let replay = history.resume(&Position::After(after.as_str().into()), &selectors).replay;
        let mut out = Vec::with_capacity(EVENTS);
        group.bench_function(BenchmarkId::new(name, EVENTS), |b| {
            b.iter(|| {
                out.clear();
                let limit = PageLimit { events: EVENTS, bytes: usize::MAX };
                black_box(history.read(&selectors, &replay, limit, &mut out)).unwrap();
                assert_eq!(out.len(), EVENTS);
            });
        });
    }
}

criterion_group!(benches, bench_append, bench_read);
criterion_main!(benches);
