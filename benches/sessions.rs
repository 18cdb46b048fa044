//! What a visit of a stream with many topics costs in process: the merge of its rings, without the
//! socket.
//!
//! A batch of one event is published to one ring, or to all of them, and each of a shard's sessions
//! reads what it has. `one` is an event in one of the topics, `all` an event in every topic; the
//! number is that of the topics. `cargo bench --bench sessions`.

use std::num::NonZeroUsize;
use std::sync::Arc;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fanfare::MergedRings;
use fanfare::event::{Batch, Seq, Topic};
use fanfare::ring::{Mailbox, PendingWakes, Reader, Registry, Watermark};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Epochs of a ring.
const WINDOW: usize = 1024;

const EVENT: [u8; 240] = [b'x'; 240];
const SESSIONS: usize = 1000;
const TOPICS: [usize; 3] = [1, 100, 1000];

struct Rig {
    registry: Registry,
    reader: Reader,
    watermark: Watermark,
    topics: Vec<Topic>,
    sessions: Vec<MergedRings>,
    next: Seq,
}

impl Rig {
    fn new(topics: usize) -> Self {
        let registry = Registry::new(topics, NonZeroUsize::new(WINDOW).unwrap());
        let mailbox = Arc::new(Mailbox::new(0));
        let topics: Vec<_> =
            (0..topics).map(|number| Topic::new(&format!("topic-{number}")).unwrap()).collect();
        let sessions =
            (0..SESSIONS).map(|_| MergedRings::subscribe(&registry, &mailbox, &topics)).collect();
        let reader = registry.reader();
        Self { registry, reader, watermark: Watermark::new(), topics, sessions, next: Seq(1) }
    }

    /// Publishes an event to the first `topics` topics.
    fn publish(&mut self, topics: usize) {
        let ends = Box::new([EVENT.len() as u32]);
        let batch = Arc::new(Batch::new(Bytes::from_static(&EVENT), ends, self.next));
        let mut wakes = PendingWakes::default();
        for topic in &self.topics[..topics] {
            self.registry.publish(topic, &batch, &[0], &mut wakes);
        }
        self.watermark.raise(self.next);
        self.next.0 += 1;
    }

    /// Every session reads what it has.
    fn visit(&mut self) {
        self.reader.hold();
        for session in &mut self.sessions {
            assert_eq!(session.drain(&self.reader, &self.watermark), 1);
        }
        self.reader.quiesce();
    }
}

fn bench_sessions(c: &mut Criterion) {
    let mut group = c.benchmark_group("sessions");
    group.throughput(Throughput::Elements(SESSIONS as u64));
    for topics in TOPICS {
        for (operation, published) in [("one", 1), ("all", topics)] {
            let mut rig = Rig::new(topics);
            group.bench_function(BenchmarkId::new(operation, topics), |b| {
                b.iter(|| {
                    rig.publish(published);
                    rig.visit();
                });
            });
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = bench_sessions
}
criterion_main!(benches);
