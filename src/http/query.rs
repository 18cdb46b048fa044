//! Subscribe request parser: the query of `GET /events` and the `Last-Event-ID` header.

use std::collections::HashSet;
use std::hash::BuildHasherDefault;

use super::excerpt::Excerpt;
use super::urlencoded::{NotUtf8, pairs};
use crate::config::Config;
use crate::event::{Position, Selector, Topic, TopicError, TopicHasher};

/// Limits on the selectors of one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SelectLimits {
    /// Most distinct topics per stream (`FANFARE_SELECTORS_MAX`).
    pub(crate) selectors: usize,
    /// Longest topic, bytes (`FANFARE_TOPIC_BYTES_MAX`).
    pub(crate) topic_bytes: usize,
}

impl From<&Config> for SelectLimits {
    fn from(config: &Config) -> Self {
        Self { selectors: config.selectors_max, topic_bytes: config.topic_bytes_max }
    }
}

/// A parsed subscribe request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SubscribeRequest {
    /// Not empty, without duplicates; [`Selector::All`] only alone.
    pub(crate) selectors: Vec<Selector>,
    /// Where the stream starts.
    pub(crate) position: Position,
}

/// Why a subscribe request is refused. Every variant is answered 400: a retry would fail again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SubscribeError {
    /// Percent-encoding of invalid UTF-8.
    #[error("query parameter `{name}` is not UTF-8 after percent-decoding")]
    NotUtf8 {
        /// The parameter's name, decoded lossily.
        name: Excerpt,
    },
    /// A probable misspelling of `topic`. If it were ignored, the stream would select every event.
    #[error(
        "unknown query parameter `{name}`; name the topic to subscribe to in `topic`, \
         and repeat it for several topics"
    )]
    UnknownParameter { name: Excerpt },
    /// Neither a valid topic nor `*`.
    #[error("{reason}; `topic` takes the name of a topic, or `*` for every event")]
    Topic { reason: TopicError },
    /// Longer than [`SelectLimits::topic_bytes`], so no event can have this topic.
    #[error("a topic has at most {limit} bytes (FANFARE_TOPIC_BYTES_MAX); this one has {bytes}")]
    TopicTooLong {
        /// Size of the topic.
        bytes: usize,
        /// The limit, bytes.
        limit: usize,
    },
    /// More distinct topics than [`SelectLimits::selectors`].
    #[error(
        "a stream has at most {limit} topics (FANFARE_SELECTORS_MAX); open another stream, \
         or subscribe to `*`"
    )]
    TooManySelectors { limit: usize },
}

impl From<NotUtf8> for SubscribeError {
    fn from(NotUtf8 { name }: NotUtf8) -> Self {
        Self::NotUtf8 { name }
    }
}

/// Parses the query of a subscribe request and its `Last-Event-ID`.
///
/// `topic` is repeatable; without one, the stream selects every event. The position comes from the
/// header, which a reconnecting client keeps up to date, or else from the last `lastEventID`
/// parameter of the query: some clients append theirs to a URL that already has one. Other
/// parameters (cache busters) are ignored, unless their name starts with `topic` or `match` in any
/// case: a misspelling there would silently select every event.
///
/// A header that is not UTF-8 counts as an unknown id. An error would stop an `EventSource` from
/// reconnecting.
///
/// # Errors
///
/// The first error found; see [`SubscribeError`].
pub(crate) fn parse_subscribe(
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
        // No id contains U+FFFD, so invalid UTF-8 matches no event.
        Some(id) if !id.is_empty() => Position::parse(&String::from_utf8_lossy(id)),
        _ => Position::parse(&last_event_id),
    };
    Ok(SubscribeRequest { selectors: selection.finish(), position })
}

/// Matches `lastEventID`, `lastEventId`, `last_event_id` and the other spellings in use.
fn is_last_event_id(name: &str) -> bool {
    let letters =
        name.bytes().filter(|b| !matches!(b, b'_' | b'-')).map(|b| b.to_ascii_lowercase());
    letters.eq(*b"lasteventid")
}

fn starts_with(name: &str, prefix: &str) -> bool {
    let start = name.as_bytes().get(..prefix.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
}

/// Collects selectors without duplicates, in the order they were first named.
struct Selection<'a> {
    limits: &'a SelectLimits,
    all: bool,
    topics: Vec<Selector>,
    seen: HashSet<Topic, BuildHasherDefault<TopicHasher>>,
}

impl<'a> Selection<'a> {
    fn new(limits: &'a SelectLimits) -> Self {
        Self { limits, all: false, topics: Vec::new(), seen: HashSet::default() }
    }

    fn add(&mut self, text: &str) -> Result<(), SubscribeError> {
        let (bytes, limit) = (text.len(), self.limits.topic_bytes);
        if bytes > limit {
            return Err(SubscribeError::TopicTooLong { bytes, limit });
        }
        match Selector::parse(text).map_err(|reason| SubscribeError::Topic { reason })? {
            Selector::All => self.all = true,
            Selector::Topic(topic) if self.seen.insert(topic.clone()) => {
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
    fn topics_keep_their_order_and_duplicates_are_dropped() {
        assert_eq!(subscribe("topic=b&topic=a&topic=b").unwrap().selectors, topics(&["b", "a"]));
        assert_eq!(
            subscribe("topic=a+b&topic=%C3%A9%26").unwrap().selectors,
            topics(&["a b", "é&"])
        );
    }

    #[test]
    fn no_topic_or_a_star_selects_every_event() {
        for query in ["", "x=1", "topic=*", "topic=a&topic=*&topic=b"] {
            assert_eq!(subscribe(query).unwrap().selectors, [Selector::All], "{query}");
        }
        assert_eq!(parse_subscribe(None, None, &LIMITS).unwrap().selectors, [Selector::All]);
    }

    #[test]
    fn misspelled_selectors_are_refused_and_other_parameters_ignored() {
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
    fn topics_are_validated_and_bounded() {
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
    fn the_position_comes_from_the_header_or_else_from_the_end_of_the_query() {
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
        fn the_selectors_of_any_query_are_within_the_limits(
            query in "(topic=|%[0-9A-F]{2}|[a-d*&=]|é){0,30}",
            id: Vec<u8>,
        ) {
            if let Ok(request) = parse_subscribe(Some(&query), Some(&id), &LIMITS) {
                let selectors = request.selectors;
                prop_assert!((1..=LIMITS.selectors).contains(&selectors.len()));
                prop_assert!(selectors == [Selector::All] || !selectors.contains(&Selector::All));
            }
        }
    }
}
