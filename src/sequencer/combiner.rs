//! Who is at the sequencer: its own thread, or the shard that has an event for it and finds nobody
//! there.
//!
//! A publish that wakes a thread, waits for it and is woken by it costs two switches, and on busy
//! cores each of them waits for its turn there: fifty events one after the other on one connection
//! took 25 to 60 ms while their streams were being written to, and each stream was sent to as often
//! as events came to it in that time. So whoever has an event and finds the sequencer free takes
//! the turn there and then, with what else is waiting (flat combining: Hendler, Incze, Shavit and
//! Tzafrir, SPAA 2010). The thread is for the rest: events that came while another was at it, many
//! of them at once, and tidying.
//!
//! # Nothing is left lying
//!
//! An event is in the queue before its shard looks at the lock. Whoever does not take a turn wakes
//! the thread, and whoever has taken one does if there is more; so each event is taken by a turn,
//! or the thread is woken after it was pushed. The thread sleeps only after a turn that found
//! nothing, and a wake since then is kept for it.
//!
//! # What a shard lends
//!
//! Its streams wait for the turn. A shard takes it only if few events wait ([`COMBINED_MAX`]),
//! nobody holds the lock and nobody reads the log: waiting for a thread that holds one and has lost
//! its processor could be long. What is left to wait for is short and rare: who begins to read the
//! log in that instant, who attaches to or detaches from the same stripe of the registry, who is
//! between two steps of putting an event into the queue. The turn itself has its usual bounds
//! (`FANFARE_BATCH_EVENTS`, `FANFARE_BATCH_BYTES`).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::queue::{Ingest, IngestFull, Permit};
use super::{Limits, Parts, Sequencer};
use crate::event::{Publication, Seq};

/// The sequencer's thread looks at least this often, so that what is too old leaves history and
/// rings on a quiet node. In unit tests it does not, so that an event left lying stays there.
const TIDY_INTERVAL: Duration = if cfg!(test) { Duration::MAX } else { Duration::from_secs(1) };

/// A shard takes a turn if no more events than this wait when it looks. With more, publishing is
/// busy: a thread of its own makes larger turns of them.
const COMBINED_MAX: usize = 8;

/// The sequencer, for one at a time; see the module.
pub struct Combiner {
    ingest: Arc<Ingest>,
    sequencer: Mutex<Sequencer>,
}

impl Combiner {
    /// A sequencer nobody is at.
    pub fn new(parts: Parts, limits: Limits) -> Self {
        let ingest = Arc::clone(&parts.ingest);
        Self { ingest, sequencer: Mutex::new(Sequencer::new(parts, limits)) }
    }

    /// Hands an event over, and sees to it that it is taken: here and now, or by the thread. The
    /// receiver yields the event's seq once the log has it.
    pub fn submit(
        &self,
        publication: Publication,
        permit: Permit,
    ) -> Result<oneshot::Receiver<Seq>, IngestFull> {
        let place = self.ingest.submit(publication, permit)?;
        self.attend();
        Ok(place)
    }

    fn attend(&self) {
        if !self.take_turn() || self.ingest.waiting() > 0 {
            self.ingest.wake();
        }
    }

    /// Takes a turn if nobody has to be waited for; true if it did.
    fn take_turn(&self) -> bool {
        if self.ingest.waiting() > COMBINED_MAX {
            return false;
        }
        let _alarm = Alarm(&self.ingest);
        let Ok(mut sequencer) = self.sequencer.try_lock() else { return false };
        if sequencer.parts.log.is_busy() {
            return false;
        }
        sequencer.turn();
        true
    }

    /// Works until the ingest is closed and empty; the body of the sequencer's thread.
    ///
    /// # Panics
    ///
    /// If a turn did, here or on a shard. The ingest is closed then.
    pub fn run(&self) {
        let _closer = Closer(self);
        self.ingest.wake_here();
        loop {
            let mut sequencer = self.sequencer.lock().expect("no turn has panicked");
            let worked = sequencer.turn() || sequencer.tidy();
            drop(sequencer);
            if worked {
                continue;
            }
            if self.ingest.is_finished() {
                return;
            }
            // Returns at once if an event was left since the turn: the wake is kept.
            std::thread::park_timeout(TIDY_INTERVAL);
        }
    }
}

/// Wakes the thread if a turn on a shard panics: it finds the lock poisoned, and closes the ingest.
struct Alarm<'a>(&'a Ingest);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.wake();
        }
    }
}

/// Closes the ingest when the sequencer ends, however it ends: after a panic publishers are refused
/// at once, those that wait are let go, and the health check says so.
struct Closer<'a>(&'a Combiner);

