//! What a subscriber asks for: the query of `GET /events`, and `Last-Event-ID`.

use std::collections::HashSet;
use std::hash::BuildHasherDefault;

use super::excerpt::Excerpt;
use super::urlencoded::{NotUtf8, pairs};
use crate::config::Config;
use crate::event::{Position, Selector, Topic, TopicError, TopicHasher};

/// How much one subscriber may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SelectLimits {
    /// Different selectors of one stream (`FANFARE_SELECTORS_MAX`).
    pub selectors: usize,
    /// Bytes of one topic (`FANFARE_TOPIC_BYTES_MAX`).
    pub topic_bytes: usize,
}

impl From<&Config> for SelectLimits {
    fn from(config: &Config) -> Self {
        Self { selectors: config.selectors_max, topic_bytes: config.topic_bytes_max }
    }
}

/// A stream as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscribeRequest {
    /// Never empty, none twice; [`Selector::All`] only ever alone.
    pub selectors: Vec<Selector>,
    /// Where to start.
    pub position: Position,
}

/// Why a stream can't be opened for this query. All of them are 400: asking again would not help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubscribeError {
    /// Percent-encoded bytes that are not text.
    #[error("query parameter `{name}` is not UTF-8 after percent-decoding")]
    NotUtf8 {
        /// The parameter's name, as far as it can be read.
        name: Excerpt,
    },
    /// Passed over, it would silently select every event.
    #[error(
        "unknown query parameter `{name}`; what to subscribe to is named by `topic`, repeated for several"
    )]
    UnknownParameter {
        /// The parameter's name.
        name: Excerpt,
    },
    /// Not a topic, and not `*`.
    #[error("{reason}; `topic` takes the name of a topic, or `*` for every event")]
    Topic {
        /// What is wrong with it.
        reason: TopicError,
    },
    /// A topic that no event can have here.
    #[error("a topic has at most {limit} bytes (FANFARE_TOPIC_BYTES_MAX); this one has {bytes}")]
    TopicTooLong {
        /// Its size.
        bytes: usize,
        /// The largest size taken.
        limit: usize,
    },
    /// More different topics than one stream may have.
    #[error(
        "one stream has at most {limit} topics (FANFARE_SELECTORS_MAX); open another, or subscribe to `*`"
    )]
    TooManySelectors {
        /// The largest number taken.
        limit: usize,
    },
}

impl From<NotUtf8> for SubscribeError {
    fn from(NotUtf8 { name }: NotUtf8) -> Self {
        Self::NotUtf8 { name }
    }
}

/// Reads the query of a subscribe request and its `Last-Event-ID`.
///
/// `topic` is repeatable; without any, the stream has every public event. The position comes from
/// the header, which a reconnecting client keeps up to date, or else from the query, whose last one
/// counts: some clients add theirs to a URL that already has one. Other parameters are passed over
/// (cache busters), unless their name starts like `topic` or `match`: a typo there would silently
/// select everything.
///
/// A header that is not UTF-8 is an unknown id and never refused: a browser would give up for good.
pub fn parse_subscribe(
    query: Option<&str>,
    last_event_id_header: Option<&[u8]>,
    limits: &SelectLimits,
) -> Result<SubscribeRequest, SubscribeError> {
    let mut selection = Selection::new(limits);
    let mut last_event_id = String::new();
    for pair in pairs(query.unwrap_or_default().as_bytes()) {
        let (name, value) = pair?;
        if name == "topic" {
            selection.add(&value)?;
        } else if starts_with(&name, "topic") || starts_with(&name, "match") {
            return Err(SubscribeError::UnknownParameter { name: Excerpt::of(&name) });
        } else if is_last_event_id(&name) && !value.is_empty() {
            last_event_id = value.into_owned();
        }
    }
    let position = match last_event_id_header {
        // U+FFFD is in no id, so what is not UTF-8 names no event.
        Some(id) if !id.is_empty() => Position::parse(&String::from_utf8_lossy(id)),
        _ => Position::parse(&last_event_id),
    };
    Ok(SubscribeRequest { selectors: selection.finish(), position })
}

/// `lastEventID`, `lastEventId`, `last_event_id`, and what else clients spell that way.
fn is_last_event_id(name: &str) -> bool {
    let letters =
        name.bytes().filter(|b| !matches!(b, b'_' | b'-')).map(|b| b.to_ascii_lowercase());
    letters.eq(*b"lasteventid")
}

fn starts_with(name: &str, start: &str) -> bool {
    name.as_bytes()
        .get(..start.len())
        .is_some_and(|head| head.eq_ignore_ascii_case(start.as_bytes()))
}

/// The selectors so far, in the order they were first named.
struct Selection<'a> {
    limits: &'a SelectLimits,
    all: bool,
    topics: Vec<Selector>,
    named: HashSet<Topic, BuildHasherDefault<TopicHasher>>,
}

impl<'a> Selection<'a> {
    fn new(limits: &'a SelectLimits) -> Self {
        Self { limits, all: false, topics: Vec::new(), named: HashSet::default() }
    }

