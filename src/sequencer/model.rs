//! loom models of the queue's closing and of the combiner. Run with `make model`.
//!
//! They run the real [`ClosableQueue`] and [`Combiner`]; the runner is a small one that pops items
//! and acknowledges them.

use std::sync::Arc;
use std::time::Duration;

use loom::sync::Notify;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use super::closable_queue::{ClosableQueue, PushError};
use super::combiner::{BatchRunner, Combiner};

fn model(check: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(check);
}

/// Whatever the interleaving, an item that was accepted is popped before the queue is finished.
#[test]
fn closing_loses_no_item() {
    model(|| {
        let queue = Arc::new(ClosableQueue::new(2));
        let producer = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || queue.push(()).is_ok())
        };
        let closer = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || queue.close())
        };
        let mut popped = 0;
        // A consumer that checks while both are under way. Finished is final.
        let finished = queue.is_finished();
        while queue.pop().is_some() {
            popped += 1;
        }
        assert!(!finished || popped == 0, "an item came after the queue was finished");
        let accepted = producer.join().expect("the producer");
        closer.join().expect("the closer");
        assert!(!finished || !accepted, "the queue was finished while a push succeeded");
        while queue.pop().is_some() {
            popped += 1;
        }
        assert_eq!(popped, usize::from(accepted));
        assert!(queue.is_finished());
        assert_eq!(queue.push(()), Err(PushError::Closed));
    });
}

/// Acknowledges every item it pops, at most one in a batch. On a shard it either runs the item or
/// leaves it to the thread.
struct Runner {
    queue: Arc<ClosableQueue<Arc<Notify>>>,
    left: Option<Arc<Notify>>,
    leaves: bool,
    ran: Arc<AtomicUsize>,
}

impl Runner {
    fn new(queue: &Arc<ClosableQueue<Arc<Notify>>>, ran: &Arc<AtomicUsize>, leaves: bool) -> Self {
        Self { queue: Arc::clone(queue), left: None, leaves, ran: Arc::clone(ran) }
    }
}

impl BatchRunner for Runner {
    type Item = Arc<Notify>;

    fn run_batch(&mut self) -> bool {
        let Some(ack) = self.left.take().or_else(|| self.queue.pop()) else { return false };
        self.ran.fetch_add(1, Ordering::Relaxed);
        ack.notify();
        true
    }

    fn try_run_batch(&mut self) -> bool {
        if self.leaves && self.left.is_none() {
            self.left = self.queue.pop();
        }
        if self.left.is_some() {
            return false;
        }
        self.run_batch();
        true
    }

    fn evict_expired(&mut self) -> bool {
        false
    }

    fn fail_pending(&mut self) {}
}

/// Two shards publish and wait for their acknowledgements; the thread runs beside them. A lost
/// wake-up is an acknowledgement that never comes: loom reports the deadlock.
#[test]
fn every_item_is_run_once() {
    model(|| {
        let queue = Arc::new(ClosableQueue::new(2));
        let ran = Arc::new(AtomicUsize::new(0));
        let runner = Runner::new(&queue, &ran, false);
        let combiner = Arc::new(Combiner::with_runner(Arc::clone(&queue), runner, Duration::MAX));
        let publish = |combiner: &Combiner<Runner>| {
            let ack = Arc::new(Notify::new());
            assert_eq!(combiner.queue().push(Arc::clone(&ack)), Ok(()));
            combiner.run_or_wake();
            ack.wait();
        };
        let sequencer = {
            let combiner = Arc::clone(&combiner);
            thread::spawn(move || combiner.run())
        };
        let shard = {
            let combiner = Arc::clone(&combiner);
            thread::spawn(move || publish(&combiner))
        };
        publish(&combiner);
        shard.join().expect("the shard");
        queue.close();
        sequencer.join().expect("the sequencer's thread");
        assert_eq!(ran.load(Ordering::Relaxed), 2);
    });
}

/// The queue is closed while a shard publishes. Whether the push is refused, or the shard runs the
/// batch itself, or the thread does: the thread ends. A lost wake-up leaves it parked, which loom
/// reports as a deadlock.
#[test]
fn closing_ends_the_run() {
    close_while_a_shard_publishes(false);
}

/// The same if the shard leaves the item to the thread: it is run before the thread ends.
#[test]
fn an_item_left_to_the_thread_is_run() {
    close_while_a_shard_publishes(true);
}

fn close_while_a_shard_publishes(leaves: bool) {
    model(move || {
        let queue = Arc::new(ClosableQueue::new(2));
        let ran = Arc::new(AtomicUsize::new(0));
        let runner = Runner::new(&queue, &ran, leaves);
        let combiner = Arc::new(Combiner::with_runner(Arc::clone(&queue), runner, Duration::MAX));
        let sequencer = {
            let combiner = Arc::clone(&combiner);
            thread::spawn(move || combiner.run())
        };
        let shard = {
            let combiner = Arc::clone(&combiner);
            thread::spawn(move || {
                let accepted = combiner.queue().push(Arc::new(Notify::new())).is_ok();
                if accepted {
                    combiner.run_or_wake();
                }
                accepted
            })
        };
        queue.close();
        let accepted = shard.join().expect("the shard");
        sequencer.join().expect("the sequencer's thread");
        assert_eq!(ran.load(Ordering::Relaxed), usize::from(accepted));
    });
}
