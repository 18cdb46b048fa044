//! The sequencer behind its combiner: who runs a batch, who is woken, what a panic leaves.

use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::sync::oneshot::Receiver;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::time::timeout;

use super::combiner::COMBINED_MAX;
use super::*;
use crate::config::Config;
use crate::event::{Selector, Topic};
use crate::log::Log;
use crate::log::history::Retention;
use crate::ring::{Mailbox, Read, Registry, Watermark};

fn combiner(events: usize) -> Combiner<Sequencer> {
    let config = Config::default();
    let retention =
        Retention { events_per_topic: 4, age: Duration::MAX, bytes: 1 << 20, topics_max: 4 };
    let deps = Deps {
        queue: Queue::new(config.queue_events, config.queue_bytes),
        log: Arc::new(Log::in_memory(retention)),
        registry: Arc::new(Registry::new(4, NonZeroUsize::new(config.window).unwrap())),
        watermark: Arc::new(Watermark::new()),
    };
    // No eviction wakes the thread: an event whose wake-up was lost stays in the queue.
    let evict_interval = Duration::MAX;
    Combiner::new(deps, BatchLimits { events, evict_interval, ..BatchLimits::from(&config) })
}

fn log(combiner: &Combiner<Sequencer>) -> Arc<Log> {
    Arc::clone(&combiner.lock().deps.log)
}

fn event(combiner: &Combiner<Sequencer>) -> (Publication, ByteReservation) {
    let topics = [Topic::new("a").unwrap()].into();
    let publication =
        Publication { topics, data: String::new(), id: None, event_type: None, retry: None };
    (publication, combiner.lock().deps.queue.reserve(1).unwrap())
}

/// Pushes an event; nobody is woken.
fn push(combiner: &Combiner<Sequencer>) -> Receiver<Seq> {
    let (publication, reservation) = event(combiner);
    queue::push(combiner.queue(), publication, reservation).unwrap()
}

/// Whether this thread, registered as the consumer, is unparked.
fn woken(within: Duration) -> bool {
    let start = Instant::now();
    std::thread::park_timeout(within);
    start.elapsed() < within
}

#[test]
fn a_free_sequencer_runs_on_the_publishing_shard_and_wakes_no_thread() {
    let combiner = combiner(3);
    combiner.queue().set_consumer();
    let mut acks: Vec<_> = (0..3).map(|_| push(&combiner)).collect();
    combiner.run_or_wake();
    let first = log(&combiner).last_seq().next().0 - 3;
    for (ack, seq) in acks.iter_mut().zip(first..) {
        assert_eq!(ack.try_recv(), Ok(Seq(seq)));
    }
    assert!(!woken(Duration::from_millis(20)));
}

fn assert_left(combiner: &Combiner<Sequencer>, mut ack: Receiver<Seq>, run: impl FnOnce()) {
    combiner.queue().set_consumer();
    run();
    assert!(ack.try_recv().is_err(), "the event waits");
    assert!(woken(Duration::from_secs(30)));
}

#[test]
fn events_beyond_the_batch_are_left_to_the_thread() {
    let combiner = combiner(2);
    let mut acks: Vec<_> = (0..3).map(|_| push(&combiner)).collect();
    assert_left(&combiner, acks.pop().unwrap(), || combiner.run_or_wake());
    assert!(acks.iter_mut().all(|ack| ack.try_recv().is_ok()));
}

#[test]
fn while_another_thread_holds_the_lock_an_event_is_left_to_the_thread() {
    let combiner = combiner(1);
    let ack = push(&combiner);
    let _another = combiner.lock();
    assert_left(&combiner, ack, || combiner.run_or_wake());
}

#[test]
fn while_the_log_is_read_an_event_is_left_to_the_thread() {
    let combiner = combiner(1);
    let (ack, log) = (push(&combiner), log(&combiner));
    assert_left(&combiner, ack, || log.while_read(|| combiner.run_or_wake()));
}

#[test]
fn many_waiting_events_are_left_to_the_thread() {
    let combiner = combiner(1024);
    let mut acks: Vec<_> = (0..=COMBINED_MAX).map(|_| push(&combiner)).collect();
    assert_left(&combiner, acks.remove(0), || combiner.run_or_wake());
}

#[test]
fn a_large_batch_leaves_little_scratch_behind() {
    let combiner = combiner(10_000);
    let acks: Vec<_> = (0..5_000).map(|_| push(&combiner)).collect();
    assert!(combiner.lock().run_batch());
    drop(acks);
    let sequencer = combiner.lock();
    let (submissions, ends) = (sequencer.submissions.capacity(), sequencer.ends.capacity());
    assert!(submissions <= SCRATCH_KEPT && ends <= SCRATCH_KEPT, "{submissions} {ends}");
}

/// Pushes an event with that many topics and bytes of data; nobody is woken.
fn push_sized(combiner: &Combiner<Sequencer>, topics: usize, bytes: usize) -> Receiver<Seq> {
    let (mut publication, reservation) = event(combiner);
    publication.topics = (0..topics).map(|n| Topic::new(&format!("t{n}")).unwrap()).collect();
    publication.data = "x".repeat(bytes);
    queue::push(combiner.queue(), publication, reservation).unwrap()
}

