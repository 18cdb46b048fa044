//! Time to publish to a ring, and until every reader has read it, beside `tokio::sync::broadcast`.
//!
//! One thread does everything, so this is work, without contention or wake-ups. `fanout` publishes
//! one event at a time; `burst` publishes 50 events: one epoch in the ring, 50 values in the
//! channel. `cargo bench --bench ring`.

mod reader;

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fanfare::event::{Batch, Seq};
use fanfare::ring::{EventIndices, Ring};
use reader::Reader;
use tokio::sync::broadcast;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Epochs of a ring and values of a channel.
const WINDOW: usize = 1024;

const EVENT: [u8; 240] = [b'x'; 240];
const BURST: u32 = 50;
const READERS: [usize; 3] = [1, 100, 10_000];

/// Batches of the same events, under rising seqs.
struct Batches {
    buffer: Bytes,
    ends: Box<[u32]>,
    next: Seq,
}

impl Batches {
    fn of(events: u32) -> Self {
        let ends = (1..=events).map(|event| event * EVENT.len() as u32).collect();
        Self { buffer: EVENT.repeat(events as usize).into(), ends, next: Seq(1) }
    }

    fn next(&mut self) -> Arc<Batch> {
        let batch = Batch::new(self.buffer.clone(), self.ends.clone(), self.next);
        self.next.0 += batch.len() as u64;
        Arc::new(batch)
    }
}

fn ring() -> Ring {
    Ring::new(NonZeroUsize::new(WINDOW).unwrap())
}

fn bench_publish(c: &mut Criterion) {
    let mut group = c.benchmark_group("ring");
    group.throughput(Throughput::Elements(1));
    group.bench_function(BenchmarkId::new("publish", 1), |b| {
        let (ring, mut batches) = (ring(), Batches::of(1));
        let publish = |batch| ring.publish(&batch, EventIndices::Range(0..1));
        b.iter_batched(|| batches.next(), publish, BatchSize::SmallInput);
    });
}

fn bench_fanout(c: &mut Criterion) {
    for (operation, events) in [("fanout", 1), ("burst", BURST)] {
        for readers in READERS {
            let deliveries = u64::from(events) * readers as u64;
            ring_fanout(c, operation, events, readers, deliveries);
            broadcast_fanout(c, operation, events, readers, deliveries);
        }
    }
}

fn ring_fanout(c: &mut Criterion, operation: &str, events: u32, readers: usize, deliveries: u64) {
    let mut group = c.benchmark_group("ring");
    group.throughput(Throughput::Elements(deliveries));
    group.bench_function(BenchmarkId::new(operation, readers), |b| {
        let (ring, mut batches) = (ring(), Batches::of(events));
        let mut readers = vec![Reader::new(&ring); readers];
        b.iter(|| {
            ring.publish(&batches.next(), EventIndices::Range(0..events));
            let delivered: u64 = readers.iter_mut().map(|reader| reader.drain(&ring)).sum();
            assert_eq!(delivered, deliveries);
        });
    });
}

fn broadcast_fanout(
    c: &mut Criterion,
    operation: &str,
    events: u32,
    readers: usize,
    deliveries: u64,
) {
    let mut group = c.benchmark_group("broadcast");
    group.throughput(Throughput::Elements(deliveries));
    group.bench_function(BenchmarkId::new(operation, readers), |b| {
        let event = Bytes::from(EVENT.to_vec());
        let (sender, first) = broadcast::channel(WINDOW);
        let mut receivers: Vec<_> = (1..readers).map(|_| sender.subscribe()).collect();
        receivers.push(first);
        b.iter(|| {
            for _ in 0..events {
                sender.send(event.clone()).unwrap();
            }
            let mut delivered = 0;
            for receiver in &mut receivers {
                while let Ok(event) = receiver.try_recv() {
                    black_box(event);
                    delivered += 1;
                }
            }
            assert_eq!(delivered, deliveries);
        });
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(700))
        .sample_size(10);
    targets = bench_publish, bench_fanout
}
criterion_main!(benches);
