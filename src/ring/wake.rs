//! How a shard learns that a ring has something for its sessions: at most one ring_waker per ring, one
//! wake per batch.
//!
//! # Ordering
//!
//! | word | writer | readers | what becomes visible | model |
//! |---|---|---|---|---|
//! | `PendingFlag` | sequencer sets, shard clears; both AcqRel swaps | each other | to the shard: the ring's tail as it was when the sequencer set or found the pending set | `no_wake_is_lost` |
//!
//! Publish, then set the pending; clear the pending, then read the ring. All swaps of one pending stand
//! in one order. Either the sequencer's swap comes before the shard's clear: then the clear reads
//! from it and the shard sees the new tail. Or it comes after: then it finds the pending clear and
//! puts the ring_waker in the mailbox again.
//!
//! The sequencer keeps a batch's wakers back ([`PendingWakes`]) until the [`Watermark`](super::Watermark)
//! is raised. A shard that is awake takes a ring_waker the moment it is posted; a session with several
//! selectors would find the batch beyond the watermark, wait, and not be woken for it again.

use std::sync::Arc;

use crossbeam_queue::SegQueue;
use tokio::sync::Notify;

use super::Ring;
use crate::event::Selector;
use crate::sync::{AtomicBool, Ordering};

/// One ring_waker until the shard has looked.
#[derive(Debug)]
pub struct PendingFlag(AtomicBool);

impl PendingFlag {
    /// A clear pending.
    pub fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Sets it after publishing; true if it was clear, so that the caller has to put the ring_waker in
    /// the mailbox.
    pub fn set(&self) -> bool {
        // Ordering: AcqRel: Release hands the tail just published to the shard, whether or not the
        // pending was set already. Pairs with `clear`. Model: no_wake_is_lost.
        !self.0.swap(true, Ordering::AcqRel)
    }

    /// Clears it before reading the ring.
    pub fn clear(&self) {
        // Ordering: AcqRel: Acquire takes the tail from the `set` that came before; as a swap, not
        // a store, so that it reads from it. Pairs with `set`. Model: no_wake_is_lost.
        self.0.swap(false, Ordering::AcqRel);
    }
}

impl Default for PendingFlag {
    fn default() -> Self {
        Self::new()
    }
}

/// One shard's interest in one ring: made when its first session subscribes, gone with the last.
pub struct RingWaker {
    /// The ring.
    pub ring: Arc<Ring>,
    /// What the ring is for.
    pub selector: Selector,
    /// The shard's key for its sessions on this ring. Keys are reused: who takes a ring_waker from the
    /// mailbox checks that it is still the one at that key.
    pub key: usize,
    pub(super) pending: PendingFlag,
    pub(super) mailbox: Arc<Mailbox>,
}

impl RingWaker {
    /// Clears the pending; the shard calls it when it takes the ring_waker from the mailbox, before it
    /// wakes a session.
    pub fn clear(&self) {
        self.pending.clear();
    }
}

/// Where a shard takes its wakers from.
///
/// The mailbox needs no limit of its own: a ring_waker is in it at most once, so it holds at most the
/// wakers of the rings the shard reads (`FANFARE_TOPICS_MAX` and one) and of those it has left since
/// the pump last looked.
#[derive(Default)]
pub struct Mailbox {
    /// The shard's number.
    pub index: usize,
    queue: SegQueue<Arc<RingWaker>>,
    notify: Notify,
}

impl Mailbox {
    /// The mailbox of shard `index`.
    pub fn new(index: usize) -> Self {
        Self { index, ..Self::default() }
    }

    /// Takes a ring_waker; the shard's pump only.
    pub fn take(&self) -> Option<Arc<RingWaker>> {
        self.queue.pop()
    }

    /// Wakes the shard's pump, or lets its next [`rung`](Self::rung) return at once.
    pub fn wake(&self) {
        self.notify.notify_one();
    }

    /// Waits until the bell has been rung since the last time. Cancel safe: a ring is not lost.
    pub async fn woken(&self) {
        self.notify.notified().await;
    }
}

/// The wakers of one batch, kept back until all of its rings have it.
#[derive(Default)]
pub struct PendingWakes {
    wakers: Vec<Arc<RingWaker>>,
    /// Desks that got a ring_waker, by their index; scratch of [`deliver`](Self::deliver).
    mailboxes: Vec<Option<Arc<Mailbox>>>,
    visited: Vec<usize>,
}

impl PendingWakes {
    pub(super) fn add(&mut self, ring_waker: &Arc<RingWaker>) {
        self.wakers.push(Arc::clone(ring_waker));
    }

    /// Puts the wakers in their mailboxes, unless they are there already, and rings the bell of each
    /// mailbox that got one. Sequencer only, after the watermark is raised.
    pub fn wake_all(&mut self) {
        for ring_waker in self.wakers.drain(..) {
            if ring_waker.pending.set() {
                let mailbox = Arc::clone(&ring_waker.mailbox);
                mailbox.queue.push(ring_waker);
                Self::visit(&mut self.mailboxes, &mut self.visited, mailbox);
            }
        }
        for index in self.visited.drain(..) {
            if let Some(mailbox) = self.mailboxes[index].take() {
                mailbox.wake();
            }
        }
    }

    fn visit(
        mailboxes: &mut Vec<Option<Arc<Mailbox>>>,
        visited: &mut Vec<usize>,
        mailbox: Arc<Mailbox>,
    ) {
        let index = mailbox.index;
        if mailboxes.len() <= index {
            mailboxes.resize(index + 1, None);
        }
        if mailboxes[index].replace(mailbox).is_none() {
            visited.push(index);
        }
    }
}