    fn add(&mut self, text: &str) -> Result<(), SubscribeError> {
        let (bytes, limit) = (text.len(), self.limits.topic_bytes);
        if bytes > limit {
            return Err(SubscribeError::TopicTooLong { bytes, limit });
        }
        match Selector::parse(text).map_err(|reason| SubscribeError::Topic { reason })? {
            Selector::All => self.all = true,
            Selector::Topic(topic) if self.named.insert(topic.clone()) => {
                if self.topics.len() == self.limits.selectors {
                    return Err(SubscribeError::TooManySelectors { limit: self.limits.selectors });
                }
                self.topics.push(Selector::Topic(topic));
            }
            Selector::Topic(_) => {}
        }
        Ok(())
    }

    fn finish(self) -> Vec<Selector> {
        if self.all || self.topics.is_empty() { vec![Selector::All] } else { self.topics }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: SelectLimits = SelectLimits { selectors: 3, topic_bytes: 8 };

    fn subscribe(query: &str) -> Result<SubscribeRequest, SubscribeError> {
        parse_subscribe(Some(query), None, &LIMITS)
    }

    fn topics(names: &[&str]) -> Vec<Selector> {
        names.iter().map(|name| Selector::parse(name).unwrap()).collect()
    }

    #[test]
    fn topics_are_kept_in_order_and_once() {
        assert_eq!(subscribe("topic=b&topic=a&topic=b").unwrap().selectors, topics(&["b", "a"]));
        assert_eq!(
            subscribe("topic=a+b&topic=%C3%A9%26").unwrap().selectors,
            topics(&["a b", "é&"])
        );
    }

    #[test]
    fn no_topic_and_a_star_select_everything() {
        for query in ["", "x=1", "topic=*", "topic=a&topic=*&topic=b"] {
            assert_eq!(subscribe(query).unwrap().selectors, [Selector::All], "{query}");
        }
        assert_eq!(parse_subscribe(None, None, &LIMITS).unwrap().selectors, [Selector::All]);
    }

    #[test]
    fn a_name_that_looks_like_a_selector_is_refused_and_others_are_passed_over() {
        for name in
            ["topics", "Topic", "TOPIC", "topic[]", "topic_", "match", "Matches", "matchURLPattern"]
        {
            let refused = subscribe(&format!("{name}=a")).unwrap_err();
            assert_eq!(refused, SubscribeError::UnknownParameter { name: Excerpt::of(name) });
        }
        for query in ["_=1700000000", "atopic=1", "mat=ch", "top=ic", "é=1", "topi%C3%A9=1"] {
            assert_eq!(subscribe(query).unwrap().selectors, [Selector::All], "{query}");
        }
    }

    #[test]
    fn topics_are_checked_and_bounded() {
        assert_eq!(subscribe("topic="), Err(SubscribeError::Topic { reason: TopicError::Empty }));
        assert_eq!(
            subscribe("topic=a%0Ab"),
            Err(SubscribeError::Topic { reason: TopicError::Control(10) })
        );
        assert_eq!(
            subscribe("topic=%FF"),
            Err(SubscribeError::NotUtf8 { name: Excerpt::of("topic") })
        );
        assert!(subscribe("topic=12345678").is_ok());
        assert_eq!(
            subscribe("topic=123456789"),
            Err(SubscribeError::TopicTooLong { bytes: 9, limit: LIMITS.topic_bytes })
        );
        assert!(subscribe("topic=a&topic=b&topic=c&topic=a&topic=*").is_ok());
        let refused = subscribe("topic=a&topic=b&topic=c&topic=d").unwrap_err();
        assert_eq!(refused, SubscribeError::TooManySelectors { limit: LIMITS.selectors });
        assert!(refused.to_string().contains("FANFARE_SELECTORS_MAX"));
    }

    #[test]
    fn the_position_is_in_the_header_or_else_last_in_the_query() {
        let after = |id: &str| Position::After(id.into());
        for (query, header, position) in [
            ("", None, Position::Live),
            ("lastEventID=q", None, after("q")),
            ("lastEventId=q", None, after("q")),
            ("last_event_id=q", None, after("q")),
            ("Last-Event-ID=q", None, after("q")),
            ("lastEventID=old&lastEventId=new&last_event_id=", None, after("new")),
            ("lastEventID=earliest", None, Position::Earliest),
            ("lastEventID=q", Some("h"), after("h")),
            ("lastEventID=q", Some("earliest"), Position::Earliest),
            ("lastEventID=q", Some(""), after("q")),
            ("last=q", None, Position::Live),
        ] {
            let request = parse_subscribe(Some(query), header.map(str::as_bytes), &LIMITS).unwrap();
            assert_eq!(request.position, position, "{query} {header:?}");
        }
    }

    #[test]
    fn a_header_that_is_not_utf_8_is_an_unknown_id() {
        let request = parse_subscribe(Some("lastEventID=q"), Some(b"\xff1"), &LIMITS).unwrap();
        assert_eq!(request.position, Position::After("\u{fffd}1".into()));
    }

    proptest! {
        #[test]
        fn any_query_is_answered_within_the_limits(query in "(topic=|%[0-9A-F]{2}|[a-d*&=]|é){0,30}", id: Vec<u8>) {
            if let Ok(request) = parse_subscribe(Some(&query), Some(&id), &LIMITS) {
                prop_assert!((1..=LIMITS.selectors).contains(&request.selectors.len()));
                prop_assert!(request.selectors == [Selector::All] || !request.selectors.contains(&Selector::All));
            }
        }
    }
}
