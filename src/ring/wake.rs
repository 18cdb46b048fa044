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
//! | `Mailbox::woken` | sequencer, Release | its shard, Acquire | the wakers up to this seq |
//! | `Mailbox::visited` | its shard, Relaxed | sequencer | nothing |
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
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::task::Wake;

use super::epoch_ring::Ring;
use crate::event::{Selector, Seq};
use crate::sync::{AtomicBool, AtomicU64, Notify, Ordering, SegQueue};

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
pub struct Mailbox {
    /// The shard's number.
    pub index: usize,
    queue: SegQueue<Arc<RingWaker>>,
    notify: Notify,
    /// The last seq of the newest batch that put a waker into the mailbox.
    woken: AtomicU64,
    /// The highest `woken` all of whose wakers the shard has acted on.
    visited: AtomicU64,
}

impl Default for Mailbox {
    fn default() -> Self {
        Self::new(0)
    }
}

impl Mailbox {
    /// The mailbox of shard `index`.
    pub fn new(index: usize) -> Self {
        Self {
            index,
            queue: SegQueue::default(),
            notify: Notify::default(),
            woken: AtomicU64::new(0),
            visited: AtomicU64::new(0),
        }
    }

    /// The last seq of the newest batch all of whose wakers for this shard are in the mailbox, or
    /// were.
    pub fn woken(&self) -> Seq {
        // Ordering: Acquire: the wakers of batches up to it. Pairs with Release in
        // `PendingWakes::wake_all`.
        Seq(self.woken.load(Ordering::Acquire))
    }

    /// Records that the shard has visited the streams of all wakers up to `seq`, a value that
    /// [`woken`](Self::woken) returned before it took them. The shard's pump only.
    pub fn set_visited(&self, seq: Seq) {
        // Ordering: Relaxed: it only delays eviction.
        self.visited.store(seq.0, Ordering::Relaxed);
    }

    /// The seq up to which the shard has visited its streams, if there are streams of later batches
    /// to visit. Sequencer only.
    pub(crate) fn behind(&self) -> Option<Seq> {
        // Ordering: Relaxed: the sequencer wrote `woken` itself, under its lock.
        let visited = self.visited.load(Ordering::Relaxed);
        (visited < self.woken.load(Ordering::Relaxed)).then_some(Seq(visited))
    }

    /// Takes a waker. The shard's pump only.
    pub fn take(&self) -> Option<Arc<RingWaker>> {
        self.queue.pop()
    }

    /// Wakes the shard's pump, or makes its next [`wait`](Self::wait) return at once.
    pub fn wake(&self) {
        self.notify.notify_one();
    }

    /// Waits for a [`wake`](Self::wake) since the last call.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no wake-up.
    pub async fn wait(&self) {
        self.notify.notified().await;
    }
}

/// Lets others wake the shard by a [`Waker`](std::task::Waker).
impl Wake for Mailbox {
    fn wake(self: Arc<Self>) {
        Self::wake(&self);
    }
}

/// Wakers for which room is kept from batch to batch.
const WAKERS_KEPT: usize = 1024;

/// The wakers of one batch, held back until all of its rings have it.
#[derive(Default)]
pub struct PendingWakes {
    wakers: Vec<Arc<RingWaker>>,
    /// Mailboxes that received a waker, by their index; scratch of [`wake_all`](Self::wake_all).
    mailboxes: Vec<Option<Arc<Mailbox>>>,
    /// The indices in use in `mailboxes`.
    filled: Vec<usize>,
    /// Every mailbox that has received a waker; one per shard at most.
    known: Vec<Arc<Mailbox>>,
}

impl PendingWakes {
    pub(super) fn add(&mut self, waker: &Arc<RingWaker>) {
        self.wakers.push(Arc::clone(waker));
    }

    /// Puts each waker into its mailbox, unless it is there already, and wakes the shards whose
    /// mailboxes received one. `last` is the seq of the batch's last event. Sequencer only, after
    /// the watermark is raised.
    pub fn wake_all(&mut self, last: Seq) {
        for waker in self.wakers.drain(..) {
            if waker.pending.set() {
                let mailbox = Arc::clone(&waker.mailbox);
                mailbox.queue.push(waker);
                Self::remember(&mut self.mailboxes, &mut self.filled, mailbox);
            }
        }
        self.wakers.shrink_to(WAKERS_KEPT);
        for index in self.filled.drain(..) {
            if let Some(mailbox) = self.mailboxes[index].take() {
                // Ordering: Release: the wakers just put in. Pairs with Acquire in
                // `Mailbox::woken`.
                mailbox.woken.store(last.0, Ordering::Release);
                Mailbox::wake(&mailbox);
                if !self.known.iter().any(|known| Arc::ptr_eq(known, &mailbox)) {
                    self.known.push(mailbox);
                }
            }
        }
    }

    /// The lowest seq up to which a shard that is behind has visited its streams; `None` if no
    /// shard is behind. Sequencer only.
    pub fn slowest(&self) -> Option<Seq> {
        self.known.iter().filter_map(|mailbox| mailbox.behind()).min()
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
