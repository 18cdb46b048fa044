//! Event log: stores events in seq order, evicts them by retention, and serves replays from its
//! [`history`]. The sequencer assigns the seqs.
//!
//! The only backend is in memory, a [`History`] behind a readers-writer lock. The sequencer is the
//! only writer: its thread waits for the lock once per batch (`Log::writer`); a shard that runs
//! the sequencer takes it only if it is free (`Log::try_writer`). A shard reads one bounded page
//! under it while a stream replays, and doesn't wait either: if the sequencer has the lock, the
//! stream is visited again when it has released it. A stream that starts live takes no lock, nor
//! does any live event (I4).
//!
//! Files, in dependency order: `history` (what is stored), `appended` (what can be known without
//! the lock), `waiters` (who comes back), this one.
#![forbid(unsafe_code)]

mod appended;
pub mod history;
#[cfg(all(test, ring_loom))]
mod model;
mod waiters;

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError};
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;

use crate::config::Config;
use crate::event::{Batch, Incarnation, Position, Publication, Selector, Seq};
pub(crate) use appended::Appended;
use history::{Encoded, Gap, History, Page, PageLimit, Replay, Resume, Retention, Stats};
use waiters::Waiters;

/// The node's event log.
pub struct Log {
    history: RwLock<History>,
    incarnation: Incarnation,
    appended: Appended,
    waiters: Waiters,
}

/// The events of a page: seq and wire form.
pub(crate) type Events = Vec<(Seq, Bytes)>;

/// The sequencer's access to the log, which excludes every other.
pub(crate) struct Writer<'a> {
    log: &'a Log,
    /// `None` only while it is dropped.
    history: Option<RwLockWriteGuard<'a, History>>,
}

impl Log {
    /// An empty log with a new incarnation: events of an earlier process are gone, and its ids are
    /// unknown.
    pub fn in_memory(retention: Retention) -> Self {
        let incarnation = Incarnation::from_bits(fastrand::u64(..));
        Self {
            history: RwLock::new(History::new(retention, incarnation)),
            incarnation,
            appended: Appended::default(),
            waiters: Waiters::new(),
        }
    }

    /// The incarnation that node-assigned ids belong to.
    pub(crate) fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// The seq of the newest event: where a stream starts that is live at once. Takes no lock; see
    /// [`appended`] for what it relies on.
    pub(crate) fn last_seq(&self) -> Seq {
        self.appended.last_seq()
    }

    /// Current size of the history. Takes no lock.
    pub(crate) fn stats(&self) -> Stats {
        self.appended.stats()
    }

    /// Waits for the lock. Sequencer only, on its own thread.
    pub(crate) fn writer(&self) -> Writer<'_> {
        // A poisoned lock is taken all the same: a panic of the sequencer ends publishing, but
        // events stored before it remain readable and in order.
        let history = self.history.write().unwrap_or_else(PoisonError::into_inner);
        Writer { log: self, history: Some(history) }
    }

    /// Takes the lock if nobody has it. Sequencer only.
    pub(crate) fn try_writer(&self) -> Option<Writer<'_>> {
        let history = match self.history.try_write() {
            Ok(history) => history,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        Some(Writer { log: self, history: Some(history) })
    }

    /// Resolves `position` and reads the first page of the replay. Both happen under one lock, so
    /// the oldest event that a reset names is still stored when the page is read. `None` if the
    /// sequencer has the lock: `waker` is woken when it has released it.
    pub(crate) fn try_resume(
        &self,
        position: &Position,
        selectors: &[Selector],
        limit: PageLimit,
        waker: &Waker,
    ) -> Option<(Resume, Events, Page)> {
        let history = self.try_lock(waker)?;
        let resume = history.resume(position, selectors);
        let mut events = Vec::new();
        // Nothing can be evicted under the lock, so there is no gap. If there were one, the next
        // read would report it.
        let page = history
            .read(selectors, &resume.replay, limit, &mut events)
            .unwrap_or_else(|_| Page { next: resume.replay.clone(), more: true });
        Some((resume, events, page))
    }

    /// Reads the next page of a replay; fails if an event of it was evicted in the meantime. `None`
    /// as in [`Self::try_resume`].
    pub(crate) fn try_read(
        &self,
        selectors: &[Selector],
        replay: &Replay,
        limit: PageLimit,
        waker: &Waker,
    ) -> Option<Result<(Events, Page), Gap>> {
        let history = self.try_lock(waker)?;
        let mut events = Vec::new();
        Some(history.read(selectors, replay, limit, &mut events).map(|page| (events, page)))
    }

    fn try_lock(&self, waker: &Waker) -> Option<RwLockReadGuard<'_, History>> {
        self.waiters.attempt(waker, || match self.history.try_read() {
            Ok(history) => Some(history),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        })
    }

    /// Runs `f` while the read lock is held.
    #[cfg(all(test, not(ring_loom)))]
    pub(crate) fn while_read(&self, f: impl FnOnce()) {
        let _history = self.history.read();
        f();
    }
}

impl Writer<'_> {
    /// Stores a batch. Each event's chunk is copied out of the batch, and its id is taken out of
    /// the publication.
    pub(crate) fn append<'a>(
        &mut self,
        batch: &Batch,
        events: impl Iterator<Item = &'a mut Publication>,
        now: Duration,
    ) {
        let history = self.history();
        let mut last_seq = batch.first();
        for ((event, index), seq) in events.zip(0..).zip(batch.first().0..) {
            let wire = batch.copy_out(index);
            let encoded = Encoded { topics: &event.topics, id: event.id.take(), wire };
            last_seq = Seq(seq);
            history.append(last_seq, encoded, now);
        }
        self.log.appended.raise(last_seq);
    }

    /// Evicts at most `budget` events by age and number of topics; returns whether more are left to
    /// evict.
    pub(crate) fn expire(&mut self, now: Duration, budget: usize) -> bool {
        self.history().expire(now, budget)
    }

    fn history(&mut self) -> &mut History {
        self.history.as_mut().expect("it is taken only by `drop`")
    }
}

impl Drop for Writer<'_> {
    /// Releases the lock, then wakes the readers that found it taken.
    fn drop(&mut self) {
        if let Some(history) = self.history.take() {
            self.log.appended.set_stats(history.stats());
        }
        self.log.waiters.wake_all();
    }
}

impl From<&Config> for Retention {
    fn from(config: &Config) -> Self {
        Self {
            events_per_topic: config.history_events,
            age: config.history_age,
            bytes: config.history_bytes,
            topics_max: config.topics_max,
        }
    }
}
