//! Who is at the sequencer: its own thread, or the shard that has an event for it and finds nobody
//! there.
//!
//! A publish that wakes a thread, waits for it and is woken by it costs two switches, and on busy
//! cores each of them waits for its batch there: fifty events one after the other on one connection
//! took 25 to 60 ms while their streams were being written to, and each stream was sent to as often
//! as events came to it in that time. So whoever has an event and finds the sequencer free takes
//! the batch there and then, with what else is waiting (flat combining: Hendler, Incze, Shavit and
//! Tzafrir, SPAA 2010). The thread is for the rest: events that came while another was at it, many
//! of them at once, and tidying.
//!
//! # Nothing is left lying
//!
//! An event is in the queue before its shard looks at the lock. Whoever does not take a batch wakes
//! the thread, and whoever has taken one does if there is more; so each event is taken by a batch,
//! or the thread is woken after it was pushed. The thread sleeps only after a batch that found
//! nothing, and a wake since then is kept for it.
//!
//! # What a shard lends
//!
//! Its streams wait for the batch. A shard takes it only if few events wait ([`COMBINED_MAX`]),
//! nobody holds the lock and nobody reads the log: waiting for a thread that holds one and has lost
//! its processor could be long. What is left to wait for is short and rare: who begins to read the
//! log in that instant, who attaches to or detaches from the same stripe of the registry, who is
//! between two steps of putting an event into the queue. The batch itself has its usual bounds
//! (`FANFARE_BATCH_EVENTS`, `FANFARE_BATCH_BYTES`).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::queue::{ByteReservation, Queue, QueueFull};
use super::{BatchLimits, Deps, Sequencer};
use crate::event::{Publication, Seq};

/// The sequencer's thread looks at least this often, so that what is too old leaves history and
/// rings on a quiet node. In unit tests it does not, so that an event left lying stays there.
const EVICT_INTERVAL: Duration = if cfg!(test) { Duration::MAX } else { Duration::from_secs(1) };

/// A shard takes a batch if no more events than this wait when it looks. With more, publishing is
/// busy: a thread of its own makes larger batches of them.
const COMBINED_MAX: usize = 8;

/// The sequencer, for one at a time; see the module.
pub struct Combiner {
    queue: Arc<Queue>,
    sequencer: Mutex<Sequencer>,
}

impl Combiner {
    /// A sequencer nobody is at.
    pub fn new(deps: Deps, limits: BatchLimits) -> Self {
        let queue = Arc::clone(&deps.queue);
        Self { queue, sequencer: Mutex::new(Sequencer::new(deps, limits)) }
    }

    /// Hands an event over, and sees to it that it is taken: here and now, or by the thread. The
    /// receiver yields the event's seq once the log has it.
    pub fn submit(
        &self,
        publication: Publication,
        reservation: ByteReservation,
    ) -> Result<oneshot::Receiver<Seq>, QueueFull> {
        let ack = self.queue.submit(publication, reservation)?;
        self.drive();
        Ok(ack)
    }

    fn drive(&self) {
        if !self.try_run_batch() || self.queue.waiting() > 0 {
            self.queue.wake();
        }
    }

    /// Takes a batch if nobody has to be waited for; true if it did.
    fn try_run_batch(&self) -> bool {
        if self.queue.waiting() > COMBINED_MAX {
            return false;
        }
        let _wake_on_panic = WakeOnPanic(&self.queue);
        let Ok(mut sequencer) = self.sequencer.try_lock() else { return false };
        if sequencer.deps.log.is_busy() {
            return false;
        }
        sequencer.run_batch();
        true
    }

    /// Works until the queue is closed and empty; the body of the sequencer's thread.
    ///
    /// # Panics
    ///
    /// If a batch did, here or on a shard. The queue is closed then.
    pub fn run(&self) {
        let _close_on_drop = CloseOnDrop(self);
        self.queue.set_consumer();
        loop {
            let mut sequencer = self.sequencer.lock().expect("no batch has panicked");
            let worked = sequencer.run_batch() || sequencer.evict_expired();
            drop(sequencer);
            if worked {
                continue;
            }
            if self.queue.is_finished() {
                return;
            }
            // Returns at once if an event was left since the batch: the wake is kept.
            std::thread::park_timeout(EVICT_INTERVAL);
        }
    }
}

/// Wakes the thread if a batch on a shard panics: it finds the lock poisoned, and closes the queue.
struct WakeOnPanic<'a>(&'a Queue);

impl Drop for WakeOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.wake();
        }
    }
}

/// Closes the queue when the sequencer ends, however it ends: after a panic publishers are refused
/// at once, those that wait are let go, and the health check says so.
struct CloseOnDrop<'a>(&'a Combiner);

impl Drop for CloseOnDrop<'_> {
    fn drop(&mut self) {
        let Combiner { queue, sequencer } = self.0;
        queue.close();
        while !queue.is_finished() {
            drop(queue.take());
        }
        // What a batch that panicked had taken.
        sequencer.lock().unwrap_or_else(PoisonError::into_inner).fail_pending();
    }
}

#[cfg(all(test, not(ring_loom)))]
mod tests {
    use std::num::NonZeroUsize;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::time::Instant;

    use tokio::sync::oneshot::Receiver;
    use tokio::sync::oneshot::error::TryRecvError;
    use tokio::time::timeout;

    use super::*;
    use crate::config::Config;
    use crate::event::Topic;
    use crate::log::Log;
    use crate::log::history::Retention;
    use crate::ring::{Registry, Watermark};

