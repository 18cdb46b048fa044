//! Event log: stores events in seq order, evicts them by retention, and serves replays from its
//! [`history`]. The sequencer assigns the seqs.
//!
//! The only backend is in memory, a [`History`] behind a readers-writer lock. The sequencer is the
//! only writer and takes the lock once per batch. Shards take it to read one bounded page, when a
//! stream is opened and while it replays. No live event passes through the lock (I4).
#![forbid(unsafe_code)]

pub mod history;

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError};
use std::time::Duration;

use bytes::Bytes;

use crate::config::Config;
use crate::event::{Batch, Incarnation, Position, Publication, Selector, Seq};
use history::{Encoded, Gap, History, Page, PageLimit, Replay, Resume, Retention, Stats};

/// The node's event log.
pub struct Log {
    history: RwLock<History>,
    incarnation: Incarnation,
}

impl Log {
    /// An empty log with a new incarnation: events of an earlier process are gone, and its ids are
    /// unknown.
    pub fn in_memory(retention: Retention) -> Self {
        let incarnation = Incarnation::from_bits(fastrand::u64(..));
        Self { history: RwLock::new(History::new(retention, incarnation)), incarnation }
    }

    /// The incarnation that node-assigned ids belong to.
    pub(crate) fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Whether the lock is held, so that an append would block.
    pub(crate) fn is_busy(&self) -> bool {
        matches!(self.history.try_write(), Err(TryLockError::WouldBlock))
    }

    /// The seq of the next event. For the sequencer: anybody else may see a seq that is already
    /// being appended.
    pub(crate) fn next_seq(&self) -> Seq {
        self.read_lock().next_seq()
    }

    /// Stores a batch. Sequencer only. Each event's chunk is copied out of the batch, and its id is
    /// taken out of the publication.
    pub(crate) fn append<'a>(
        &self,
        batch: &Batch,
        events: impl Iterator<Item = &'a mut Publication>,
        now: Duration,
    ) {
        let mut history = self.write_lock();
        for ((event, index), seq) in events.zip(0..).zip(batch.first().0..) {
            let wire = batch.copy_out(index);
            let encoded = Encoded { topics: &event.topics, id: event.id.take(), wire };
            history.append(Seq(seq), encoded, now);
        }
    }

    /// Evicts at most `budget` events by age and number of topics; returns whether more are left to
    /// evict. Sequencer only.
    pub(crate) fn expire(&self, now: Duration, budget: usize) -> bool {
        self.write_lock().expire(now, budget)
    }

    /// Resolves `position` and reads the first page of the replay. Both happen under one lock, so
    /// the oldest event that a reset names is still stored when the page is read.
    pub(crate) fn resume(
        &self,
        position: &Position,
        selectors: &[Selector],
        limit: PageLimit,
    ) -> (Resume, Vec<(Seq, Bytes)>, Page) {
        let history = self.read_lock();
        let resume = history.resume(position, selectors);
        let mut events = Vec::new();
        let page = if *position == Position::Live {
            Page { next: resume.replay.clone(), more: false }
        } else {
            // Nothing can be evicted under the lock, so there is no gap. If there were one, the
            // next read would report it.
            history
                .read(selectors, &resume.replay, limit, &mut events)
                .unwrap_or_else(|_| Page { next: resume.replay.clone(), more: true })
        };
        (resume, events, page)
    }

    /// Reads the next page of a replay; fails if an event of it was evicted in the meantime.
    pub(crate) fn read(
        &self,
        selectors: &[Selector],
        replay: &Replay,
        limit: PageLimit,
    ) -> Result<(Vec<(Seq, Bytes)>, Page), Gap> {
        let mut events = Vec::new();
        let page = self.read_lock().read(selectors, replay, limit, &mut events)?;
        Ok((events, page))
    }

    /// Current size of the history.
    pub(crate) fn stats(&self) -> Stats {
        self.read_lock().stats()
    }

    /// Runs `f` while the read lock is held.
    #[cfg(all(test, not(ring_loom)))]
    pub(crate) fn while_read(&self, f: impl FnOnce()) {
        let _history = self.read_lock();
        f();
    }

    /// Ignores poisoning: a panic of the sequencer ends publishing, but events stored before it
    /// remain readable and in order.
    fn read_lock(&self) -> RwLockReadGuard<'_, History> {
        self.history.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_lock(&self) -> RwLockWriteGuard<'_, History> {
        self.history.write().unwrap_or_else(PoisonError::into_inner)
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
