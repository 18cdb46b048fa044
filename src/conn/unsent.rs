//! Write buffers of blocked streams: what their sockets have not accepted, within the node's byte
//! budget (`FANFARE_UNSENT_BYTES`).
//!
//! A blocked stream keeps the rest of its last write. A slice of a batch keeps the whole batch
//! alive, so a slice is kept as it is only if it is at least half of its buffer, or if another
//! stream of the shard keeps that buffer alive anyway; else its bytes are copied. A buffer counts
//! once per shard, however many streams keep slices of it: when an event of 1 MiB blocks all
//! streams of a topic, together they hold 1 MiB.
//!
//! # At the budget
//!
//! The budget is the node's, and each shard ends only streams of its own, those first that have
//! been blocked longest. A shard that holds more than its part of the budget may not go beyond
//! [`THRESHOLD`]; what is above is for the others. So the stalled streams of one shard leave room
//! for a stream of another that blocks for a moment.
//!
//! # Age
//!
//! A socket that accepts a byte now and then is never blocked for long, and would keep its write
//! for ever. So a stream has an [`Age`], which counts from the first refusal until [`AGED_BYTES`]
//! more are accepted.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use super::readiness::Millis;
use crate::event::Chunks;
use crate::quota::Quota;

/// Slices smaller than this are copied, unless their buffer is kept anyway: a record of a buffer
/// would take as much.
const SHARED_BYTES_MIN: usize = 1024;

/// What a blocked stream takes besides its slices: its lists, and its records here.
const STREAM_BYTES: usize = 256;

/// Bytes that a stream has to send within the time that bounds its age; less if it has less.
const AGED_BYTES: usize = 64 * 1024;

/// The part of the budget above which only shards that hold less than their part may take more.
const THRESHOLD: f64 = 0.75;

/// What the streams of one shard have yet to send. On the shard's thread only.
pub(crate) struct UnsentLedger {
    /// The node's budget.
    budget: Arc<Quota>,
    /// The shard's part of the budget.
    part: usize,
    threshold: usize,
    /// Bytes of the budget this shard holds.
    used: Cell<usize>,
    /// The buffers that blocked streams keep alive, by address.
    buffers: RefCell<HashMap<usize, Buffer>>,
    /// The blocked streams, the longest blocked first, by the keys of their connections.
    blocked: RefCell<BTreeMap<u64, u32>>,
    next: Cell<u64>,
}

struct Buffer {
    slices: usize,
    bytes: usize,
}

/// What a blocked stream has yet to send. Dropping it gives its bytes back to the budget.
pub(crate) struct Unsent {
    ledger: Rc<UnsentLedger>,
    slices: Vec<Chunks>,
    age: Age,
    /// Bytes of the budget besides the buffers.
    extra: usize,
    kernel: bool,
}

/// For how long a stream has had something to send that its socket does not accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Age {
    since: Millis,
    /// The stream's place among the blocked ones.
    order: u64,
    /// Bytes that are to be accepted until the stream counts as blocked anew.
    left: usize,
}

impl UnsentLedger {
    /// The ledger of one of `shards` shards, with the node's `budget`.
    pub(crate) fn new(budget: Arc<Quota>, shards: usize) -> Self {
        let max = budget.max();
        Self {
            part: max / shards.max(1),
            threshold: (max as f64 * THRESHOLD) as usize,
            budget,
            used: Cell::new(0),
            buffers: RefCell::default(),
            blocked: RefCell::default(),
            next: Cell::new(0),
        }
    }

    /// The age of a stream with `rest` bytes to send, of whose last write `sent` were accepted.
    /// `last` is its age before.
    pub(crate) fn age(&self, last: Option<Age>, sent: usize, rest: usize, now: Millis) -> Age {
        match last {
            Some(age) if sent < age.left => Age { left: age.left - sent, ..age },
            _ => {
                let order = self.next.get();
                self.next.set(order + 1);
                Age { since: now, order, left: rest.min(AGED_BYTES) }
            }
        }
    }

