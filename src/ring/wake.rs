//! How a shard learns that a ring has something for its sessions: at most one mark per ring, one
//! wake per turn.
//!
//! # Ordering
//!
//! | word | writer | readers | what becomes visible | model |
//! |---|---|---|---|---|
//! | `Latch` | sequencer sets, shard clears; both AcqRel swaps | each other | to the shard: the ring's tail as it was when the sequencer set or found the latch set | `no_wake_is_lost` |
//!
//! Publish, then set the latch; clear the latch, then read the ring. All swaps of one latch stand
//! in one order. Either the sequencer's swap comes before the shard's clear: then the clear reads
//! from it and the shard sees the new tail. Or it comes after: then it finds the latch clear and
//! puts the mark in the mailbox again.
//!
//! The sequencer keeps a turn's marks back ([`Rounds`]) until the [`Watermark`](super::Watermark)
//! is raised. A shard that is awake takes a mark the moment it is posted; a session with several
//! selectors would find the turn beyond the watermark, wait, and not be woken for it again.

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

    /// Sets it after publishing; true if it was clear, so that the caller has to put the mark in
    /// the mailbox.
    pub fn set(&self) -> bool {
        // Ordering: AcqRel: Release hands the tail just published to the shard, whether or not the
        // latch was set already. Pairs with `clear`. Model: no_wake_is_lost.
        !self.0.swap(true, Ordering::AcqRel)
    }

    /// Clears it before reading the ring.
    pub fn clear(&self) {
        // Ordering: AcqRel: Acquire takes the tail from the `set` that came before; as a swap, not
        // a store, so that it reads from it. Pairs with `set`. Model: no_wake_is_lost.
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
    /// The shard's key for its sessions on this ring. Keys are reused: who takes a mark from the
    /// mailbox checks that it is still the one at that key.
    pub key: usize,
    pub(super) latch: Latch,
    pub(super) desk: Arc<Desk>,
}

impl Mark {
    /// Clears the latch; the shard calls it when it takes the mark from the mailbox, before it
    /// wakes a session.
    pub fn clear(&self) {
        self.latch.clear();
    }
}

/// Where a shard takes its marks from.
///
/// The mailbox needs no limit of its own: a mark is in it at most once, so it holds at most the
/// marks of the rings the shard reads (`FANFARE_TOPICS_MAX` and one) and of those it has left since
/// the pump last looked.
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

/// The marks of one turn, kept back until all of its rings have it.
#[derive(Default)]
pub struct Rounds {
    marks: Vec<Arc<Mark>>,
    /// Desks that got a mark, by their index; scratch of [`deliver`](Self::deliver).
    desks: Vec<Option<Arc<Desk>>>,
    visited: Vec<usize>,
}

impl Rounds {
    pub(super) fn add(&mut self, mark: &Arc<Mark>) {
        self.marks.push(Arc::clone(mark));
    }

    /// Puts the marks in their mailboxes, unless they are there already, and rings the bell of each
    /// desk that got one. Sequencer only, after the watermark is raised.
    pub fn deliver(&mut self) {
        for mark in self.marks.drain(..) {
            if mark.latch.set() {
                let desk = Arc::clone(&mark.desk);
                desk.mail.push(mark);
                Self::visit(&mut self.desks, &mut self.visited, desk);
            }
        }
        for index in self.visited.drain(..) {
            if let Some(desk) = self.desks[index].take() {
                desk.ring();
            }
        }
    }

    fn visit(desks: &mut Vec<Option<Arc<Desk>>>, visited: &mut Vec<usize>, desk: Arc<Desk>) {
        let index = desk.index;
        if desks.len() <= index {
            desks.resize(index + 1, None);
        }
        if desks[index].replace(desk).is_none() {
            visited.push(index);
        }
    }
}
