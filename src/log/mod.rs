//! The log: where an event gets its place, and where streams that were away find what they missed.
//!
//! In memory, for now the only one. The sequencer is its one writer, once per batch; shards read it
//! in bounded slices when streams are opened. The lock is for those two; no live event passes
//! through it (I4).

pub mod history;

use std::sync::{PoisonError, RwLock, RwLockReadGuard, TryLockError};
use std::time::Duration;

use bytes::Bytes;

use crate::event::{Batch, Incarnation, Position, Publication, Selector, Seq};
use history::{Encoded, Gap, History, Page, PageLimit, Replay, Resume, Retention, Stats};

/// The node's log; see the module.
pub struct Log {
    history: RwLock<History>,
    incarnation: Incarnation,
}

impl Log {
    /// An empty log with a numbering of its own: what was in memory before is gone, and old ids are
    /// unknown.
    pub fn in_memory(retention: Retention) -> Self {
        let incarnation = Incarnation::from_bits(fastrand::u64(..));
        Self { history: RwLock::new(History::new(retention, incarnation)), incarnation }
    }

    /// The numbering its ids belong to.
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Whether somebody is at it, so that an append would wait.
    pub fn is_busy(&self) -> bool {
        matches!(self.history.try_write(), Err(TryLockError::WouldBlock))
    }

    /// The seq of the next event. Sequencer only: it is the one who appends.
    pub fn next_seq(&self) -> Seq {
        self.read_lock().next_seq()
    }

    /// Keeps a batch's events, which from here on have their place. Sequencer only.
    pub fn append<'a>(
        &self,
        batch: &Batch,
        events: impl Iterator<Item = &'a mut Publication>,
        now: Duration,
    ) {
        let mut history = self.history.write().unwrap_or_else(PoisonError::into_inner);
        for ((event, index), seq) in events.zip(0..).zip(batch.first().0..) {
            let wire = batch.copy_out(index);
            history.append(
                Seq(seq),
                Encoded { topics: &event.topics, id: event.id.take(), wire },
                now,
            );
        }
    }

    /// Drops what is over age, `budget` events at limit; true if there is more. Sequencer only.
    pub fn expire(&self, now: Duration, budget: usize) -> bool {
        self.history.write().unwrap_or_else(PoisonError::into_inner).expire(now, budget)
    }

    /// Where a stream starts that asks for `position`, and the first page of what it missed. Both
    /// at once, so that the oldest event a reset names does follow.
    pub fn resume(
        &self,
        position: &Position,
        selectors: &[Selector],
        limit: PageLimit,
    ) -> (Resume, Vec<(Seq, Bytes)>, Page) {
        let history = self.read_lock();
        let resume = history.resume(position, selectors);
        let mut events = Vec::new();
        let page = if *position == Position::Live {
            Page { next: resume.replay, more: false }
        } else {
            // A gap would have to open between two looks at the same history. If one did, the next
            // read would tell it.
            history
                .read(selectors, resume.replay, limit, &mut events)
                .unwrap_or(Page { next: resume.replay, more: true })
        };
        (resume, events, page)
    }

    /// The next page of a replay.
    pub fn read(
        &self,
        selectors: &[Selector],
        replay: Replay,
        limit: PageLimit,
    ) -> Result<(Vec<(Seq, Bytes)>, Page), Gap> {
        let mut events = Vec::new();
        let page = self.read_lock().read(selectors, replay, limit, &mut events)?;
        Ok((events, page))
    }

    /// What is kept.
    pub fn stats(&self) -> Stats {
        self.read_lock().stats()
    }

    /// Does something while the log is being read.
    #[cfg(all(test, not(ring_loom)))]
    pub(crate) fn while_read(&self, something: impl FnOnce()) {
        let _history = self.read_lock();
        something();
    }

    /// A panic of the sequencer ends publishing, not the streams: what was kept before is still in
    /// order.
    fn read_lock(&self) -> RwLockReadGuard<'_, History> {
        self.history.read().unwrap_or_else(PoisonError::into_inner)
    }
}