impl Drop for Closer<'_> {
    fn drop(&mut self) {
        let Combiner { ingest, sequencer } = self.0;
        ingest.close();
        while !ingest.is_finished() {
            drop(ingest.take());
        }
        // What a turn that panicked had taken.
        sequencer.lock().unwrap_or_else(PoisonError::into_inner).abandon();
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
        let parts = Parts {
            ingest: Arc::new(Ingest::new(config.queue_events, config.queue_bytes)),
            log: Arc::new(Log::in_memory(retention)),
            registry: Arc::new(Registry::new(4, NonZeroUsize::new(config.window).unwrap())),
            watermark: Arc::new(Watermark::new()),
        };
        let limits = Limits {
            batch_events,
            batch_bytes: config.batch_bytes,
            window_bytes: config.window_bytes,
            window_age: config.write_timeout,
        };
        Combiner::new(parts, limits)
    }

    fn log(combiner: &Combiner) -> Arc<Log> {
        Arc::clone(&combiner.sequencer.lock().unwrap().parts.log)
    }

    fn event(combiner: &Combiner) -> (Publication, Permit) {
        let topics = [Topic::new("a").unwrap()].into();
        let publication =
            Publication { topics, data: String::new(), id: None, event_type: None, retry: None };
        (publication, combiner.ingest.reserve(1).unwrap())
    }

    /// Puts an event into the queue, and that is all.
    fn queue(combiner: &Combiner) -> Receiver<Seq> {
        let (publication, permit) = event(combiner);
        combiner.ingest.submit(publication, permit).unwrap()
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
        combiner.ingest.wake_here();
        let mut places: Vec<_> = (0..3).map(|_| queue(&combiner)).collect();
        combiner.attend();
        let first = log(&combiner).next_seq().0 - 3;
        for (place, seq) in places.iter_mut().zip(first..) {
            assert_eq!(place.try_recv(), Ok(Seq(seq)));
        }
        assert!(!woken(Duration::from_millis(20)));
    }

    fn assert_left(combiner: &Combiner, mut place: Receiver<Seq>, attend: impl FnOnce()) {
        combiner.ingest.wake_here();
        attend();
        assert!(place.try_recv().is_err(), "taken");
        assert!(woken(Duration::from_secs(30)));
    }

    #[test]
    fn what_is_more_than_a_turn_is_left_for_the_thread() {
        let combiner = combiner(2);
        let mut places: Vec<_> = (0..3).map(|_| queue(&combiner)).collect();
        assert_left(&combiner, places.pop().unwrap(), || combiner.attend());
        assert!(places.iter_mut().all(|place| place.try_recv().is_ok()));
    }

    #[test]
    fn while_another_is_there_an_event_is_left_for_the_thread() {
        let combiner = combiner(1);
        let place = queue(&combiner);
        let _another = combiner.sequencer.lock().unwrap();
        assert_left(&combiner, place, || combiner.attend());
    }

    #[test]
    fn while_the_log_is_read_an_event_is_left_for_the_thread() {
        let combiner = combiner(1);
        let (place, log) = (queue(&combiner), log(&combiner));
        assert_left(&combiner, place, || log.while_read(|| combiner.attend()));
    }

    #[test]
    fn when_many_wait_they_are_left_for_the_thread() {
        let combiner = combiner(1024);
        let mut places: Vec<_> = (0..=COMBINED_MAX).map(|_| queue(&combiner)).collect();
        assert_left(&combiner, places.remove(0), || combiner.attend());
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
                let (publication, permit) = event(&combiner);
                let place = combiner.submit(publication, permit).unwrap();
                let place =
                    runtime.block_on(async { timeout(Duration::from_secs(30), place).await });
                place.expect("not left lying").expect("it has its place");
            }
        };
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| combiner.run());
            let publishers: Vec<_> = (0..PUBLISHERS).map(|_| scope.spawn(publish)).collect();
            let published =
                publishers.into_iter().map(|publisher| publisher.join()).collect::<Vec<_>>();
            combiner.ingest.close();
            thread.join().unwrap();
            published.into_iter().for_each(|published| published.unwrap());
        });
        assert_eq!(log(&combiner).next_seq(), Seq(first + PUBLISHERS * EVENTS));
    }

    #[test]
    fn after_a_turn_that_panicked_publishers_are_refused() {
        let combiner = combiner(2);
        combiner.ingest.wake_here();
        let mut places = [queue(&combiner), queue(&combiner)];
        // Less than the turn says it has: appending it to the log panics.
        let mut sequencer = combiner.sequencer.lock().unwrap();
        sequencer.gather(Seq(1));
        sequencer.ends.pop();
        drop(sequencer);
        assert!(catch_unwind(AssertUnwindSafe(|| combiner.attend())).is_err());
        assert!(woken(Duration::from_secs(30)));
        assert!(catch_unwind(AssertUnwindSafe(|| combiner.run())).is_err());
        for place in &mut places {
            assert_eq!(place.try_recv(), Err(TryRecvError::Closed));
        }
        let (publication, permit) = event(&combiner);
        assert_eq!(combiner.submit(publication, permit).err(), Some(IngestFull::Closed));
    }
}
