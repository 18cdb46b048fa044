//! Write buffers of blocked streams: what their sockets have not accepted, within the node's byte
//! budget (`FANFARE_UNSENT_BYTES`).
//!
//! A blocked stream keeps the rest of its last write. A slice of a batch keeps the whole batch
//! alive, so slices of a buffer are copied until the copies would be half of it; from then on they
//! are kept as they are. A buffer counts once, however many streams of however many shards keep
//! slices of it: when an event of 1 MiB blocks all streams of a topic, together they hold 1 MiB.
//!
//! # At the budget
//!
//! The budget is the node's, and each shard ends only streams of its own, those first that have
//! been blocked longest. A shard that holds more than an equal share of the budget takes no more
//! of it once [`THRESHOLD`] of it is used; the rest is for the other shards. So a stream that
//! blocks for a moment finds room although the stalled streams of another shard would take all.
//!
//! # Age
//!
//! A socket that accepts a byte now and then is never blocked for long, and would keep its write
//! for ever. So a stream has an [`Age`], which counts from the first refusal until [`AGED_BYTES`]
//! more are accepted.

use std::cell::{Cell, RefCell};
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use super::readiness::Millis;
use crate::event::Chunks;
use crate::quota::BufferQuota;

/// Slices smaller than this are copied, unless their buffer is kept anyway: a record of a buffer
/// would take as much.
const SHARED_BYTES_MIN: usize = 1024;

/// What a blocked stream takes besides its slices: its lists, and its records here.
const STREAM_BYTES: usize = 256;

/// What a slice takes besides its bytes.
const SLICE_BYTES: usize = size_of::<Chunks>();

/// Buffers of which a shard knows how much it has copied of them: those copied from last.
const COPIED_BUFFERS: usize = 16;

/// Bytes that a stream has to send within the time that bounds its age; less if it has less.
const AGED_BYTES: usize = 64 * 1024;

/// The portion of the budget that a shard with more than an equal share may use.
const THRESHOLD: f64 = 0.75;

/// What the streams of one shard have yet to send. On the shard's thread only.
pub(crate) struct UnsentLedger {
    budget: Arc<BufferQuota>,
    /// An equal share of the budget.
    share: usize,
    threshold: usize,
    /// Bytes of the budget this shard holds.
    used: Cell<usize>,
    /// The buffers that blocked streams keep alive, by address.
    buffers: RefCell<HashMap<usize, Buffer>>,
    /// How much was copied of which buffer. A buffer may have been freed and another one have its
    /// address; then a slice is kept that could have been copied.
    copied: RefCell<VecDeque<(usize, usize)>>,
    /// The shard's time.
    now: Cell<Millis>,
    /// The blocked streams, the longest blocked first, by the keys of their connections.
    blocked: RefCell<BTreeMap<u64, u32>>,
    next: Cell<u64>,
}

/// Takes bytes of the budget for a shard; false if there is no room.
type Acquire = fn(&UnsentLedger, usize) -> bool;

struct Buffer {
    slices: usize,
    /// Bytes of the budget that this shard took for it: none if another shard kept it before.
    charged: usize,
}

