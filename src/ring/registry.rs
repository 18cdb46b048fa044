//! Which selectors are being read, and by which shards.
//!
//! Shards attach and detach; the sequencer publishes. Each selector's entry is under the lock of
//! its stripe, and the sequencer publishes to the ring and gathers the wakers while it holds it, so
//! that an attach comes either wholly before (the ring_waker will be posted) or wholly after (the shard
//! reads a tail that includes the epoch). The lock is held for a lookup and one ring_waker per shard; it
//! stands before the ring, never between ring and socket (I4).
//!
//! A ring exists while a shard reads it. A topic that nobody reads has none, and publishing to it
//! costs a lookup.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{EventIndices, Mailbox, PendingFlag, PendingWakes, Ring, RingWaker};
use crate::event::{Batch, Selector, Topic, TopicMap};

/// Locks the topics are spread over; more than any machine has shards that attach at once.
const STRIPES: usize = 256;

struct Entry {
    ring: Arc<Ring>,
    wakers: Vec<Arc<RingWaker>>,
}

/// All rings by selector; see the module.
///
/// # Ordering
///
/// | word | writer | readers | what becomes visible | model |
/// |---|---|---|---|---|
/// | `rings` | shards, Relaxed read-modify-write | shards, admin | nothing but the number | none: a count |
pub struct Registry {
    stripes: Box<[Mutex<TopicMap<Entry>>]>,
    all: Mutex<Option<Entry>>,
    rings: AtomicUsize,
    rings_max: usize,
    window: NonZeroUsize,
}

/// As many topics are being read as `FANFARE_TOPICS_MAX` allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("as many topics are being read as FANFARE_TOPICS_MAX allows")]
pub struct RingsFull;

impl Registry {
    /// A registry of at most `rings_max` topics, whose rings hold `window` epochs.
    pub fn new(rings_max: usize, window: NonZeroUsize) -> Self {
        Self {
            stripes: (0..STRIPES).map(|_| Mutex::default()).collect(),
            all: Mutex::default(),
            rings: AtomicUsize::new(0),
            rings_max,
            window,
        }
    }

    /// Topics being read, `*` not counted.
    pub fn len(&self) -> usize {
        // Ordering: Relaxed: a count for people, see the table.
        self.rings.load(Ordering::Relaxed)
    }

    /// Whether no topic is being read.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Notes that the shard at `mailbox` reads `selector`, under its own `key`. A shard attaches to a
    /// selector once and keeps the ring_waker until its last session there has gone.
    pub fn subscribe(
        &self,
        selector: &Selector,
        mailbox: &Arc<Mailbox>,
        key: usize,
    ) -> Result<Arc<RingWaker>, RingsFull> {
        let ring_waker = |ring: &Arc<Ring>| {
            let (ring, mailbox) = (Arc::clone(ring), Arc::clone(mailbox));
            Arc::new(RingWaker {
                ring,
                selector: selector.clone(),
                key,
                pending: PendingFlag::new(),
                mailbox,
            })
        };
        let add = |entry: &mut Entry| {
            let ring_waker = ring_waker(&entry.ring);
            entry.wakers.push(Arc::clone(&ring_waker));
            ring_waker
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
                self.count_ring()?;
                Ok(add(stripe.entry(topic.clone()).or_insert_with(|| self.entry())))
            }
        }
    }

    /// Takes the ring_waker back; the ring goes with its last ring_waker.
    pub fn unsubscribe(&self, ring_waker: &Arc<RingWaker>) {
        match &ring_waker.selector {
            Selector::All => {
                let mut all = lock(&self.all);
                if all.as_mut().is_some_and(|entry| entry.remove(ring_waker)) {
                    *all = None;
                }
            }
            Selector::Topic(topic) => {
                let mut stripe = self.stripe(topic);
                if stripe.get_mut(topic).is_some_and(|entry| entry.remove(ring_waker)) {
                    stripe.remove(topic);
                    if stripe.len() * 4 < stripe.capacity() {
                        stripe.shrink_to_fit();
                    }
                    // Ordering: Relaxed: see the table.
                    self.rings.fetch_sub(1, Ordering::Relaxed);
                }
            }
        }
    }

    /// Publishes the events at `indices` to a topic's ring, if it has one, and wakers it for the
    /// shards that read it. Sequencer only.
    pub fn publish(
        &self,
        topic: &Topic,
        batch: &Arc<Batch>,
        indices: &[u32],
        wakes: &mut PendingWakes,
    ) -> Option<(Arc<Ring>, u64)> {
        let stripe = self.stripe(topic);
        Some(stripe.get(topic)?.publish(batch, EventIndices::of(indices), wakes))
    }

    /// Publishes a whole batch to the ring of `*`. Sequencer only.
    pub fn publish_all(
        &self,
        batch: &Arc<Batch>,
        wakes: &mut PendingWakes,
    ) -> Option<(Arc<Ring>, u64)> {
        let all = lock(&self.all);
        let indices = EventIndices::Range(
            0..u32::try_from(batch.len()).expect("a batch has at most FANFARE_BATCH_EVENTS"),
        );
        Some(all.as_ref()?.publish(batch, indices, wakes))
    }

    fn entry(&self) -> Entry {
        Entry { ring: Arc::new(Ring::new(self.window)), wakers: Vec::with_capacity(1) }
    }

    fn count_ring(&self) -> Result<(), RingsFull> {
        // Ordering: Relaxed: see the table.
        let grow = |rings| (rings < self.rings_max).then_some(rings + 1);
        match self.rings.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grow) {
            Ok(_) => Ok(()),
            Err(_) => Err(RingsFull),
        }
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
    ) -> (Arc<Ring>, u64) {
        let number = self.ring.publish(batch, indices);
        for ring_waker in &self.wakers {
            wakes.add(ring_waker);
        }
        (Arc::clone(&self.ring), number)
    }

    /// True if that was the last ring_waker.
    fn remove(&mut self, ring_waker: &Arc<RingWaker>) -> bool {
        self.wakers.retain(|other| !Arc::ptr_eq(other, ring_waker));
        self.wakers.is_empty()
    }
}

