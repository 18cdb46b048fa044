//! Index by topic: a bounded FIFO queue of stored events per topic, and what topics without stored
//! events have lost.

use std::collections::VecDeque;
use std::sync::Arc;

use super::indexes::{EventTopics, StoredEvent, TOPIC_BYTES};
use super::losses::LossTable;
use super::striped_map::StripedMap;
use crate::event::{Seq, Topic};

/// A queue of this capacity or less isn't shrunk.
const SHRINK_ABOVE: usize = 64;

pub(super) struct TopicIndex {
    queues: StripedMap<Topic, TopicQueue>,
    len: usize,
    bytes: u64,
    events_per_topic: usize,
    losses: LossTable,
}

struct TopicQueue {
    /// All events of the topic after `evicted_through`, in seq order.
    events: VecDeque<Arc<StoredEvent>>,
    evicted_through: Seq,
    /// Events evicted since the topic has an entry.
    evicted: u64,
    /// The seq of the event that the entry was created for: no other entry of the topic has it.
    since: Seq,
}

/// How far a topic has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TopicPosition {
    since: Seq,
    /// Events read or evicted, since the topic has its entry.
    read: u64,
    /// Stored events not read.
    unread: u64,
}

impl TopicPosition {
    /// The position before the last `events` events read.
    pub(super) fn before(self, events: u64) -> Self {
        let (read, unread) = (self.read.saturating_sub(events), self.unread + events);
        Self { read, unread, ..self }
    }
}

impl TopicIndex {
    pub(super) fn new(events_per_topic: usize, history_bytes: u64) -> Self {
        debug_assert!(events_per_topic > 0, "a queue has room for the event that is appended");
        Self {
            queues: StripedMap::default(),
            len: 0,
            bytes: 0,
            events_per_topic,
            losses: LossTable::new(history_bytes),
        }
    }

    /// Number of topics with stored events.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Memory cost of the topics, without their events.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Interns the topics of the event at `seq`: creates missing entries and returns the keys of
    /// the entries, so that all events of a topic share one allocation of its name.
    pub(super) fn intern(&mut self, topics: &[Topic], seq: Seq) -> EventTopics {
        match topics {
            [topic] => EventTopics::One(self.intern_one(topic, seq)),
            _ => {
                EventTopics::Many(topics.iter().map(|topic| self.intern_one(topic, seq)).collect())
            }
        }
    }

    fn intern_one(&mut self, topic: &Topic, seq: Seq) -> Topic {
        let stripe = self.queues.stripe_mut(topic.hash_key());
        if let Some((key, _)) = stripe.get_key_value(topic) {
            return key.clone();
        }
        let evicted_through = self.losses.evicted_through(topic);
        let events = VecDeque::new();
        let queue = TopicQueue { events, evicted_through, evicted: 0, since: seq };
        stripe.insert(topic.clone(), queue);
        self.len += 1;
        self.bytes += bytes(topic);
        topic.clone()
    }

    /// Appends the newest event to an interned topic's queue. Returns the event that a full queue
    /// evicted for it.
    pub(super) fn push(
        &mut self,
        topic: &Topic,
        event: &Arc<StoredEvent>,
    ) -> Option<Arc<StoredEvent>> {
        let stripe = self.queues.stripe_mut(topic.hash_key());
        let queue = stripe.get_mut(topic).expect("the topic is interned");
        let is_full = queue.events.len() >= self.events_per_topic;
        let evicted = if is_full { queue.evict_oldest() } else { None };
        queue.events.push_back(Arc::clone(event));
        evicted
    }

    /// Evicts the event at `seq`, the oldest of the store, from the topic's queue. No effect if the
    /// queue has already evicted it. Removes the topic's entry if the queue is then empty.
    pub(super) fn evict(&mut self, topic: &Topic, seq: Seq) {
        let Some(queue) = self.queues.stripe_mut(topic.hash_key()).get_mut(topic) else { return };
        if queue.events.front().is_some_and(|event| event.seq == seq) {
            queue.evict_oldest();
            queue.shrink();
        }
        if queue.events.is_empty() {
            self.losses.record(topic, queue.evicted_through);
            self.queues.remove(topic.hash_key(), topic);
            self.len -= 1;
            self.bytes -= bytes(topic);
        }
    }

    /// The highest seq the topic may have evicted: exact if the topic has stored events.
    pub(super) fn evicted_through(&self, topic: &Topic) -> Seq {
        match self.queue(topic) {
            Some(queue) => queue.evicted_through,
            None => self.losses.evicted_through(topic),
        }
    }

    /// The topic's events after `seq`, in seq order.
    pub(super) fn after(&self, topic: &Topic, seq: Seq) -> impl Iterator<Item = &Arc<StoredEvent>> {
        self.queue(topic).into_iter().flat_map(move |queue| {
            let start = queue.events.partition_point(|event| event.seq <= seq);
            queue.events.range(start..)
        })
    }

    /// The position after the events up to `seq`; `None` without stored events.
    pub(super) fn position(&self, topic: &Topic, seq: Seq) -> Option<TopicPosition> {
        let TopicQueue { events, evicted, since, .. } = self.queue(topic)?;
        let read = events.partition_point(|event| event.seq <= seq);
        let unread = (events.len() - read) as u64;
        Some(TopicPosition { since: *since, read: evicted + read as u64, unread })
    }

    /// Number of events after the position that the topic has evicted; a lower bound if the topic
    /// has been without stored events since.
    pub(super) fn evicted_after(&self, topic: &Topic, position: TopicPosition) -> u64 {
        match self.queue(topic).filter(|queue| queue.since == position.since) {
            Some(queue) => queue.evicted.saturating_sub(position.read),
            None => position.unread,
        }
    }

    fn queue(&self, topic: &Topic) -> Option<&TopicQueue> {
        self.queues.stripe(topic.hash_key()).get(topic)
    }
}

impl TopicQueue {
    fn evict_oldest(&mut self) -> Option<Arc<StoredEvent>> {
        let oldest = self.events.pop_front()?;
        self.evicted_through = oldest.seq;
        self.evicted += 1;
        Some(oldest)
    }

    fn shrink(&mut self) {
        if self.events.capacity() > SHRINK_ABOVE && self.events.len() < self.events.capacity() / 4 {
            self.events.shrink_to(self.events.len() * 2);
        }
    }
}

fn bytes(topic: &Topic) -> u64 {
    TOPIC_BYTES + topic.as_str().len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_that_evicted_most_of_its_events_shrinks() {
        let mut index = TopicIndex::new(usize::MAX, 0);
        let topic = Topic::new("a").unwrap();
        for seq in 1..=10_000 {
            let event = StoredEvent {
                seq: Seq(seq),
                appended_at: 0,
                id: None,
                wire: bytes::Bytes::new(),
                topics: index.intern(std::slice::from_ref(&topic), Seq(seq)),
            };
            assert!(index.push(&topic, &Arc::new(event)).is_none());
        }
        (1..10_000).for_each(|seq| index.evict(&topic, Seq(seq)));
        assert_eq!(index.after(&topic, Seq(0)).count(), 1);
        assert!(index.queue(&topic).unwrap().events.capacity() <= SHRINK_ABOVE);
    }
}
