//! Time per event from the queue to the readers, with 1, 100 and 10,000 topics.
//!
//! A batch is full: 1,024 events of 200 bytes, over the topics in rotation. The clock runs while
//! the batch is run and until the one reader of each topic has read it; `through` includes the
//! submits, and `unread` has no readers. Publishers don't wait for their answers. Batches run
//! beforehand fill history and window, so that each new event also evicts one.
//! `cargo bench --bench sequencer`.

mod reader;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fanfare::config::Config;
use fanfare::event::{Publication, Selector, Topic};
use fanfare::log::Log;
use fanfare::log::history::Retention;
use fanfare::ring::{self, Mailbox, Registry, RingWaker, Watermark};
use fanfare::sequencer::{BatchLimits, BatchRunner, Deps, Queue, Sequencer};
use reader::Reader;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const EVENTS: usize = 1024;
const DATA_BYTES: usize = 200;
const TOPICS: [usize; 3] = [1, 100, 10_000];

/// More batches than window and history hold at their defaults.
const BATCHES_BEFORE: usize = 600;

struct Rig {
    queue: Queue,
    sequencer: Sequencer,
    mailbox: Arc<Mailbox>,
    reader: ring::Reader,
    readers: Vec<(Arc<RingWaker>, Reader)>,
    topics: Vec<Topic>,
    next_topic: usize,
}

impl Rig {
    /// With the settings of a node that sets nothing, but for how many events the history keeps of
    /// a topic.
    fn new(topics: usize, read: bool, history_events: usize) -> Self {
        let config = Config::default();
        let queue = Queue::new(config.queue_events, config.queue_bytes);
        let registry = Arc::new(Registry::new(topics, NonZeroUsize::new(config.window).unwrap()));
        let mailbox = Arc::new(Mailbox::new(0));
        let topics: Vec<_> = (0..topics)
            .map(|n| Topic::new(&format!("https://example.com/users/{n}")).unwrap())
            .collect();
        let subscribe = |(key, topic): (usize, &Topic)| {
            let waker = registry.subscribe(&Selector::Topic(topic.clone()), &mailbox, key).unwrap();
            let reader = Reader::new(&waker.ring);
            (waker, reader)
        };
        let readers = topics.iter().enumerate().filter(|_| read).map(subscribe).collect();
        let sequencer = Sequencer::new(
            Deps {
                queue: queue.clone(),
                log: Arc::new(Log::in_memory(retention(&config, history_events))),
                registry: Arc::clone(&registry),
                watermark: Arc::new(Watermark::new()),
            },
            BatchLimits::from(&config),
        );
        let reader = registry.reader();
        let mut rig = Self { queue, sequencer, mailbox, reader, readers, topics, next_topic: 0 };
        for _ in 0..BATCHES_BEFORE {
            let publications = rig.publications();
            rig.submit(publications);
            rig.batch();
        }
        rig
    }

    fn publications(&mut self) -> Vec<Publication> {
        let publication = |_| {
            let topics = [self.topics[self.next_topic].clone()].into();
            self.next_topic = (self.next_topic + 1) % self.topics.len();
            Publication {
                topics,
                data: "x".repeat(DATA_BYTES),
                id: None,
                event_type: None,
                retry: None,
            }
        };
        (0..EVENTS).map(publication).collect()
    }

    fn submit(&self, publications: Vec<Publication>) {
        for publication in publications {
            let reservation = self.queue.reserve(DATA_BYTES).unwrap();
            drop(self.queue.submit(publication, reservation).unwrap());
        }
    }

    /// Takes a batch, then reads what the mailbox says has something.
    fn batch(&mut self) {
        assert!(self.sequencer.run_batch());
        let mut delivered = 0;
        while let Some(waker) = self.mailbox.take() {
            waker.clear();
            let (waker, reader) = &mut self.readers[waker.key];
            delivered += reader.drain(&waker.ring, &self.reader);
        }
        assert_eq!(delivered, if self.readers.is_empty() { 0 } else { EVENTS as u64 });
        assert_eq!(self.queue.waiting(), 0, "it was one batch");
    }
}

fn retention(config: &Config, events_per_topic: usize) -> Retention {
    Retention { events_per_topic, ..Retention::from(config) }
}

fn bench_sequencer(c: &mut Criterion) {
    let kept = Config::default().history_events;
    for (operation, read, kept, from) in [
        ("batch", true, kept, From::Batch),
        ("unread", false, kept, From::Batch),
        ("without_history", true, 0, From::Batch),
        ("through", true, kept, From::Submit),
    ] {
        for topics in TOPICS {
            bench(c, BenchmarkId::new(operation, topics), from, || Rig::new(topics, read, kept));
        }
    }
}

/// Where the clock starts.
#[derive(Clone, Copy)]
enum From {
    Submit,
    Batch,
}

fn bench(c: &mut Criterion, id: BenchmarkId, from: From, rig: impl Fn() -> Rig) {
    let mut group = c.benchmark_group("sequencer");
    group.throughput(Throughput::Elements(EVENTS as u64));
    // The closure runs once per sample; filling the history once is enough.
    let mut built = None;
    group.bench_function(id, |b| {
        let rig = built.get_or_insert_with(&rig);
        b.iter_custom(|batches| {
            let mut time = Duration::ZERO;
            for _ in 0..batches {
                let publications = rig.publications();
                let submitting = Instant::now();
                rig.submit(publications);
                let batch = Instant::now();
                rig.batch();
                time += match from {
                    From::Submit => submitting.elapsed(),
                    From::Batch => batch.elapsed(),
                };
            }
            time
        });
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(10);
    targets = bench_sequencer
}
criterion_main!(benches);
