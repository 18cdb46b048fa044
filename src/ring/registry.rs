//! A striped hash map of rings: which selectors have readers, and which shards to wake for each.
//!
//! Shards subscribe and unsubscribe; the sequencer publishes. Each selector's entry is under the
//! lock of its stripe. The sequencer publishes to the ring and collects the wakers under that lock,
//! so a subscription comes wholly before (its shard is woken) or wholly after (the shard reads a
//! tail that includes the epoch). The lock is held for a lookup and one waker per shard. It stands
//! before the ring, never between ring and socket (I4).
//!
//! A ring exists while a shard reads it. A topic without readers has none, and publishing to it
//! costs a lookup.
#![forbid(unsafe_code)]

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::epoch::EventIndices;
use super::epoch_ring::Ring;
use super::reader::Reader;
use super::reclaim::Reclaimer;
use super::wake::{Mailbox, PendingWakes, RingWaker};
use crate::event::{Batch, Selector, Seq, Topic, TopicMap};
use crate::quota::Quota;

/// Stripes of the map; enough that shards rarely contend for one.
const STRIPES: usize = 256;

struct Entry {
    ring: Arc<Ring>,
    wakers: Vec<Arc<RingWaker>>,
}

/// All rings, by selector.
pub struct Registry {
    stripes: Box<[Mutex<TopicMap<Entry>>]>,
    /// The ring of `*`.
    all: Mutex<Option<Entry>>,
    /// The rings in `stripes`.
    rings: Quota,
    window: NonZeroUsize,
    reclaimer: Arc<Reclaimer>,
}

/// An epoch that a batch was published as.
pub struct Placed {
    /// The ring.
    pub ring: Arc<Ring>,
    /// The epoch's number.
    pub number: u64,
    /// Bytes of memory that the epoch takes for its list of events.
    pub list_bytes: usize,
    /// The first seq of the batch whose epoch it overwrote.
    pub overwritten: Option<Seq>,
}

/// `FANFARE_TOPICS_MAX` topics have readers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("as many topics are being read as FANFARE_TOPICS_MAX allows")]
pub struct RingsFull;

impl Registry {
    /// A registry of at most `rings_max` topics, whose rings hold `window` epochs each.
    pub fn new(rings_max: usize, window: NonZeroUsize) -> Self {
        Self {
            stripes: (0..STRIPES).map(|_| Mutex::default()).collect(),
            all: Mutex::default(),
            rings: Quota::new(rings_max),
            window,
            reclaimer: Arc::new(Reclaimer::new()),
        }
    }

    /// A new reader of all rings here. Each shard needs one.
    pub fn reader(&self) -> Reader {
        Reader::new(&self.reclaimer)
    }

    /// Frees what has left the rings and no reader holds back. Publishing does the same from time
    /// to time, so the sequencer calls this only when the node is quiet.
    pub(crate) fn reclaim(&self) {
        self.reclaimer.writer().scan();
    }

    /// Bytes that have left the rings and that readers held back at the last scan.
    pub(crate) fn held_bytes(&self) -> u64 {
        self.reclaimer.writer().held_bytes() as u64
    }

    /// Topics with readers; `*` is not counted.
    pub fn topics(&self) -> usize {
        self.rings.used()
    }

    /// Subscribes the shard of `mailbox` to `selector`, under the shard's own `key`. A shard
    /// subscribes once per selector and keeps the waker until its last session there has left.
    ///
    /// # Errors
    ///
    /// [`RingsFull`] if the topic has no ring and there are `rings_max`.
    pub fn subscribe(
        &self,
        selector: &Selector,
        mailbox: &Arc<Mailbox>,
        key: usize,
    ) -> Result<Arc<RingWaker>, RingsFull> {
        let add = |entry: &mut Entry| {
            let (ring, mailbox) = (Arc::clone(&entry.ring), Arc::clone(mailbox));
            let waker = Arc::new(RingWaker::new(ring, selector.clone(), key, mailbox));
            entry.wakers.push(Arc::clone(&waker));
            waker
        };
        match selector {
            Selector::All => {
                let mut all = lock(&self.all);
                Ok(add(all.get_or_insert_with(|| self.entry())))
            }
            Selector::Topic(topic) => {
                let mut stripe = self.stripe(topic);
                if let Some(entry) = stripe.get_mut(topic) {
                    return Ok(add(entry));
                }
                if !self.rings.try_acquire(1) {
                    return Err(RingsFull);
                }
                Ok(add(stripe.entry(topic.clone()).or_insert_with(|| self.entry())))
            }
        }
    }

