//! Groups: sets of streams with topics and a publisher of their own.
//!
//! Most scenarios have one. `--small-streams` adds the small topic, `--topics-per-stream` the
//! streams with many topics; the first group is then the one they are compared with.

use serde::{Deserialize, Serialize};

use super::definition::{EventIn, Scenario};

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
    /// If each stream has many topics.
    many: Option<Many>,
}

/// The topics of streams with many topics. They share one stamped topic: every stream receives
/// every event of the group.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Many {
    first: u32,
    count: u32,
    event_in: EventIn,
}

impl TopicNames {
    fn name(&self, index: u32) -> String {
        topic_name(&self.prefix, index, self.total)
    }

    /// Fills in `{topic}` and `{topics}` of a subscription to topic `topic`.
    pub(crate) fn fill_subscription(&self, text: &str, topic: u32) -> String {
        match self.many {
            None => self.fill(text, &[topic]),
            Some(Many { first, count, .. }) => {
                self.fill(text, &(first..first + count).collect::<Vec<_>>())
            }
        }
    }

    /// Fills in `{topic}` and `{topics}` of event `number` of topic `topic`.
    pub(crate) fn fill_event(&self, text: &str, topic: u32, number: u64) -> String {
        match self.many {
            None => self.fill(text, &[topic]),
            Some(Many { first, count, event_in: EventIn::One }) => {
                self.fill(text, &[first + (number % u64::from(count)) as u32])
            }
            Some(_) => self.fill_subscription(text, topic),
        }
    }

    fn fill(&self, text: &str, topics: &[u32]) -> String {
        let mut text = text.replace("{topic}", &self.name(topics[0]));
        if text.contains("{topics}") {
            let fields: Vec<String> =
                topics.iter().map(|&topic| format!("topic={}", self.name(topic))).collect();
            text = text.replace("{topics}", &fields.join("&"));
        }
        text
    }
}

/// The name of topic `index` of `topics`: the bare prefix if there is only one.
fn topic_name(prefix: &str, index: u32, topics: u32) -> String {
    if topics == 1 { prefix.to_owned() } else { format!("{prefix}-{index}") }
}

impl Scenario {
    /// The groups in the order in which they are opened.
    pub(crate) fn groups(&self) -> Vec<Group> {
        let (small, many) = (self.small_streams > 0, self.topics_per_stream);
        let total = self.topics + u32::from(small) + many;
        let names = |many| TopicNames { prefix: self.topic.clone(), total, many };
        let mut groups = vec![Group {
            first: 0,
            streams: self.streams,
            first_topic: 0,
            topics: self.topics,
            names: names(None),
        }];
        let second =
            Group { first: self.streams, first_topic: self.topics, topics: 1, ..groups[0].clone() };
        if small {
            groups.push(Group { streams: self.small_streams, ..second });
        } else if many > 0 {
            let many = Many { first: self.topics, count: many, event_in: self.event_in };
            groups.push(Group { names: names(Some(many)), ..second });
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
        assert_eq!(groups[0].names.fill_event("{topics}&data=", 0, 9), "topic=t&data=");
    }

    #[test]
    fn the_small_topic_comes_after_the_large_ones() {
        let fair =
            Scenario { topic: "t".into(), topics: 3, small_streams: 2, ..Scenario::default() };
        let groups = fair.groups();
        assert_eq!((groups[1].first, groups[1].streams), (fair.streams, 2));
        assert_eq!((groups[1].first_topic, fair.stamped_topics()), (3, 4));
        assert_eq!(groups[1].names.fill_event("{topic}", 3, 0), "t-3");
        assert_eq!(groups[0].names.fill_subscription("{topic}", 2), "t-2");
    }

    #[test]
    fn events_to_many_topics_go_to_one_in_turn_or_to_all() {
        let scenario = |event_in| {
            let topic = "t".into();
            Scenario { topic, topics_per_stream: 3, event_in, ..Scenario::default() }
        };
        let one = &scenario(EventIn::One).groups()[1].names;
        assert_eq!(one.fill_subscription("{topics}", 1), "topic=t-1&topic=t-2&topic=t-3");
        assert_eq!(
            [0, 2, 3].map(|n| one.fill_event("{topics}", 1, n)),
            ["topic=t-1", "topic=t-3", "topic=t-1"]
        );
        let all = &scenario(EventIn::All).groups()[1].names;
        assert_eq!(all.fill_event("{topics}", 1, 7), "topic=t-1&topic=t-2&topic=t-3");
    }
}