/// Ensures that a shard's streams don't wait for another publisher's large event.
///
/// Scenario: a small event is published on a shard while a large one, or one of many topics, waits.
///
/// Cause: a shard took all waiting events into its batch, whatever their size.
///
/// Fix: it leaves a large event, and those after it, to the sequencer's thread.
#[test]
fn events_of_many_bytes_or_topics_are_left_to_the_thread() {
    for (topics, bytes) in [(1, COMBINED_BYTES + 1), (COMBINED_TOPICS + 1, 1)] {
        let combiner = combiner(1024);
        combiner.queue().set_consumer();
        let mut small = push(&combiner);
        let mut large = push_sized(&combiner, topics, bytes);
        let mut last = push(&combiner);
        combiner.run_or_wake();
        assert_eq!(small.try_recv(), Ok(Seq(1)));
        assert!(large.try_recv().is_err() && woken(Duration::from_secs(30)));
        combiner.run_or_wake();
        assert!(large.try_recv().is_err() && last.try_recv().is_err(), "no shard runs them");
        assert!(woken(Duration::from_secs(30)));
        combiner.queue().close();
        combiner.run();
        assert_eq!((large.try_recv(), last.try_recv()), (Ok(Seq(2)), Ok(Seq(3))));
    }
}

#[test]
fn a_batch_has_a_bounded_number_of_topics() {
    const TOPICS: usize = 100;
    let combiner = combiner(1024);
    let mut acks: Vec<_> = (0..50).map(|_| push_sized(&combiner, TOPICS, 1)).collect();
    assert!(combiner.lock().run_batch());
    let taken =
        acks.iter_mut().map(|ack| ack.try_recv().is_ok()).take_while(|taken| *taken).count();
    assert_eq!(taken, BATCH_TOPICS_MAX.div_ceil(TOPICS));
    assert!(combiner.lock().run_batch());
    assert!(acks[taken..].iter_mut().all(|ack| ack.try_recv().is_ok()));
}

#[test]
fn every_event_is_taken_once_whoever_runs_the_batch() {
    const PUBLISHERS: u64 = 4;
    const EVENTS: u64 = 2_000;
    let combiner = combiner(1024);
    let first = log(&combiner).last_seq().next().0;
    let publish = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        for _ in 0..EVENTS {
            let (publication, reservation) = event(&combiner);
            let ack = combiner.submit(publication, reservation).unwrap();
            let ack = runtime.block_on(async { timeout(Duration::from_secs(30), ack).await });
            ack.expect("the event is taken").expect("the event is acknowledged");
        }
    };
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| combiner.run());
        let publishers: Vec<_> = (0..PUBLISHERS).map(|_| scope.spawn(publish)).collect();
        let published =
            publishers.into_iter().map(|publisher| publisher.join()).collect::<Vec<_>>();
        combiner.queue().close();
        thread.join().unwrap();
        published.into_iter().for_each(|published| published.unwrap());
    });
    assert_eq!(log(&combiner).last_seq().next(), Seq(first + PUBLISHERS * EVENTS));
}

#[test]
fn after_a_batch_panicked_publishers_are_refused() {
    let combiner = combiner(2);
    combiner.queue().set_consumer();
    let (publication, reservation) = event(&combiner);
    let mut acks = [push(&combiner), push(&combiner)];
    // One end too few: appending the batch to the log panics.
    let mut sequencer = combiner.lock();
    sequencer.encode_batch(Seq(1), RunsOn::Thread);
    sequencer.ends.pop();
    drop(sequencer);
    assert!(catch_unwind(AssertUnwindSafe(|| combiner.run_or_wake())).is_err());
    assert!(woken(Duration::from_secs(30)));
    assert!(catch_unwind(AssertUnwindSafe(|| combiner.run())).is_err());
    for ack in &mut acks {
        assert_eq!(ack.try_recv(), Err(TryRecvError::Closed));
    }
    assert_eq!(combiner.submit(publication, reservation).err(), Some(QueueFull::Closed));
}

/// Ensures that the last epochs before a pause are freed without another publish.
#[test]
fn a_quiet_node_frees_what_has_left_the_rings() {
    let combiner = combiner(2);
    let registry = Arc::clone(&combiner.lock().deps.registry);
    let selector = Selector::parse("a").unwrap();
    let waker = registry.subscribe(&selector, &Arc::new(Mailbox::new(0)), 0).unwrap();
    let _acks = [push(&combiner), push(&combiner)];
    let mut sequencer = combiner.lock();
    sequencer.run_batch();
    let slice = |ring: &crate::ring::Ring| {
        ring.read(&registry.reader(), 0, |epoch| epoch.slice_after(Seq(0)))
    };
    let Read::Epoch(Some(slice)) = slice(&waker.ring) else { panic!("the batch is in the ring") };
    let bytes = slice.bytes.into_bytes();
    waker.ring.expel(0);
    assert!(!bytes.is_unique(), "nothing is freed at once");
    sequencer.limits.evict_interval = Duration::ZERO;
    sequencer.evict_expired();
    assert!(bytes.is_unique());
}