    /// Removes a shard's waker; the ring is dropped with its last one.
    pub fn unsubscribe(&self, waker: &Arc<RingWaker>) {
        match &waker.selector {
            Selector::All => {
                let mut all = lock(&self.all);
                if all.as_mut().is_some_and(|entry| entry.remove(waker)) {
                    *all = None;
                }
            }
            Selector::Topic(topic) => {
                let mut stripe = self.stripe(topic);
                if stripe.get_mut(topic).is_some_and(|entry| entry.remove(waker)) {
                    stripe.remove(topic);
                    if stripe.len() * 4 < stripe.capacity() {
                        stripe.shrink_to_fit();
                    }
                    self.rings.release(1);
                }
            }
        }
    }

    /// Publishes the events at `indices` to a topic's ring, if it has one, and adds the wakers of
    /// the shards that read it to `wakes`. Sequencer only.
    pub fn publish(
        &self,
        topic: &Topic,
        batch: &Arc<Batch>,
        indices: &[u32],
        wakes: &mut PendingWakes,
    ) -> Option<Placed> {
        let stripe = self.stripe(topic);
        Some(stripe.get(topic)?.publish(batch, EventIndices::of(indices), wakes))
    }

    /// Publishes a whole batch to the ring of `*`. Sequencer only.
    pub fn publish_all(&self, batch: &Arc<Batch>, wakes: &mut PendingWakes) -> Option<Placed> {
        let all = lock(&self.all);
        let events = u32::try_from(batch.len()).expect("FANFARE_BATCH_EVENTS is under 2^32");
        Some(all.as_ref()?.publish(batch, EventIndices::Range(0..events), wakes))
    }

    fn entry(&self) -> Entry {
        let ring = Ring::with_reclaimer(self.window, Arc::clone(&self.reclaimer));
        Entry { ring: Arc::new(ring), wakers: Vec::with_capacity(1) }
    }

    fn stripe(&self, topic: &Topic) -> MutexGuard<'_, TopicMap<Entry>> {
        // Bits in the middle: the map inside uses the lowest for its buckets and the highest for
        // its tags.
        lock(&self.stripes[(topic.hash_key() >> 32) as usize % STRIPES])
    }
}

impl Entry {
    fn publish(
        &self,
        batch: &Arc<Batch>,
        indices: EventIndices,
        wakes: &mut PendingWakes,
    ) -> Placed {
        let list_bytes = indices.bytes();
        let (number, overwritten) = self.ring.place(batch, indices);
        for waker in &self.wakers {
            wakes.add(waker);
        }
        Placed { ring: Arc::clone(&self.ring), number, list_bytes, overwritten }
    }

    /// Removes a waker; true if it was the last one.
    fn remove(&mut self, waker: &Arc<RingWaker>) -> bool {
        self.wakers.retain(|other| !Arc::ptr_eq(other, waker));
        self.wakers.is_empty()
    }
}

/// Locks a mutex, poisoned or not: no panic can leave an entry half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(all(test, not(ring_loom)))]
mod tests {
    use super::*;
    use crate::ring::Read;

    fn registry(rings_max: usize) -> Registry {
        Registry::new(rings_max, NonZeroUsize::new(8).unwrap())
    }

    fn selector(name: &str) -> Selector {
        Selector::parse(name).unwrap()
    }

    fn batch() -> Arc<Batch> {
        Arc::new(Batch::new("x".into(), Box::new([1]), Seq(1)))
    }

