//! Deliveries per second in process: from publishers through the sequencer to every reader of a
//! topic on two shards.
//!
//! As in a node where publishing is busy, but for the sockets: the sequencer on its thread, and a
//! thread for each shard that sleeps at its mailbox, takes wakers, and lets its readers drain. The
//! clock runs from the first submit until the last reader has the last event. `alone` is one event
//! at a time, `burst` is 50 back to back. `cargo bench --bench fanout`.

mod reader;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fanfare::config::Config;
use fanfare::event::{Publication, Selector, Topic};
use fanfare::log::Log;
use fanfare::log::history::Retention;
use fanfare::ring::{self, Mailbox, Registry, RingWaker, Watermark};
use fanfare::sequencer::{BatchLimits, Combiner, Deps, Queue, Sequencer};
use reader::Reader;
use tokio::sync::oneshot;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SHARDS: usize = 2;
const DATA_BYTES: usize = 200;
const READERS: [usize; 2] = [1_000, 10_000];

struct Rig {
    queue: Queue,
    topic: Topic,
    /// A shard says here that its readers have everything.
    drained: Receiver<()>,
    threads: Vec<JoinHandle<()>>,
    /// Dropped to stop the shards.
    stops: Vec<oneshot::Sender<()>>,
}

impl Rig {
    /// Readers of one topic, who are to be sent `events` at a time.
    fn start(readers: usize, events: usize) -> Self {
        let config = Config::default();
        let registry = Arc::new(Registry::new(1, NonZeroUsize::new(config.window).unwrap()));
        let queue = Queue::new(config.queue_events, config.queue_bytes);
        let topic = Topic::new("https://example.com/news").unwrap();
        let (done, drained) = sync_channel(SHARDS);
        let (mut threads, mut stops) = (Vec::new(), Vec::new());
        for mailbox in (0..SHARDS).map(|index| Arc::new(Mailbox::new(index))) {
            let waker = registry.subscribe(&Selector::Topic(topic.clone()), &mailbox, 0).unwrap();
            let (stop, stopped) = oneshot::channel();
            let readers = vec![Reader::new(&waker.ring); readers / SHARDS];
            let (reader, done) = (registry.reader(), done.clone());
            let shard = Shard { mailbox, waker, reader, readers, events: events as u64, done };
            threads.push(spawn("shard", move || shard.run(stopped)));
            stops.push(stop);
        }
        let sequencer = sequencer(&config, &queue, registry);
        threads.push(spawn("sequencer", move || sequencer.run()));
        Self { queue, topic, drained, threads, stops }
    }

    fn publications(&self, events: usize) -> Vec<Publication> {
        let publication = |_| {
            let topics = [self.topic.clone()].into();
            Publication {
                topics,
                data: "x".repeat(DATA_BYTES),
                id: None,
                event_type: None,
                retry: None,
            }
        };
        (0..events).map(publication).collect()
    }

    /// Publishes, and waits until every reader has drained.
    fn fan_out(&self, publications: Vec<Publication>) {
        for publication in publications {
            let reservation = self.queue.reserve(DATA_BYTES).unwrap();
            drop(self.queue.submit(publication, reservation).unwrap());
            self.queue.wake();
        }
        for _ in 0..SHARDS {
            self.drained.recv().expect("the shards are there");
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.stops.clear();
        self.queue.close();
        for thread in self.threads.drain(..) {
            thread.join().expect("no thread panicked");
        }
    }
}

struct Shard {
    mailbox: Arc<Mailbox>,
    waker: Arc<RingWaker>,
    reader: ring::Reader,
    readers: Vec<Reader>,
    events: u64,
    done: SyncSender<()>,
}

impl Shard {
    fn run(mut self, mut stopped: oneshot::Receiver<()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut left = self.left();
            loop {
                tokio::select! {
                    () = self.mailbox.wait() => {}
                    _ = &mut stopped => return,
                }
                while let Some(waker) = self.mailbox.take() {
                    waker.clear();
                    self.reader.hold();
                    for reader in &mut self.readers {
                        left -= reader.drain(&self.waker.ring, &self.reader);
                    }
                    self.reader.quiesce();
                }
                if left == 0 {
                    left = self.left();
                    self.done.send(()).expect("the rig is there");
                }
            }
        });
    }

    fn left(&self) -> u64 {
        self.events * self.readers.len() as u64
    }
}

fn sequencer(config: &Config, queue: &Queue, registry: Arc<Registry>) -> Combiner<Sequencer> {
    let deps = Deps {
        queue: queue.clone(),
        log: Arc::new(Log::in_memory(Retention::from(config))),
        registry,
        watermark: Arc::new(Watermark::new()),
    };
    Combiner::new(deps, BatchLimits::from(config))
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    Builder::new().name(name.into()).spawn(body).unwrap()
}

fn bench_fanout(c: &mut Criterion) {
    let mut group = c.benchmark_group("fanout");
    for (operation, events) in [("alone", 1), ("burst", 50)] {
        for readers in READERS {
            group.throughput(Throughput::Elements((events * readers) as u64));
            // The closure runs once per sample; starting the threads once is enough.
            let mut started = None;
            group.bench_function(BenchmarkId::new(operation, readers), |b| {
                let rig = started.get_or_insert_with(|| Rig::start(readers, events));
                b.iter_custom(|times| {
                    let mut time = Duration::ZERO;
                    for _ in 0..times {
                        let publications = rig.publications(events);
                        let start = Instant::now();
                        rig.fan_out(publications);
                        time += start.elapsed();
                    }
                    time
                });
            });
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(10);
    targets = bench_fanout
}
criterion_main!(benches);
