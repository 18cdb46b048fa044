//! How a shard learns that a ring has something for its sessions: at most one mark per ring, one wake per turn.
//!
//! # Ordering
//!
//! | word | writer | readers | what becomes visible | model |
//! |---|---|---|---|---|
//! | `Latch` | sequencer sets, shard clears; both AcqRel swaps | each other | to the shard: the ring's tail as it was when the sequencer set or found the latch set | `no_wake_is_lost` |
//!
//! Publish, then set the latch; clear the latch, then read the ring. All swaps of one latch stand in one order. Either
//! the sequencer's swap comes before the shard's clear: then the clear reads from it and the shard sees the new tail.
//! Or it comes after: then it finds the latch clear and puts the mark in the mailbox again.

use std::sync::Arc;

use crossbeam_queue::SegQueue;
use tokio::sync::Notify;

use super::Ring;
use crate::event::Selector;
use crate::sync::{AtomicBool, Ordering};

/// One mark until the shard has looked.
#[derive(Debug)]
pub struct Latch(AtomicBool);

impl Latch {
    /// A clear latch.
    pub fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Sets it after publishing; true if it was clear, so that the caller has to put the mark in the mailbox.
    pub fn set(&self) -> bool {
        // Ordering: AcqRel: Release hands the tail just published to the shard, whether or not the latch was set
        // already. Pairs with `clear`. Model: no_wake_is_lost.
        !self.0.swap(true, Ordering::AcqRel)
    }

    /// Clears it before reading the ring.
    pub fn clear(&self) {
        // Ordering: AcqRel: Acquire takes the tail from the `set` that came before; as a swap, not a store, so that it
        // reads from it. Pairs with `set`. Model: no_wake_is_lost.
        self.0.swap(false, Ordering::AcqRel);
    }
}

impl Default for Latch {
    fn default() -> Self {
        Self::new()
    }
}

/// One shard's interest in one ring: made when its first session subscribes, gone with the last.
pub struct Mark {
    /// The ring.
    pub ring: Arc<Ring>,
    /// What the ring is for.
    pub selector: Selector,
    /// The shard's key for its sessions on this ring. Keys are reused: who takes a mark from the mailbox checks that
    /// it is still the one at that key.
    pub key: usize,
    pub(super) latch: Latch,
    pub(super) desk: Arc<Desk>,
}

impl Mark {
    /// Clears the latch; the shard calls it when it takes the mark from the mailbox, before it wakes a session.
    pub fn clear(&self) {
        self.latch.clear();
    }
}

/// Where a shard takes its marks from.
///
/// The mailbox needs no limit of its own: a mark is in it at most once, so it holds at most as many as the shard
/// reads rings (`FANFARE_TOPICS_MAX` and one).
#[derive(Default)]
pub struct Desk {
    /// The shard's number.
    pub index: usize,
    mail: SegQueue<Arc<Mark>>,
    bell: Notify,
}

impl Desk {
    /// The desk of shard `index`.
    pub fn new(index: usize) -> Self {
        Self { index, ..Self::default() }
    }

    /// Puts a mark in the mailbox unless it is there already. Sequencer only.
    pub(super) fn post(&self, mark: &Arc<Mark>, rounds: &mut Rounds) {
        if mark.latch.set() {
            self.mail.push(Arc::clone(mark));
            rounds.visit(self.index);
        }
    }

    /// Takes a mark; the shard's pump only.
    pub fn take(&self) -> Option<Arc<Mark>> {
        self.mail.pop()
    }

    /// Wakes the shard's pump, or lets its next [`rung`](Self::rung) return at once.
    pub fn ring(&self) {
        self.bell.notify_one();
    }

    /// Waits until the bell has been rung since the last time. Cancel safe: a ring is not lost.
    pub async fn rung(&self) {
        self.bell.notified().await;
    }
}

/// The shards to wake at the end of a turn, each once.
#[derive(Debug, Default)]
pub struct Rounds {
    wanted: Vec<bool>,
    order: Vec<usize>,
}

impl Rounds {
    fn visit(&mut self, index: usize) {
        if self.wanted.len() <= index {
            self.wanted.resize(index + 1, false);
        }
        if !std::mem::replace(&mut self.wanted[index], true) {
            self.order.push(index);
        }
    }

    /// Rings the bell of every shard that got a mark, and forgets them.
    pub fn wake(&mut self, desks: &[Arc<Desk>]) {
        for index in self.order.drain(..) {
            self.wanted[index] = false;
            desks[index].ring();
        }
    }
}
