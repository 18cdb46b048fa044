//! Groups: sets of streams with topics and a publisher of their own.
//!
//! Most scenarios have one. `--small-streams` adds the small topic.

use serde::{Deserialize, Serialize};

use super::definition::Scenario;

#[derive(Clone, Debug)]
pub(crate) struct Group {
    /// The number of its first stream among all.
    pub(crate) first: u64,
    pub(crate) streams: u64,
    /// The first of its topics among all, as stamped.
    pub(crate) first_topic: u32,
    /// Topics the streams are spread over, round robin.
    pub(crate) topics: u32,
    pub(crate) names: TopicNames,
}

/// The names of a group's topics.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct TopicNames {
    prefix: String,
    /// Topics of all groups.
    total: u32,
}

impl TopicNames {
    fn name(&self, index: u32) -> String {
        topic_name(&self.prefix, index, self.total)
    }

    /// Fills in `{topic}` and `{topics}` of a subscription to topic `topic`.
    pub(crate) fn fill_subscription(&self, text: &str, topic: u32) -> String {
        self.fill(text, topic)
    }

    /// Fills in `{topic}` and `{topics}` of an event of topic `topic`.
    pub(crate) fn fill_event(&self, text: &str, topic: u32) -> String {
        self.fill(text, topic)
    }

    fn fill(&self, text: &str, topic: u32) -> String {
        text.replace("{topics}", "topic={topic}").replace("{topic}", &self.name(topic))
    }
}

/// The name of topic `index` of `topics`: the bare prefix if there is only one.
fn topic_name(prefix: &str, index: u32, topics: u32) -> String {
    if topics == 1 { prefix.to_owned() } else { format!("{prefix}-{index}") }
}

impl Scenario {
    /// The groups in the order in which they are opened.
    pub(crate) fn groups(&self) -> Vec<Group> {
        let small = self.small_streams > 0;
        let total = self.topics + u32::from(small);
        let mut groups = vec![Group {
            first: 0,
            streams: self.streams,
            first_topic: 0,
            topics: self.topics,
            names: TopicNames { prefix: self.topic.clone(), total },
        }];
        let second =
            Group { first: self.streams, first_topic: self.topics, topics: 1, ..groups[0].clone() };
        if small {
            groups.push(Group { streams: self.small_streams, ..second });
        }
        groups
    }

    /// Streams of all groups.
    pub(crate) fn streams_in_all(&self) -> u64 {
        self.groups().iter().map(|group| group.streams).sum()
    }

    /// Topics as stamped, of all groups.
    pub(crate) fn stamped_topics(&self) -> u32 {
        self.groups().iter().map(|group| group.topics).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_topic_has_the_bare_name() {
        let groups = Scenario { topic: "t".into(), ..Scenario::default() }.groups();
        assert_eq!(groups.len(), 1);
        assert_eq!(groups[0].names.fill_subscription("/e?topic={topic}", 0), "/e?topic=t");
        assert_eq!(groups[0].names.fill_event("{topics}&data=", 0), "topic=t&data=");
    }

    #[test]
    fn the_small_topic_comes_after_the_large_ones() {
        let fair =
            Scenario { topic: "t".into(), topics: 3, small_streams: 2, ..Scenario::default() };
        let groups = fair.groups();
        assert_eq!((groups[1].first, groups[1].streams), (fair.streams, 2));
        assert_eq!((groups[1].first_topic, fair.stamped_topics()), (3, 4));
        assert_eq!(groups[1].names.fill_event("{topic}", 3), "t-3");
        assert_eq!(groups[0].names.fill_subscription("{topic}", 2), "t-2");
    }
}
