//! Groups a batch's events by topic, so that each ring is looked up and published to once per
//! batch.

use crate::event::{Topic, TopicMap};

/// Scratch tables, reused from batch to batch.
#[derive(Default)]
pub(super) struct Router {
    groups: Vec<Group>,
    used: usize,
    index: TopicMap<usize>,
}

struct Group {
    topic: Topic,
    /// Indices into the batch, ascending.
    events: Vec<u32>,
}

/// Groups kept for the next batch; more are freed.
const GROUPS_KEPT: usize = 1024;

/// Events for which a group keeps room.
const EVENTS_KEPT: usize = 64;

impl Router {
    /// Adds event `event` of the batch; events come in order.
    pub(super) fn add(&mut self, topics: &[Topic], event: u32) {
        for topic in topics {
            // Not `entry`: it would take a reference to the name for every event, not once per
            // topic.
            match self.index.get(topic) {
                Some(&at) => self.groups[at].events.push(event),
                None => self.open(topic, event),
            }
        }
    }

    fn open(&mut self, topic: &Topic, event: u32) {
        match self.groups.get_mut(self.used) {
            Some(group) => {
                group.topic = topic.clone();
                group.events.clear();
                group.events.push(event);
            }
            None => self.groups.push(Group { topic: topic.clone(), events: vec![event] }),
        }
        self.index.insert(topic.clone(), self.used);
        self.used += 1;
    }

    /// Each topic with its events, in the order of first appearance.
    pub(super) fn groups(&self) -> impl Iterator<Item = (&Topic, &[u32])> {
        self.groups[..self.used].iter().map(|group| (&group.topic, &*group.events))
    }

    /// Clears the tables for the next batch.
    pub(super) fn clear(&mut self) {
        for group in &mut self.groups[..self.used] {
            group.events.clear();
            group.events.shrink_to(EVENTS_KEPT);
        }
        self.used = 0;
        self.index.clear();
        if self.groups.len() > GROUPS_KEPT {
            self.groups.truncate(GROUPS_KEPT);
            self.groups.shrink_to(GROUPS_KEPT);
            self.index.shrink_to(GROUPS_KEPT);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(name: &str) -> Topic {
        Topic::new(name).unwrap()
    }

    #[test]
    fn events_are_grouped_by_topic_and_nothing_is_left_for_the_next_batch() {
        let mut router = Router::default();
        router.add(&[topic("a"), topic("b")], 0);
        router.add(&[topic("b")], 1);
        router.add(&[topic("a")], 2);
        let seen: Vec<_> =
            router.groups().map(|(t, e)| (t.as_str().to_owned(), e.to_vec())).collect();
        assert_eq!(seen, [("a".to_owned(), vec![0, 2]), ("b".to_owned(), vec![0, 1])]);
        router.clear();
        router.add(&[topic("b")], 0);
        let seen: Vec<_> =
            router.groups().map(|(t, e)| (t.as_str().to_owned(), e.to_vec())).collect();
        assert_eq!(seen, [("b".to_owned(), vec![0])]);
    }

    #[test]
    fn a_large_batch_leaves_little_memory_behind() {
        let mut router = Router::default();
        for event in 0..100_000 {
            router.add(&[topic("busy"), topic(&format!("{}", event % 5000))], event);
        }
        router.clear();
        let events: usize = router.groups.iter().map(|group| group.events.capacity()).sum();
        assert!(events <= GROUPS_KEPT * EVENTS_KEPT, "{events}");
        assert!(router.groups.capacity() <= GROUPS_KEPT, "{}", router.groups.capacity());
        assert!(router.index.capacity() <= 2 * GROUPS_KEPT, "{}", router.index.capacity());
    }
}