/// What a blocked stream has yet to send. Dropping it gives its bytes back to the budget.
pub(crate) struct Unsent {
    ledger: Rc<UnsentLedger>,
    key: u32,
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
    pub(crate) fn new(budget: Arc<BufferQuota>, shards: usize) -> Self {
        let max = budget.max();
        Self {
            share: max / shards.max(1),
            threshold: (max as f64 * THRESHOLD) as usize,
            budget,
            used: Cell::new(0),
            buffers: RefCell::default(),
            copied: RefCell::default(),
            now: Cell::new(0),
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
        self.collect(key, rest, age, Self::acquire)
    }

    /// The same for what hyper is about to send, whether or not the budget has room: the timer
    /// brings the shard back below it.
    pub(super) fn overdraw(self: &Rc<Self>, key: u32, slice: Chunks, age: Age) -> Option<Unsent> {
        self.collect(key, &[slice], age, |ledger, bytes| {
            ledger.budget.overdraw(bytes);
            ledger.used.set(ledger.used.get() + bytes);
            true
        })
    }

    fn collect(
        self: &Rc<Self>,
        key: u32,
        rest: &[Chunks],
        age: Age,
        acquire: Acquire,
    ) -> Option<Unsent> {
        let ledger = Rc::clone(self);
        // Dropped at the first slice without room, it gives back what it has.
        let mut unsent = Unsent { ledger, key, slices: Vec::new(), age, extra: 0, kernel: false };
        unsent.charge(STREAM_BYTES, acquire)?;
        let mut copy = Vec::new();
        for slice in rest {
            if self.is_copied(slice) {
                copy.extend_from_slice(slice);
            } else {
                unsent.push_copy(&mut copy, acquire)?;
                unsent.push(slice.clone(), acquire)?;
            }
        }
        unsent.push_copy(&mut copy, acquire)?;
        unsent.slices.shrink_to_fit();
        self.blocked.borrow_mut().insert(age.order, key);
        Some(unsent)
    }

    /// Whether a slice is to be copied; if not, it is kept with its buffer.
    fn is_copied(&self, slice: &Chunks) -> bool {
        let (buffer, buffer_bytes) = slice.buffer();
        if self.buffers.borrow().contains_key(&buffer) {
            return false;
        }
        let mut copied = self.copied.borrow_mut();
        let known = copied.iter().position(|(address, _)| *address == buffer);
        let before = known.and_then(|at| copied.remove(at)).map_or(0, |(_, bytes)| bytes);
        let bytes = before + slice.len();
        copied.truncate(COPIED_BUFFERS - 1);
        copied.push_front((buffer, bytes));
        bytes < SHARED_BYTES_MIN || bytes < buffer_bytes / 2
    }

    fn acquire(&self, bytes: usize) -> bool {
        let used = self.budget.used().saturating_add(bytes);
        let over_share = self.used.get() > self.share && used > self.threshold;
        if over_share || !self.budget.try_acquire(bytes) {
            return false;
        }
        self.used.set(self.used.get() + bytes);
        true
    }

    fn release(&self, bytes: usize) {
        self.budget.release(bytes);
        self.used.set(self.used.get() - bytes);
    }

    /// Records a slice of a buffer; false if the budget has no room for the buffer.
    fn add_slice(&self, slice: &Chunks, acquire: Acquire) -> bool {
        let (buffer, bytes) = slice.buffer();
        match self.buffers.borrow_mut().entry(buffer) {
            Entry::Occupied(mut kept) => kept.get_mut().slices += 1,
            Entry::Vacant(entry) => {
                let charged = self.budget.keep(buffer, || acquire(self, bytes));
                let Some(charged) = charged else { return false };
                entry.insert(Buffer { slices: 1, charged: if charged { bytes } else { 0 } });
            }
        }
        true
    }

    fn remove_slice(&self, slice: &Chunks) {
        let (buffer, bytes) = slice.buffer();
        let mut buffers = self.buffers.borrow_mut();
        // A copy has no record.
        let Entry::Occupied(mut kept) = buffers.entry(buffer) else { return };
        kept.get_mut().slices -= 1;
        if kept.get().slices > 0 {
            return;
        }
        let Buffer { charged, .. } = kept.remove();
        self.used.set(self.used.get() - charged);
        self.budget.give_up(buffer, bytes);
    }

    /// The stream blocked longest of those that have been so for less long than `after`, and longer
    /// than `before`: its place, and the key of its connection.
    pub(crate) fn next_blocked(
        &self,
        after: Option<BlockedOrder>,
        before: Option<Age>,
    ) -> Option<(BlockedOrder, u32)> {
        let from = after.map_or(0, |BlockedOrder(order)| order + 1);
        let to = before.map_or(u64::MAX, |age| age.order);
        let blocked = self.blocked.borrow();
        let (order, key) = blocked.range(from..to.max(from)).next()?;
        Some((BlockedOrder(*order), *key))
    }

    /// Whether this shard holds more than an equal share of a budget that others need, or the
    /// budget is overdrawn.
    pub(crate) fn is_over_share(&self) -> bool {
        let used = self.budget.used();
        used > self.budget.max() || self.used.get() > self.share && used > self.threshold
    }

    /// Sets the shard's time.
    pub(super) fn set_now(&self, now: Millis) {
        self.now.set(now);
    }

    /// The shard's time.
    pub(super) fn now(&self) -> Millis {
        self.now.get()
    }
}

/// A stream's place among the blocked ones of its shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockedOrder(u64);

impl Unsent {
    fn push(&mut self, slice: Chunks, acquire: Acquire) -> Option<()> {
        self.charge(SLICE_BYTES, acquire)?;
        self.ledger.add_slice(&slice, acquire).then(|| self.slices.push(slice))
    }

    fn push_copy(&mut self, copy: &mut Vec<u8>, acquire: Acquire) -> Option<()> {
        if copy.is_empty() {
            return Some(());
        }
        self.charge(SLICE_BYTES + copy.len(), acquire)?;
        // An exact allocation: the scratch may have grown to twice its length.
        self.slices.push(Bytes::from(std::mem::take(copy).into_boxed_slice()).into());
        Some(())
    }

    fn charge(&mut self, bytes: usize, acquire: Acquire) -> Option<()> {
        acquire(&self.ledger, bytes).then(|| self.extra += bytes)
    }

    /// hyper has sent that many bytes.
    pub(super) fn note_sent(&mut self, sent: usize, now: Millis) {
        let age = self.ledger.age(Some(self.age), sent, AGED_BYTES, now);
        if age.order != self.age.order {
            let mut blocked = self.ledger.blocked.borrow_mut();
            blocked.remove(&self.age.order);
            blocked.insert(age.order, self.key);
        }
        self.age = age;
    }

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
            self.ledger.remove_slice(slice);
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

    /// What a stream with one slice takes besides its bytes.
    const STREAM: usize = STREAM_BYTES + SLICE_BYTES;

