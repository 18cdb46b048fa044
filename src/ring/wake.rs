//! Readiness notification: how a shard learns that a ring has a new epoch for its sessions.
//!
//! A shard has one [`RingWaker`] for each ring it reads. The sequencer puts the waker into the
//! shard's [`Mailbox`] after it has published to the ring, unless it is there already, and wakes
//! the shard once per batch.
//!
//! # Ordering
//!
//! | word | writers | readers | what becomes visible |
//! |---|---|---|---|
//! | `PendingFlag` | sequencer, shard: AcqRel swaps | each other | the ring's tail |
//!
//! The tail that the shard sees is that of the moment when the sequencer set the flag or found it
//! set. Model: `no_wake_is_lost`.
//!
//! The sequencer publishes, then sets the flag; the shard clears the flag, then reads the ring. All
//! swaps of one flag have one order. If the sequencer's swap comes before the shard's clear, the
//! clear reads from it and the shard sees the new tail. If it comes after, it finds the flag clear
//! and the sequencer puts the waker into the mailbox again.
//!
//! The sequencer holds a batch's wakers back ([`PendingWakes`]) until it has raised the
//! [`Watermark`](super::Watermark). A running shard takes a waker the moment it is in the mailbox;
//! a session with several selectors would find the batch above the watermark, wait, and not be
//! woken for it again.

use std::sync::Arc;

use super::epoch_ring::Ring;
use crate::event::Selector;
use crate::sync::{AtomicBool, Notify, Ordering, SegQueue};

/// Whether a waker is in its mailbox.
struct PendingFlag(AtomicBool);

impl PendingFlag {
    fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Sets the flag after publishing; true if it was clear, so that the caller must put the waker
    /// into the mailbox.
    fn set(&self) -> bool {
        // Ordering: AcqRel: Release hands the tail just published to the shard, whether or not the
        // flag was set already. Pairs with `clear`. Model: no_wake_is_lost.
        !self.0.swap(true, Ordering::AcqRel)
    }

    /// Clears the flag before the ring is read.
    fn clear(&self) {
        // Ordering: AcqRel: Acquire takes the tail from the `set` that came before. A swap, not a
        // store, so that it reads from that `set`. Pairs with `set`. Model: no_wake_is_lost.
        self.0.swap(false, Ordering::AcqRel);
    }
}

/// One shard's interest in one ring: exists from the shard's first subscription to its last.
pub struct RingWaker {
    /// The ring.
    pub ring: Arc<Ring>,
    /// What the ring carries.
    pub selector: Selector,
    /// The shard's key for its subscribers of this ring. Keys are reused: whoever takes a waker
    /// from the mailbox must check that the key still belongs to it.
    pub key: usize,
    pending: PendingFlag,
    mailbox: Arc<Mailbox>,
}

impl RingWaker {
    pub(super) fn new(
        ring: Arc<Ring>,
        selector: Selector,
        key: usize,
        mailbox: Arc<Mailbox>,
    ) -> Self {
        Self { ring, selector, key, pending: PendingFlag::new(), mailbox }
    }

    /// Allows the waker into the mailbox again. The shard calls it when it has taken the waker,
    /// before it reads the ring.
    pub fn clear(&self) {
        self.pending.clear();
    }
}

/// A shard's queue of rings to read, and the wake-up that goes with it.
///
/// The queue needs no bound of its own: a waker is in it at most once, so it holds at most the
/// wakers of the rings the shard reads (`FANFARE_TOPICS_MAX` and one) and of those it has left
/// since the pump last looked.
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

    /// Takes a waker. The shard's pump only.
    pub fn take(&self) -> Option<Arc<RingWaker>> {
        self.queue.pop()
    }

    /// Wakes the shard's pump, or makes its next [`woken`](Self::woken) return at once.
    pub fn wake(&self) {
        self.notify.notify_one();
    }

    /// Waits for a [`wake`](Self::wake) since the last call.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no wake-up.
    pub async fn woken(&self) {
        self.notify.notified().await;
    }
}

/// The wakers of one batch, held back until all of its rings have it.
#[derive(Default)]
pub struct PendingWakes {
    wakers: Vec<Arc<RingWaker>>,
    /// Mailboxes that received a waker, by their index; scratch of [`wake_all`](Self::wake_all).
    mailboxes: Vec<Option<Arc<Mailbox>>>,
    /// The indices in use in `mailboxes`.
    filled: Vec<usize>,
}

impl PendingWakes {
    pub(super) fn add(&mut self, waker: &Arc<RingWaker>) {
        self.wakers.push(Arc::clone(waker));
    }

    /// Puts each waker into its mailbox, unless it is there already, and wakes the shards whose
    /// mailboxes received one. Sequencer only, after the watermark is raised.
    pub fn wake_all(&mut self) {
        for waker in self.wakers.drain(..) {
            if waker.pending.set() {
                let mailbox = Arc::clone(&waker.mailbox);
                mailbox.queue.push(waker);
                Self::remember(&mut self.mailboxes, &mut self.filled, mailbox);
            }
        }
        for index in self.filled.drain(..) {
            if let Some(mailbox) = self.mailboxes[index].take() {
                mailbox.wake();
            }
        }
    }

    fn remember(
        mailboxes: &mut Vec<Option<Arc<Mailbox>>>,
        filled: &mut Vec<usize>,
        mailbox: Arc<Mailbox>,
    ) {
        let index = mailbox.index;
        if mailboxes.len() <= index {
            mailboxes.resize(index + 1, None);
        }
        if mailboxes[index].replace(mailbox).is_none() {
            filled.push(index);
        }
    }
}
