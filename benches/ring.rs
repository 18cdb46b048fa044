//! Time to publish to a ring, and until every reader has read it, beside `tokio::sync::broadcast`.
//!
//! In `fanout` and `burst` one thread does everything, so this is work, without contention or
//! wake-ups. `fanout` publishes one event at a time; `burst` publishes 50 events: one epoch in the
//! ring, 50 values in the channel.
//!
//! `publish` and `publish_quiet` are what one publish costs with so many other threads that have
//! read the ring: to a full ring, and to one that is empty before and after. `read` and `read_held`
//! are reads by so many threads at once: each announced by itself, and many under one announcement,
//! as a shard's pump reads. `cargo bench --bench ring`.

mod reader;

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
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
/// Threads that have read the ring that is published to.
const THREADS: [usize; 4] = [0, 1, 8, 60];
/// Enough that waking a thread is little of what it does.
const READERS_PER_THREAD: usize = 20_000;
/// Streams whose writes a shard prepares for one call.
const HELD_READERS: usize = 128;

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
    for threads in THREADS {
        group.bench_function(BenchmarkId::new("publish", threads), |b| {
            let (ring, mut batches) = (Arc::new(ring()), Batches::of(1));
            let publish = |batch| ring.publish(&batch, EventIndices::Range(0..1));
            publish(batches.next());
            let _threads = ReadingThreads::start(&ring, threads, 1, 1);
            b.iter_batched(|| batches.next(), publish, BatchSize::SmallInput);
        });
    }
}

/// A publish to a ring that is empty before and after, as that of a topic with few events.
fn bench_quiet(c: &mut Criterion) {
    let mut group = c.benchmark_group("ring");
    group.throughput(Throughput::Elements(1));
    for threads in THREADS {
        group.bench_function(BenchmarkId::new("publish_quiet", threads), |b| {
            let (ring, mut batches) = (Arc::new(ring()), Batches::of(1));
            let publish = |batch| ring.expel(ring.publish(&batch, EventIndices::Range(0..1)));
            let _threads = ReadingThreads::start(&ring, threads, 1, 1);
            b.iter_batched(|| batches.next(), publish, BatchSize::SmallInput);
        });
    }
}

/// Each thread drains its own readers of the one ring.
fn bench_read(c: &mut Criterion) {
    let mut group = c.benchmark_group("ring");
    for (operation, held) in [("read", 1), ("read_held", HELD_READERS)] {
        for threads in [1, 2, 4] {
            group.throughput(Throughput::Elements((threads * READERS_PER_THREAD) as u64));
            group.bench_function(BenchmarkId::new(operation, threads), |b| {
                let (ring, mut batches) = (Arc::new(ring()), Batches::of(1));
                let threads = ReadingThreads::start(&ring, threads, READERS_PER_THREAD, held);
                b.iter(|| {
                    ring.publish(&batches.next(), EventIndices::Range(0..1));
                    threads.drain();
                });
            });
        }
    }
}

/// Threads with readers of one ring, which drain when they are told to. All of them have read the
/// ring once.
struct ReadingThreads {
    tell: Vec<SyncSender<()>>,
    drained: Receiver<()>,
    threads: Vec<JoinHandle<()>>,
}

impl ReadingThreads {
    /// Each thread drains `held` readers under one announcement.
    fn start(ring: &Arc<Ring>, threads: usize, readers: usize, held: usize) -> Self {
        let (done, drained) = sync_channel(threads.max(1));
        let (mut tell, mut handles) = (Vec::new(), Vec::new());
        for _ in 0..threads {
            let (told, done, ring) = (sync_channel(1), done.clone(), Arc::clone(ring));
            let mut readers = vec![Reader::new(&ring); readers];
            tell.push(told.0);
            handles.push(std::thread::spawn(move || {
                let shard = ring.reader();
                black_box(ring.read(&shard, 0, |_| ()));
                done.send(()).expect("the bench waits");
                while told.1.recv().is_ok() {
                    for readers in readers.chunks_mut(held) {
                        if held > 1 {
                            shard.hold();
                        }
                        for reader in readers {
                            reader.drain(&ring, &shard);
                        }
                        shard.quiesce();
                    }
                    done.send(()).expect("the bench waits");
                }
            }));
        }
        let threads = Self { tell, drained, threads: handles };
        threads.wait();
        threads
    }

    fn drain(&self) {
        for tell in &self.tell {
            tell.send(()).expect("the thread listens");
        }
        self.wait();
    }

    fn wait(&self) {
        for _ in &self.tell {
            self.drained.recv().expect("a thread drains");
        }
    }
}

impl Drop for ReadingThreads {
    fn drop(&mut self) {
        self.tell.clear();
        for thread in self.threads.drain(..) {
            thread.join().expect("no thread panicked");
        }
    }
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
        let (mut readers, shard) = (vec![Reader::new(&ring); readers], ring.reader());
        b.iter(|| {
            ring.publish(&batches.next(), EventIndices::Range(0..events));
            shard.hold();
            let drain = |reader: &mut Reader| reader.drain(&ring, &shard);
            let delivered: u64 = readers.iter_mut().map(drain).sum();
            shard.quiesce();
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
    targets = bench_publish, bench_quiet, bench_read, bench_fanout
}
criterion_main!(benches);
