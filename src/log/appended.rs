//! The end of the log and its size, for readers that must not wait for its lock.
//!
//! # Ordering
//!
//! | word | writer | readers | what becomes visible |
//! |---|---|---|---|
//! | `last_seq` | sequencer, Relaxed | sessions, sequencer | nothing: it rides on a ring's tail |
//! | figures | sequencer, Relaxed | `/healthz` | nothing: each is a number of its own |
//!
//! The sequencer stores `last_seq` before it publishes a batch to any ring, which ends with a
//! Release store of the ring's tail. A session takes its cursors first (Acquire loads of the
//! tails), then reads `last_seq`: it is at least the seq of every epoch before any of its cursors.
//! So an event above `last_seq` lies behind the cursor in each of its rings, and one up to it is
//! skipped in all of them: the stream receives exactly the events above `last_seq`. Model:
//! `a_live_stream_starts_at_one_seq_in_all_rings` in `session`.

use super::history::Stats;
use crate::event::Seq;
use crate::sync::{AtomicU64, Ordering};

/// What the sequencer publishes of the log besides its events.
#[derive(Debug, Default)]
pub(crate) struct Appended {
    last_seq: AtomicU64,
    events: AtomicU64,
    topics: AtomicU64,
    bytes: AtomicU64,
}

impl Appended {
    /// Publishes the seq of the newest event. Sequencer only, before it publishes to a ring.
    pub(crate) fn raise(&self, last_seq: Seq) {
        // Ordering: Relaxed: published by the Release store of a ring's tail that follows. Pairs
        // with the load in `last_seq`. Model: a_live_stream_starts_at_one_seq_in_all_rings.
        self.last_seq.store(last_seq.0, Ordering::Relaxed);
    }

    /// The seq of the newest event: at least that of every epoch below a tail that was read before.
    pub(crate) fn last_seq(&self) -> Seq {
        // Ordering: Relaxed: made visible by the Acquire load of a tail before it, and for the
        // sequencer by its lock. Pairs with the store in `raise`. Model: the same.
        Seq(self.last_seq.load(Ordering::Relaxed))
    }

    /// Publishes the size. Sequencer only.
    pub(super) fn set_stats(&self, stats: Stats) {
        // Ordering: Relaxed, here and below: figures for people, which nothing depends on.
        self.events.store(stats.events as u64, Ordering::Relaxed);
        self.topics.store(stats.topics as u64, Ordering::Relaxed);
        self.bytes.store(stats.bytes, Ordering::Relaxed);
    }

    /// The size; its figures may be of different moments.
    pub(super) fn stats(&self) -> Stats {
        Stats {
            events: self.events.load(Ordering::Relaxed) as usize,
            topics: self.topics.load(Ordering::Relaxed) as usize,
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }
}