    fn ledgers(budget: usize, shards: usize) -> (Arc<BufferQuota>, Vec<Rc<UnsentLedger>>) {
        let quota = Arc::new(BufferQuota::new(budget));
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
        assert_eq!(quota.used(), 300 * KIB + 100 * STREAM);
        let other = keep(&ledgers[1], 0, std::slice::from_ref(&event)).unwrap();
        assert_eq!(quota.used(), 300 * KIB + 101 * STREAM, "once for all shards");
        drop(streams);
        assert_eq!(quota.used(), 300 * KIB + STREAM, "the shard that took its bytes has left");
        drop(other);
        assert_eq!(quota.used(), 0);
        assert!(ledgers[0].buffers.borrow().is_empty() && ledgers[0].blocked.borrow().is_empty());
        assert_eq!((quota.buffers(), ledgers[0].used.get()), (0, 0));
    }

    #[test]
    fn a_small_part_of_a_buffer_is_copied_unless_the_buffer_is_kept_anyway() {
        let (quota, ledgers) = ledgers(1 << 20, 1);
        let batch = Bytes::from(vec![b'x'; 100 * KIB]);
        let part = |range| Chunks::of(&batch, range);
        let small = keep(&ledgers[0], 1, &[part(0..40 * KIB), part(60 * KIB..65 * KIB)]).unwrap();
        assert_eq!(quota.used(), 45 * KIB + STREAM);
        assert_eq!(small.slices.len(), 1, "adjacent copies are one");
        let large = keep(&ledgers[0], 2, &[part(0..50 * KIB)]).unwrap();
        assert_eq!(quota.used(), 145 * KIB + 2 * STREAM);
        let beside = keep(&ledgers[0], 3, &[part(0..1)]).unwrap();
        assert_eq!(quota.used(), 145 * KIB + 3 * STREAM);
        assert_eq!(beside.slices[0].buffer(), part(0..1).buffer());
        drop((large, beside));
        assert_eq!(quota.used(), 45 * KIB + STREAM);
        assert_eq!(small.take().0[0].len(), 45 * KIB);
        assert_eq!(quota.used(), 0);
    }

    /// Two topics in one batch: each stream has the smaller half of it to send.
    #[test]
    fn copies_of_a_buffer_end_when_keeping_it_would_take_less() {
        let (quota, ledgers) = ledgers(1 << 30, 1);
        let batch = Bytes::from(vec![b'x'; 500 * KIB]);
        let streams: Vec<_> = (0..1000)
            .map(|key| keep(&ledgers[0], key, &[Chunks::of(&batch, 0..200 * KIB)]).unwrap())
            .collect();
        assert_eq!(quota.used(), (200 + 500) * KIB + 1000 * STREAM);
        drop(streams);
        assert_eq!(quota.used(), 0);
    }

    /// With one count for each shard, an event for all shards would take more than the budget.
    #[test]
    fn an_event_fits_the_budget_of_a_node_with_many_shards() {
        let (quota, ledgers) = ledgers(16 << 20, 32);
        let event = own(1000 * KIB);
        let streams: Vec<_> =
            ledgers.iter().map(|ledger| keep(ledger, 0, std::slice::from_ref(&event))).collect();
        assert!(streams.iter().all(Option::is_some));
        assert_eq!(quota.used(), 1000 * KIB + 32 * STREAM);
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
        let (first, key) = ledger.next_blocked(None, Some(age)).unwrap();
        assert_eq!(key, 7);
        let (second, key) = ledger.next_blocked(Some(first), Some(age)).unwrap();
        assert_eq!(key, 8);
        assert_eq!(ledger.next_blocked(Some(second), Some(age)), None);
        drop(streams.remove(0));
        assert!(ledger.keep(9, &rest, age).is_some());
        let oldest = Age { order: 0, ..age };
        assert_eq!(ledger.next_blocked(None, Some(oldest)), None);
        assert_eq!(ledger.next_blocked(None, None), Some((second, 8)));
    }

    #[test]
    fn stalled_streams_of_one_shard_leave_room_for_the_others() {
        let (quota, ledgers) = ledgers(100 * KIB, 2);
        let mut stalled: Vec<_> =
            (0..).map_while(|key| keep(&ledgers[0], key, &[own(10 * KIB)])).collect();
        let held = quota.used();
        assert!(held > 60 * KIB && held <= 75 * KIB, "{held}");
        assert!(!ledgers[0].is_over_share());
        let blocked = keep(&ledgers[1], 0, &[own(20 * KIB)]).unwrap();
        // The shard with more than its part gives the room back, and no more.
        assert!(ledgers[0].is_over_share() && !ledgers[1].is_over_share());
        while ledgers[0].is_over_share() {
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
        assert_eq!(quota.used(), 84 * KIB + STREAM);
        let mut other = keep(&ledgers[0], 2, &[own(10 * KIB)]).unwrap();
        assert!(!other.count_kernel(64 * KIB));
        drop((unsent, other));
        assert_eq!(quota.used(), 0);
    }
}