    fn combiner(batch_events: usize) -> Combiner {
        let config = Config::default();
        let retention =
            Retention { events_per_topic: 4, age: Duration::MAX, bytes: 1 << 20, topics_max: 4 };
        let deps = Deps {
            queue: Arc::new(Queue::new(config.queue_events, config.queue_bytes)),
            log: Arc::new(Log::in_memory(retention)),
            registry: Arc::new(Registry::new(4, NonZeroUsize::new(config.window).unwrap())),
            watermark: Arc::new(Watermark::new()),
        };
        let limits = BatchLimits {
            batch_events,
            batch_bytes: config.batch_bytes,
            window_bytes: config.window_bytes,
            window_age: config.write_timeout,
        };
        Combiner::new(deps, limits)
    }

    fn log(combiner: &Combiner) -> Arc<Log> {
        Arc::clone(&combiner.sequencer.lock().unwrap().deps.log)
    }

    fn event(combiner: &Combiner) -> (Publication, ByteReservation) {
        let topics = [Topic::new("a").unwrap()].into();
        let publication =
            Publication { topics, data: String::new(), id: None, event_type: None, retry: None };
        (publication, combiner.queue.reserve(1).unwrap())
    }

    /// Puts an event into the queue, and that is all.
    fn queue(combiner: &Combiner) -> Receiver<Seq> {
        let (publication, reservation) = event(combiner);
        combiner.queue.submit(publication, reservation).unwrap()
    }

    /// Whether this thread, which is to be the sequencer's, was woken.
    fn woken(within: Duration) -> bool {
        let start = Instant::now();
        std::thread::park_timeout(within);
        start.elapsed() < within
    }

    #[test]
    fn who_finds_nobody_there_takes_the_turn_and_wakes_nobody() {
        let combiner = combiner(3);
        combiner.queue.set_consumer();
        let mut places: Vec<_> = (0..3).map(|_| queue(&combiner)).collect();
        combiner.drive();
        let first = log(&combiner).next_seq().0 - 3;
        for (ack, seq) in places.iter_mut().zip(first..) {
            assert_eq!(ack.try_recv(), Ok(Seq(seq)));
        }
        assert!(!woken(Duration::from_millis(20)));
    }

    fn assert_left(combiner: &Combiner, mut ack: Receiver<Seq>, drive: impl FnOnce()) {
        combiner.queue.set_consumer();
        drive();
        assert!(ack.try_recv().is_err(), "taken");
        assert!(woken(Duration::from_secs(30)));
    }

    #[test]
    fn what_is_more_than_a_turn_is_left_for_the_thread() {
        let combiner = combiner(2);
        let mut places: Vec<_> = (0..3).map(|_| queue(&combiner)).collect();
        assert_left(&combiner, places.pop().unwrap(), || combiner.drive());
        assert!(places.iter_mut().all(|ack| ack.try_recv().is_ok()));
    }

    #[test]
    fn while_another_is_there_an_event_is_left_for_the_thread() {
        let combiner = combiner(1);
        let ack = queue(&combiner);
        let _another = combiner.sequencer.lock().unwrap();
        assert_left(&combiner, ack, || combiner.drive());
    }

    #[test]
    fn while_the_log_is_read_an_event_is_left_for_the_thread() {
        let combiner = combiner(1);
        let (ack, log) = (queue(&combiner), log(&combiner));
        assert_left(&combiner, ack, || log.while_read(|| combiner.drive()));
    }

    #[test]
    fn when_many_wait_they_are_left_for_the_thread() {
        let combiner = combiner(1024);
        let mut places: Vec<_> = (0..=COMBINED_MAX).map(|_| queue(&combiner)).collect();
        assert_left(&combiner, places.remove(0), || combiner.drive());
    }

    #[test]
    fn every_event_is_taken_once_however_many_attend() {
        const PUBLISHERS: u64 = 4;
        const EVENTS: u64 = 2_000;
        let combiner = combiner(1024);
        let first = log(&combiner).next_seq().0;
        let publish = || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            for _ in 0..EVENTS {
                let (publication, reservation) = event(&combiner);
                let ack = combiner.submit(publication, reservation).unwrap();
                let ack = runtime.block_on(async { timeout(Duration::from_secs(30), ack).await });
                ack.expect("not left lying").expect("it has its ack");
            }
        };
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| combiner.run());
            let publishers: Vec<_> = (0..PUBLISHERS).map(|_| scope.spawn(publish)).collect();
            let published =
                publishers.into_iter().map(|publisher| publisher.join()).collect::<Vec<_>>();
            combiner.queue.close();
            thread.join().unwrap();
            published.into_iter().for_each(|published| published.unwrap());
        });
        assert_eq!(log(&combiner).next_seq(), Seq(first + PUBLISHERS * EVENTS));
    }

    #[test]
    fn after_a_turn_that_panicked_publishers_are_refused() {
        let combiner = combiner(2);
        combiner.queue.set_consumer();
        let mut places = [queue(&combiner), queue(&combiner)];
        // Less than the batch says it has: appending it to the log panics.
        let mut sequencer = combiner.sequencer.lock().unwrap();
        sequencer.encode_batch(Seq(1));
        sequencer.ends.pop();
        drop(sequencer);
        assert!(catch_unwind(AssertUnwindSafe(|| combiner.drive())).is_err());
        assert!(woken(Duration::from_secs(30)));
        assert!(catch_unwind(AssertUnwindSafe(|| combiner.run())).is_err());
        for ack in &mut places {
            assert_eq!(ack.try_recv(), Err(TryRecvError::Closed));
        }
        let (publication, reservation) = event(&combiner);
        assert_eq!(combiner.submit(publication, reservation).err(), Some(QueueFull::Closed));
    }
}