    #[test]
    fn a_waker_is_in_its_mailbox_once_until_the_shard_clears_it() {
        let (registry, mailbox, mut wakes) =
            (registry(9), Arc::new(Mailbox::new(0)), PendingWakes::default());
        let waker = registry.subscribe(&selector("a"), &mailbox, 7).unwrap();
        let topic = Topic::new("a").unwrap();
        for _ in 0..2 {
            registry.publish(&topic, &batch(), &[0], &mut wakes).unwrap();
            wakes.wake_all(Seq(1));
        }
        let taken = mailbox.take().unwrap();
        assert!(Arc::ptr_eq(&taken, &waker) && taken.key == 7);
        assert!(mailbox.take().is_none());
        taken.clear();
        registry.publish(&topic, &batch(), &[0], &mut wakes).unwrap();
        wakes.wake_all(Seq(1));
        assert!(mailbox.take().is_some());
        assert!(waker.ring.read(&registry.reader(), 2, |_| ()) == Read::Epoch(()));
    }

    /// Ensures that a shard can't take a waker before its batch is in all rings.
    ///
    /// Scenario: a shard runs while the sequencer publishes a batch to rings A and B.
    ///
    /// Cause: A's waker was in the mailbox together with A's epoch. The shard took it; its session
    /// on A and B found the batch above the watermark and waited; no further wake-up came.
    ///
    /// Fix: wakers are held back until the watermark is raised.
    #[test]
    fn a_waker_is_held_back_until_its_whole_batch_can_be_read() {
        let (registry, mailbox, mut wakes) =
            (registry(9), Arc::new(Mailbox::new(0)), PendingWakes::default());
        registry.subscribe(&selector("a"), &mailbox, 0).unwrap();
        registry.publish(&Topic::new("a").unwrap(), &batch(), &[0], &mut wakes).unwrap();
        assert!(mailbox.take().is_none());
        wakes.wake_all(Seq(1));
        assert!(mailbox.take().is_some());
    }

    #[test]
    fn a_ring_is_dropped_with_its_last_waker() {
        let (registry, mut wakes) = (registry(9), PendingWakes::default());
        let mailboxes = [Arc::new(Mailbox::new(0)), Arc::new(Mailbox::new(1))];
        let wakers = mailboxes
            .each_ref()
            .map(|mailbox| registry.subscribe(&selector("a"), mailbox, 0).unwrap());
        let all = registry.subscribe(&Selector::All, &mailboxes[0], 1).unwrap();
        assert!(Arc::ptr_eq(&wakers[0].ring, &wakers[1].ring));
        assert_eq!(registry.topics(), 1);
        registry.unsubscribe(&wakers[0]);
        let topic = Topic::new("a").unwrap();
        assert!(registry.publish(&topic, &batch(), &[0], &mut wakes).is_some());
        wakes.wake_all(Seq(1));
        assert!(mailboxes[0].take().is_none() && mailboxes[1].take().is_some());
        registry.unsubscribe(&wakers[1]);
        registry.unsubscribe(&wakers[1]);
        assert_eq!(registry.topics(), 0);
        assert!(registry.publish(&topic, &batch(), &[0], &mut wakes).is_none());
        assert!(registry.publish_all(&batch(), &mut wakes).is_some());
        registry.unsubscribe(&all);
        assert!(registry.publish_all(&batch(), &mut wakes).is_none());
    }

    #[test]
    fn a_topic_over_the_bound_is_refused_and_known_ones_are_not() {
        let (registry, mailbox) = (registry(2), Arc::new(Mailbox::new(0)));
        let first = registry.subscribe(&selector("a"), &mailbox, 0).unwrap();
        registry.subscribe(&selector("b"), &mailbox, 1).unwrap();
        assert_eq!(registry.subscribe(&selector("c"), &mailbox, 2).err(), Some(RingsFull));
        assert!(registry.subscribe(&Selector::All, &mailbox, 3).is_ok());
        registry.unsubscribe(&first);
        assert!(registry.subscribe(&selector("c"), &mailbox, 2).is_ok());
    }
}