    /// Keeps what the stream of the connection `key` has yet to send; `None` if the budget has no
    /// room for it.
    pub(crate) fn keep(self: &Rc<Self>, key: u32, rest: &[Chunks], age: Age) -> Option<Unsent> {
        let (shared, bytes) = self.plan(rest);
        if !self.acquire(STREAM_BYTES + bytes) {
            return None;
        }
        let mut slices = Vec::with_capacity(shared.iter().filter(|shared| **shared).count() + 1);
        let mut copy = Vec::new();
        for (slice, shared) in rest.iter().zip(shared) {
            if shared {
                self.push_copy(&mut copy, &mut slices);
                self.push(slice.clone(), &mut slices);
            } else {
                copy.extend_from_slice(slice);
            }
        }
        self.push_copy(&mut copy, &mut slices);
        self.blocked.borrow_mut().insert(age.order, key);
        let ledger = Rc::clone(self);
        Some(Unsent { ledger, slices, age, extra: STREAM_BYTES, kernel: false })
    }

    /// Which of the slices are kept as they are, and the bytes of the budget this takes.
    fn plan(&self, rest: &[Chunks]) -> (Vec<bool>, usize) {
        let buffers = self.buffers.borrow();
        let mut new = Vec::new();
        let mut bytes = 0;
        let shared = rest.iter().map(|slice| {
            let (buffer, buffer_bytes) = slice.buffer();
            if buffers.contains_key(&buffer) || new.contains(&buffer) {
                return true;
            }
            if slice.len() >= SHARED_BYTES_MIN && slice.len() >= buffer_bytes / 2 {
                new.push(buffer);
                bytes += buffer_bytes;
                return true;
            }
            bytes += slice.len();
            false
        });
        (shared.collect(), bytes)
    }

    fn push_copy(&self, copy: &mut Vec<u8>, slices: &mut Vec<Chunks>) {
        if !copy.is_empty() {
            // An exact allocation: the scratch may have grown to twice its length.
            self.push(Bytes::from(std::mem::take(copy).into_boxed_slice()).into(), slices);
        }
    }

    fn push(&self, slice: Chunks, slices: &mut Vec<Chunks>) {
        let (buffer, bytes) = slice.buffer();
        let mut buffers = self.buffers.borrow_mut();
        buffers.entry(buffer).or_insert(Buffer { slices: 0, bytes }).slices += 1;
        slices.push(slice);
    }

    fn release_slice(&self, slice: &Chunks) {
        let (buffer, bytes) = slice.buffer();
        let mut buffers = self.buffers.borrow_mut();
        let kept = buffers.get_mut(&buffer).expect("a kept slice has its buffer recorded");
        kept.slices -= 1;
        if kept.slices == 0 {
            debug_assert_eq!(kept.bytes, bytes);
            buffers.remove(&buffer);
            self.release(bytes);
        }
        if buffers.is_empty() {
            buffers.shrink_to_fit();
        }
    }

    fn acquire(&self, bytes: usize) -> bool {
        let used = self.budget.used().saturating_add(bytes);
        let over_part = self.used.get() > self.part && used > self.threshold;
        if over_part || !self.budget.try_acquire(bytes) {
            return false;
        }
        self.used.set(self.used.get() + bytes);
        true
    }

    fn release(&self, bytes: usize) {
        self.budget.release(bytes);
        self.used.set(self.used.get() - bytes);
    }

    /// The connection whose stream has been blocked longest, and longer than `age` if there is one.
    pub(crate) fn longest_blocked(&self, age: Option<Age>) -> Option<u32> {
        let blocked = self.blocked.borrow();
        let (order, key) = blocked.first_key_value()?;
        age.is_none_or(|age| *order < age.order).then_some(*key)
    }

    /// Whether this shard holds more than its part of a budget that others need.
    pub(crate) fn is_over_part(&self) -> bool {
        self.used.get() > self.part && self.budget.used() > self.threshold
    }
}

impl Unsent {
    /// The slices, for the next write, and the stream's age.
    pub(crate) fn take(mut self) -> (Vec<Chunks>, Age) {
        self.release_all();
        (std::mem::take(&mut self.slices), self.age)
    }