/// A panic can't leave an entry half changed, so a poisoned lock is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(all(test, not(ring_loom)))]
mod tests {
    use super::*;
    use crate::event::Seq;
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
    fn a_mark_is_posted_once_until_the_shard_has_looked() {
        let (registry, mailbox, mut wakes) =
            (registry(9), Arc::new(Mailbox::new(0)), PendingWakes::default());
        let ring_waker = registry.subscribe(&selector("a"), &mailbox, 7).unwrap();
        let topic = Topic::new("a").unwrap();
        for _ in 0..2 {
            registry.publish(&topic, &batch(), &[0], &mut wakes).unwrap();
            wakes.wake_all();
        }
        let taken = mailbox.take().unwrap();
        assert!(Arc::ptr_eq(&taken, &ring_waker) && taken.key == 7);
        assert!(mailbox.take().is_none());
        taken.clear();
        registry.publish(&topic, &batch(), &[0], &mut wakes).unwrap();
        wakes.wake_all();
        assert!(mailbox.take().is_some());
        assert!(ring_waker.ring.read(2, |_| ()) == Read::Epoch(()));
    }

    /// Ensures a ring_waker can't be taken before its batch is in all rings.
    ///
    /// Scenario: a shard is awake while the sequencer publishes a batch to rings A and B. Cause: the
    /// ring_waker of A was posted with A's epoch; the shard took it, and its session on A and B found the
    /// batch beyond the watermark and waited; no further ring_waker came. Fix: wakers are kept back until
    /// the watermark is raised.
    #[test]
    fn a_mark_is_posted_only_when_its_whole_turn_can_be_read() {
        let (registry, mailbox, mut wakes) =
            (registry(9), Arc::new(Mailbox::new(0)), PendingWakes::default());
        registry.subscribe(&selector("a"), &mailbox, 0).unwrap();
        registry.publish(&Topic::new("a").unwrap(), &batch(), &[0], &mut wakes).unwrap();
        assert!(mailbox.take().is_none());
        wakes.wake_all();
        assert!(mailbox.take().is_some());
    }

    #[test]
    fn a_ring_goes_with_its_last_mark() {
        let (registry, mut wakes) = (registry(9), PendingWakes::default());
        let mailboxes = [Arc::new(Mailbox::new(0)), Arc::new(Mailbox::new(1))];
        let wakers = mailboxes
            .each_ref()
            .map(|mailbox| registry.subscribe(&selector("a"), mailbox, 0).unwrap());
        let all = registry.subscribe(&Selector::All, &mailboxes[0], 1).unwrap();
        assert!(Arc::ptr_eq(&wakers[0].ring, &wakers[1].ring));
        assert_eq!(registry.len(), 1);
        registry.unsubscribe(&wakers[0]);
        let topic = Topic::new("a").unwrap();
        assert!(registry.publish(&topic, &batch(), &[0], &mut wakes).is_some());
        wakes.wake_all();
        assert!(mailboxes[0].take().is_none() && mailboxes[1].take().is_some());
        registry.unsubscribe(&wakers[1]);
        registry.unsubscribe(&wakers[1]);
        assert!(registry.is_empty());
        assert!(registry.publish(&topic, &batch(), &[0], &mut wakes).is_none());
        assert!(registry.publish_all(&batch(), &mut wakes).is_some());
        registry.unsubscribe(&all);
        assert!(registry.publish_all(&batch(), &mut wakes).is_none());
    }

    #[test]
    fn one_topic_too_many_is_refused_and_known_ones_are_not() {
        let (registry, mailbox) = (registry(2), Arc::new(Mailbox::new(0)));
        let first = registry.subscribe(&selector("a"), &mailbox, 0).unwrap();
        registry.subscribe(&selector("b"), &mailbox, 1).unwrap();
        assert_eq!(registry.subscribe(&selector("c"), &mailbox, 2).err(), Some(RingsFull));
        assert!(registry.subscribe(&Selector::All, &mailbox, 3).is_ok());
        registry.unsubscribe(&first);
        assert!(registry.subscribe(&selector("c"), &mailbox, 2).is_ok());
    }
}
