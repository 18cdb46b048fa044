//! The kept events of each topic, and what each topic has lost.

use std::collections::VecDeque;
use std::sync::Arc;

use super::indexes::{Names, StoredEvent, TOPIC_BYTES};
use super::striped_map::StripedMap;
use crate::event::{Seq, Topic};

/// Below this capacity a queue isn't worth shrinking.
const SHRINK_FROM: usize = 64;

/// Topics with kept events.
pub(super) struct Topics {
    logs: StripedMap<Topic, TopicLog>,
    len: usize,
    bytes: u64,
    events_max: usize,
    losses: LossTable,
}

struct TopicLog {
    /// In seq order: all events of the topic after `dropped_through`.
    kept: VecDeque<Arc<StoredEvent>>,
    dropped_through: Seq,
}

impl Topics {
    /// Topics that keep `events_max` events each, at least one.
    pub(super) fn new(events_max: usize) -> Self {
        debug_assert!(events_max > 0);
        Self {
            logs: StripedMap::default(),
            len: 0,
            bytes: 0,
            events_max,
            losses: LossTable::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// What the topics are counted at, their events aside.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Makes sure that the topics have entries, and names them with the entries' own keys: a
    /// thousand events of a topic share one name.
    pub(super) fn enter(&mut self, topics: &[Topic]) -> Names {
        match topics {
            [topic] => Names::One(self.enter_one(topic)),
            _ => Names::Many(topics.iter().map(|topic| self.enter_one(topic)).collect()),
        }
    }

    fn enter_one(&mut self, topic: &Topic) -> Topic {
        let part = self.logs.stripe_mut(topic.hash_key());
        if let Some((name, _)) = part.get_key_value(topic) {
            return name.clone();
        }
        let dropped_through = self.losses.dropped_through(topic);
        part.insert(topic.clone(), TopicLog { kept: VecDeque::new(), dropped_through });
        self.len += 1;
        self.bytes += bytes(topic);
        topic.clone()
    }

    /// Adds the newest event to a topic that was entered. Hands out the topic's oldest if it had to
    /// make room.
    pub(super) fn push(
        &mut self,
        topic: &Topic,
        kept: &Arc<StoredEvent>,
    ) -> Option<Arc<StoredEvent>> {
        let log =
            self.logs.stripe_mut(topic.hash_key()).get_mut(topic).expect("the topic was entered");
        let oldest = if log.kept.len() < self.events_max { None } else { log.drop_oldest() };
        log.kept.push_back(Arc::clone(kept));
        oldest
    }

    /// Takes the event at `seq` out of a topic if the topic still has it; then it is its oldest.
    pub(super) fn drop_through(&mut self, topic: &Topic, seq: Seq) {
        let Some(log) = self.logs.stripe_mut(topic.hash_key()).get_mut(topic) else { return };
        if log.kept.front().is_some_and(|kept| kept.seq == seq) {
            log.drop_oldest();
            log.shrink();
        }
        if log.kept.is_empty() {
            self.losses.note(topic, log.dropped_through);
            self.logs.remove(topic.hash_key(), topic);
            self.len -= 1;
            self.bytes -= bytes(topic);
        }
    }

    /// The highest seq the topic may have lost: exact while something of it is kept.
    pub(super) fn dropped_through(&self, topic: &Topic) -> Seq {
        match self.log(topic) {
            Some(log) => log.dropped_through,
            None => self.losses.dropped_through(topic),
        }
    }

    /// The kept events of the topic after `after`, in order.
    pub(super) fn after(
        &self,
        topic: &Topic,
        after: Seq,
    ) -> impl Iterator<Item = &Arc<StoredEvent>> {
        self.log(topic).into_iter().flat_map(move |log| {
            let start = log.kept.partition_point(|kept| kept.seq <= after);
            log.kept.range(start..)
        })
    }

    fn log(&self, topic: &Topic) -> Option<&TopicLog> {
        self.logs.stripe(topic.hash_key()).get(topic)
    }
}

impl TopicLog {
    fn drop_oldest(&mut self) -> Option<Arc<StoredEvent>> {
        let oldest = self.kept.pop_front()?;
        self.dropped_through = oldest.seq;
        Some(oldest)
    }

    fn shrink(&mut self) {
        if self.kept.capacity() > SHRINK_FROM && self.kept.len() < self.kept.capacity() / 4 {
            self.kept.shrink_to(self.kept.len() * 2);
        }
    }
}

fn bytes(topic: &Topic) -> u64 {
    TOPIC_BYTES + topic.as_str().len() as u64
}

/// What was lost of topics that have nothing kept: per bucket of topics the highest seq. 512 KiB,
/// whatever the number of topics there have been.
///
/// A topic that shares its bucket with another may seem to have lost what the other lost: a false
/// alarm, and only then. A loss is never hidden, since a bucket's seq only rises.
struct LossTable(Box<[Seq; BUCKETS]>);

const BUCKETS: usize = 65_536;

impl Default for LossTable {
    fn default() -> Self {
        let buckets = vec![Seq(0); BUCKETS].into_boxed_slice();
        Self(buckets.try_into().expect("the length is BUCKETS"))
    }
}

impl LossTable {
    fn note(&mut self, topic: &Topic, dropped_through: Seq) {
        let bucket = &mut self.0[Self::bucket(topic)];
        *bucket = dropped_through.max(*bucket);
    }

    fn dropped_through(&self, topic: &Topic) -> Seq {
        self.0[Self::bucket(topic)]
    }

    fn bucket(topic: &Topic) -> usize {
        (topic.hash_key() >> 48) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_that_lost_most_of_its_events_gives_their_places_back() {
        let mut topics = Topics::new(usize::MAX);
        let topic = Topic::new("a").unwrap();
        for seq in 1..=10_000 {
            let names = topics.enter(std::slice::from_ref(&topic));
            let kept = StoredEvent {
                seq: Seq(seq),
                at: 0,
                id: None,
                wire: bytes::Bytes::new(),
                topics: names,
            };
            assert!(topics.push(&topic, &Arc::new(kept)).is_none());
        }
        (1..10_000).for_each(|seq| topics.drop_through(&topic, Seq(seq)));
        assert_eq!(topics.after(&topic, Seq(0)).count(), 1);
        assert!(topics.log(&topic).unwrap().kept.capacity() <= SHRINK_FROM);
    }
}