    /// The first slice.
    pub(super) fn first(&self) -> Bytes {
        self.slices.first().map_or(Bytes::new(), |slice| slice.clone().into_bytes())
    }

    /// The length of the slices together.
    #[cfg(all(test, not(ring_loom)))]
    pub(crate) fn bytes(&self) -> usize {
        self.slices.iter().map(|slice| slice.len()).sum()
    }

    /// How long the stream has been blocked.
    pub(crate) fn blocked_for(&self, now: Millis) -> Millis {
        now.wrapping_sub(self.age.since)
    }

    /// Counts the kernel's buffer of the connection as well, once; false if the budget has no room
    /// for it.
    pub(crate) fn count_kernel(&mut self, bytes: usize) -> bool {
        if !self.kernel && self.ledger.acquire(bytes) {
            self.extra += bytes;
            self.kernel = true;
        }
        self.kernel
    }

    fn release_all(&mut self) {
        for slice in &self.slices {
            self.ledger.release_slice(slice);
        }
        self.ledger.release(std::mem::take(&mut self.extra));
        self.ledger.blocked.borrow_mut().remove(&self.age.order);
    }
}

impl Drop for Unsent {
    fn drop(&mut self) {
        self.release_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1024;

    fn ledgers(budget: usize, shards: usize) -> (Arc<Quota>, Vec<Rc<UnsentLedger>>) {
        let quota = Arc::new(Quota::new(budget));
        let ledger = || Rc::new(UnsentLedger::new(Arc::clone(&quota), shards));
        let ledgers = (0..shards).map(|_| ledger()).collect();
        (quota, ledgers)
    }

    fn own(bytes: usize) -> Chunks {
        Bytes::from(vec![b'x'; bytes]).into()
    }

    fn keep(ledger: &Rc<UnsentLedger>, key: u32, rest: &[Chunks]) -> Option<Unsent> {
        let bytes = rest.iter().map(|slice| slice.len()).sum();
        ledger.keep(key, rest, ledger.age(None, 0, bytes, 0))
    }

    #[test]
    fn a_buffer_counts_once_however_many_streams_keep_it() {
        let (quota, ledgers) = ledgers(1 << 20, 2);
        let event = own(300 * KIB);
        let streams: Vec<_> = (0..100)
            .map(|key| keep(&ledgers[0], key, &[event.after(key as usize)]).unwrap())
            .collect();
        assert_eq!(quota.used(), 300 * KIB + 100 * STREAM_BYTES);
        let other = keep(&ledgers[1], 0, std::slice::from_ref(&event)).unwrap();
        assert_eq!(quota.used(), 600 * KIB + 101 * STREAM_BYTES, "once for each shard");
        drop((streams, other));
        assert_eq!(quota.used(), 0);
        assert!(ledgers[0].buffers.borrow().is_empty() && ledgers[0].blocked.borrow().is_empty());
    }

    #[test]
    fn a_small_part_of_a_buffer_is_copied_unless_the_buffer_is_kept_anyway() {
        let (quota, ledgers) = ledgers(1 << 20, 1);
        let batch = Bytes::from(vec![b'x'; 100 * KIB]);
        let part = |range| Chunks::of(&batch, range);
        let small = keep(&ledgers[0], 1, &[part(0..40 * KIB), part(60 * KIB..65 * KIB)]).unwrap();
        assert_eq!(quota.used(), 45 * KIB + STREAM_BYTES);
        assert_eq!(small.slices.len(), 1, "adjacent copies are one");
        let large = keep(&ledgers[0], 2, &[part(0..50 * KIB)]).unwrap();
        assert_eq!(quota.used(), 145 * KIB + 2 * STREAM_BYTES);
        let beside = keep(&ledgers[0], 3, &[part(0..1)]).unwrap();
        assert_eq!(quota.used(), 145 * KIB + 3 * STREAM_BYTES);
        assert_eq!(beside.slices[0].buffer(), part(0..1).buffer());
        drop((large, beside));
        assert_eq!(quota.used(), 45 * KIB + STREAM_BYTES);
        assert_eq!(small.take().0[0].len(), 45 * KIB);
        assert_eq!(quota.used(), 0);
    }

    #[test]
    fn what_is_kept_is_what_was_left_in_order() {
        let (_, ledgers) = ledgers(1 << 20, 1);
        let text = |from: u8, bytes| Chunks::from(Bytes::from(vec![from; bytes]));
        let rest = [text(b'a', 10), text(b'b', 2000), text(b'c', 20), text(b'd', 30)];
        let (slices, _) = keep(&ledgers[0], 1, &rest).unwrap().take();
        assert_eq!(slices.iter().map(|slice| slice.len()).collect::<Vec<_>>(), [10, 2000, 50]);
        let text =
            |slices: &[Chunks]| slices.iter().map(|slice| &slice[..]).collect::<Vec<_>>().concat();
        assert_eq!(text(&slices), text(&rest));
    }

    #[test]
    fn at_the_budget_the_longest_blocked_is_named_unless_it_is_the_one_that_asks() {
        let (_, ledgers) = ledgers(100 * KIB, 1);
        let ledger = &ledgers[0];
        let mut streams =
            vec![keep(ledger, 7, &[own(40 * KIB)]), keep(ledger, 8, &[own(40 * KIB)])];
        assert!(streams.iter().all(Option::is_some));
        let rest = [own(40 * KIB)];
        let age = ledger.age(None, 0, 40 * KIB, 0);
        assert!(ledger.keep(9, &rest, age).is_none());
        assert_eq!(ledger.longest_blocked(Some(age)), Some(7));
        drop(streams.remove(0));
        assert!(ledger.keep(9, &rest, age).is_some());
        let oldest = Age { order: 0, ..age };
        assert_eq!(ledger.longest_blocked(Some(oldest)), None);
        assert_eq!(ledger.longest_blocked(None), Some(8));
    }

    #[test]
    fn stalled_streams_of_one_shard_leave_room_for_the_others() {
        let (quota, ledgers) = ledgers(100 * KIB, 2);
        let mut stalled: Vec<_> =
            (0..).map_while(|key| keep(&ledgers[0], key, &[own(10 * KIB)])).collect();
        let held = quota.used();
        assert!(held > 60 * KIB && held <= 75 * KIB, "{held}");
        assert!(!ledgers[0].is_over_part());
        let blocked = keep(&ledgers[1], 0, &[own(20 * KIB)]).unwrap();
        // The shard with more than its part gives the room back, and no more.
        assert!(ledgers[0].is_over_part() && !ledgers[1].is_over_part());
        while ledgers[0].is_over_part() {
            drop(stalled.remove(0));
        }
        assert!(quota.used() <= 75 * KIB && !stalled.is_empty(), "{}", quota.used());
        drop(blocked);
    }

    #[test]
    fn an_age_lasts_until_as_much_is_accepted_as_was_to_be_sent() {
        let (_, ledgers) = ledgers(1 << 20, 1);
        let ledger = &ledgers[0];
        let first = ledger.age(None, 0, 100 * KIB, 10);
        let second = ledger.age(Some(first), AGED_BYTES - 1, 200 * KIB, 20);
        assert_eq!((second.since, second.order, second.left), (10, first.order, 1));
        let anew = ledger.age(Some(second), 1, 300, 30);
        assert_eq!((anew.since, anew.left), (30, 300));
        assert!(anew.order > first.order);
        let unsent = ledger.keep(1, &[own(300)], anew).unwrap();
        assert_eq!(unsent.blocked_for(130), 100);
    }

    #[test]
    fn the_buffer_of_the_kernel_counts_once() {
        let (quota, ledgers) = ledgers(100 * KIB, 1);
        let mut unsent = keep(&ledgers[0], 1, &[own(20 * KIB)]).unwrap();
        assert!(unsent.count_kernel(64 * KIB) && unsent.count_kernel(64 * KIB));
        assert_eq!(quota.used(), 84 * KIB + STREAM_BYTES);
        let mut other = keep(&ledgers[0], 2, &[own(10 * KIB)]).unwrap();
        assert!(!other.count_kernel(64 * KIB));
        drop((unsent, other));
        assert_eq!(quota.used(), 0);
    }
}
