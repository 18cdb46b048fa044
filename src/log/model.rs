//! loom model of the wake-ups of readers. Run with `make model`.
//!
//! It runs the real [`Waiters`]. A flag stands in for the log's lock: its release store and its
//! acquire swap are what a lock promises, and no more.

use std::sync::Arc;
use std::task::{Wake, Waker};

use loom::sync::Notify;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

use super::waiters::Waiters;

struct Reader(Notify);

impl Wake for Reader {
    fn wake(self: Arc<Self>) {
        self.0.notify();
    }
}

/// A reader that finds the lock taken is woken after it is released. A lost wake-up is a reader
/// that waits for ever: loom reports the deadlock.
#[test]
fn a_reader_that_comes_back_is_woken() {
    loom::model(|| {
        let waiters = Arc::new(Waiters::new());
        let locked = Arc::new(AtomicBool::new(true));
        let writer = {
            let (waiters, locked) = (Arc::clone(&waiters), Arc::clone(&locked));
            thread::spawn(move || {
                locked.store(false, Ordering::Release);
                waiters.wake_all();
            })
        };
        let reader = Arc::new(Reader(Notify::new()));
        let waker = Waker::from(Arc::clone(&reader));
        let attempt = || (!locked.load(Ordering::Acquire)).then_some(());
        // loom's `wait` may return early, as a shard may visit a stream early.
        while waiters.attempt(&waker, attempt).is_none() {
            reader.0.wait();
        }
        writer.join().expect("the writer");
    });
}
