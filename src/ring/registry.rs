//! Which selectors are being read, and by which shards.
//!
//! Shards attach and detach; the sequencer publishes. Each selector's entry is under the lock of
//! its stripe, and the sequencer publishes to the ring and gathers the marks while it holds it, so
//! that an attach comes either wholly before (the mark will be posted) or wholly after (the shard
//! reads a tail that includes the epoch). The lock is held for a lookup and one mark per shard; it
//! stands before the ring, never between ring and socket (I4).
//!
//! A ring exists while a shard reads it. A topic that nobody reads has none, and publishing to it
//! costs a lookup.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Desk, Latch, Mark, Picks, Ring, Rounds, Turn};
use crate::event::{Selector, Topic, TopicMap};

/// Locks the topics are spread over; more than any machine has shards that attach at once.
const STRIPES: usize = 256;

struct Entry {
    ring: Arc<Ring>,
    marks: Vec<Arc<Mark>>,
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

    /// Notes that the shard at `desk` reads `selector`, under its own `key`. A shard attaches to a
    /// selector once and keeps the mark until its last session there has gone.
    pub fn attach(
        &self,
        selector: &Selector,
        desk: &Arc<Desk>,
        key: usize,
    ) -> Result<Arc<Mark>, RingsFull> {
        let mark = |ring: &Arc<Ring>| {
            let (ring, desk) = (Arc::clone(ring), Arc::clone(desk));
            Arc::new(Mark { ring, selector: selector.clone(), key, latch: Latch::new(), desk })
        };
        let add = |entry: &mut Entry| {
            let mark = mark(&entry.ring);
            entry.marks.push(Arc::clone(&mark));
            mark
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

    /// Takes the mark back; the ring goes with its last mark.
    pub fn detach(&self, mark: &Arc<Mark>) {
        match &mark.selector {
            Selector::All => {
                let mut all = lock(&self.all);
                if all.as_mut().is_some_and(|entry| entry.remove(mark)) {
                    *all = None;
                }
            }
            Selector::Topic(topic) => {
                let mut stripe = self.stripe(topic);
                if stripe.get_mut(topic).is_some_and(|entry| entry.remove(mark)) {
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

    /// Publishes the events at `picks` to a topic's ring, if it has one, and marks it for the
    /// shards that read it. Sequencer only.
    pub fn publish(
        &self,
        topic: &Topic,
        turn: &Arc<Turn>,
        picks: &[u32],
        rounds: &mut Rounds,
    ) -> Option<(Arc<Ring>, u64)> {
        let stripe = self.stripe(topic);
        Some(stripe.get(topic)?.publish(turn, Picks::of(picks), rounds))
    }

    /// Publishes a whole turn to the ring of `*`. Sequencer only.
    pub fn publish_all(&self, turn: &Arc<Turn>, rounds: &mut Rounds) -> Option<(Arc<Ring>, u64)> {
        let all = lock(&self.all);
        let picks = Picks::Run(
            0..u32::try_from(turn.len()).expect("a turn has at most FANFARE_BATCH_EVENTS"),
        );
        Some(all.as_ref()?.publish(turn, picks, rounds))
    }

    fn entry(&self) -> Entry {
        Entry { ring: Arc::new(Ring::new(self.window)), marks: Vec::with_capacity(1) }
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
    fn publish(&self, turn: &Arc<Turn>, picks: Picks, rounds: &mut Rounds) -> (Arc<Ring>, u64) {
        let number = self.ring.publish(turn, picks);
        for mark in &self.marks {
            rounds.add(mark);
        }
        (Arc::clone(&self.ring), number)
    }

    /// True if that was the last mark.
    fn remove(&mut self, mark: &Arc<Mark>) -> bool {
        self.marks.retain(|other| !Arc::ptr_eq(other, mark));
        self.marks.is_empty()
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

    fn turn() -> Arc<Turn> {
        Arc::new(Turn::new("x".into(), Box::new([1]), Seq(1)))
    }

    #[test]
    fn a_mark_is_posted_once_until_the_shard_has_looked() {
        let (registry, desk, mut rounds) = (registry(9), Arc::new(Desk::new(0)), Rounds::default());
        let mark = registry.attach(&selector("a"), &desk, 7).unwrap();
        let topic = Topic::new("a").unwrap();
        for _ in 0..2 {
            registry.publish(&topic, &turn(), &[0], &mut rounds).unwrap();
            rounds.deliver();
        }
        let taken = desk.take().unwrap();
        assert!(Arc::ptr_eq(&taken, &mark) && taken.key == 7);
        assert!(desk.take().is_none());
        taken.clear();
        registry.publish(&topic, &turn(), &[0], &mut rounds).unwrap();
        rounds.deliver();
        assert!(desk.take().is_some());
        assert!(mark.ring.read(2, |_| ()) == Read::Epoch(()));
    }

    /// Ensures a mark can't be taken before its turn is in all rings.
    ///
    /// Scenario: a shard is awake while the sequencer publishes a turn to rings A and B. Cause: the
    /// mark of A was posted with A's epoch; the shard took it, and its session on A and B found the
    /// turn beyond the watermark and waited; no further mark came. Fix: marks are kept back until
    /// the watermark is raised.
    #[test]
    fn a_mark_is_posted_only_when_its_whole_turn_can_be_read() {
        let (registry, desk, mut rounds) = (registry(9), Arc::new(Desk::new(0)), Rounds::default());
        registry.attach(&selector("a"), &desk, 0).unwrap();
        registry.publish(&Topic::new("a").unwrap(), &turn(), &[0], &mut rounds).unwrap();
        assert!(desk.take().is_none());
        rounds.deliver();
        assert!(desk.take().is_some());
    }

    #[test]
    fn a_ring_goes_with_its_last_mark() {
        let (registry, mut rounds) = (registry(9), Rounds::default());
        let desks = [Arc::new(Desk::new(0)), Arc::new(Desk::new(1))];
        let marks = desks.each_ref().map(|desk| registry.attach(&selector("a"), desk, 0).unwrap());
        let all = registry.attach(&Selector::All, &desks[0], 1).unwrap();
        assert!(Arc::ptr_eq(&marks[0].ring, &marks[1].ring));
        assert_eq!(registry.len(), 1);
        registry.detach(&marks[0]);
        let topic = Topic::new("a").unwrap();
        assert!(registry.publish(&topic, &turn(), &[0], &mut rounds).is_some());
        rounds.deliver();
        assert!(desks[0].take().is_none() && desks[1].take().is_some());
        registry.detach(&marks[1]);
        registry.detach(&marks[1]);
        assert!(registry.is_empty());
        assert!(registry.publish(&topic, &turn(), &[0], &mut rounds).is_none());
        assert!(registry.publish_all(&turn(), &mut rounds).is_some());
        registry.detach(&all);
        assert!(registry.publish_all(&turn(), &mut rounds).is_none());
    }

    #[test]
    fn one_topic_too_many_is_refused_and_known_ones_are_not() {
        let (registry, desk) = (registry(2), Arc::new(Desk::new(0)));
        let first = registry.attach(&selector("a"), &desk, 0).unwrap();
        registry.attach(&selector("b"), &desk, 1).unwrap();
        assert_eq!(registry.attach(&selector("c"), &desk, 2).err(), Some(RingsFull));
        assert!(registry.attach(&Selector::All, &desk, 3).is_ok());
        registry.detach(&first);
        assert!(registry.attach(&selector("c"), &desk, 2).is_ok());
    }
}
