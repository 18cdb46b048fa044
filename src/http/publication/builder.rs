//! Builder of a [`Publication`] that validates each field when it is set, whatever its source.

use std::borrow::Cow;
use std::collections::HashSet;
use std::hash::BuildHasherDefault;

use super::error::{FieldSource, PublishError};
use crate::config::Config;
use crate::event::{CONTROL_TYPES, EventId, Publication, Topic, TopicHasher};
use crate::http::excerpt::Excerpt;

/// Limits on the topics of one event. The size of the body is checked before it is parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EventLimits {
    /// Most topics a request may name for its event, duplicates included
    /// (`FANFARE_EVENT_TOPICS_MAX`).
    pub(crate) topics: usize,
    /// Longest topic, bytes (`FANFARE_TOPIC_BYTES_MAX`).
    pub(crate) topic_bytes: usize,
}

impl From<&Config> for EventLimits {
    fn from(config: &Config) -> Self {
        Self { topics: config.event_topics_max, topic_bytes: config.topic_bytes_max }
    }
}

/// The fields of an event.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Topic,
    Data,
    Id,
    Type,
    Retry,
}

impl Field {
    fn named(name: &str) -> Option<Self> {
        [Self::Topic, Self::Data, Self::Id, Self::Type, Self::Retry]
            .into_iter()
            .find(|f| f.name() == name)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Topic => "topic",
            Self::Data => "data",
            Self::Id => "id",
            Self::Type => "type",
            Self::Retry => "retry",
        }
    }
}

pub(super) struct PublicationBuilder<'a> {
    limits: &'a EventLimits,
    found_in: FieldSource,
    /// Fields seen so far, one bit each.
    claimed: u8,
    topics: Vec<Topic>,
    /// The same topics, to find duplicates. Empty while there is at most one.
    seen: HashSet<Topic, BuildHasherDefault<TopicHasher>>,
    /// Topics named so far, duplicates included.
    topics_named: usize,
    data: String,
    id: Option<EventId>,
    event_type: Option<Box<str>>,
    retry: Option<u64>,
}

impl<'a> PublicationBuilder<'a> {
    pub(super) fn new(found_in: FieldSource, limits: &'a EventLimits) -> Self {
        Self {
            limits,
            found_in,
            claimed: 0,
            topics: Vec::new(),
            seen: HashSet::default(),
            topics_named: 0,
            data: String::new(),
            id: None,
            event_type: None,
            retry: None,
        }
    }

    pub(super) fn found_in(&self) -> FieldSource {
        self.found_in
    }

    /// Looks up a field by name and records it. An unknown name is an error, and so is a field that
    /// was claimed before and isn't repeatable.
    pub(super) fn claim(&mut self, name: &str) -> Result<Field, PublishError> {
        let found_in = self.found_in;
        let field = Field::named(name)
            .filter(|field| found_in != FieldSource::Query || *field != Field::Data);
        let Some(field) = field else {
            return Err(PublishError::UnknownField { name: Excerpt::of(name), found_in });
        };
        let bit = 1 << field as u8;
        // A JSON object lists its topics in an array instead.
        let repeatable = field == Field::Topic && found_in != FieldSource::Json;
        if self.claimed & bit != 0 && !repeatable {
            return Err(PublishError::RepeatedField { field: field.name(), found_in });
        }
        self.claimed |= bit;
        Ok(field)
    }

    /// Sets a field from text; for `topic`, adds one.
    pub(super) fn set(&mut self, field: Field, text: Cow<'_, str>) -> Result<(), PublishError> {
        match field {
            Field::Topic => self.add_topic(&text)?,
            Field::Data => self.data = text.into_owned(),
            Field::Id => {
                self.id = Some(EventId::new(&text).map_err(|reason| PublishError::Id { reason })?);
            }
            Field::Type => self.event_type = event_type(&text)?,
            Field::Retry => self.retry = Some(retry(&text)?),
        }
        Ok(())
    }

    /// Duplicates are dropped, but count: otherwise a body of nothing but topics would be parsed to
    /// its end.
    fn add_topic(&mut self, name: &str) -> Result<(), PublishError> {
        if self.topics_named == self.limits.topics {
            return Err(PublishError::TooManyTopics { limit: self.limits.topics });
        }
        self.topics_named += 1;
        let (bytes, limit) = (name.len(), self.limits.topic_bytes);
        if bytes > limit {
            return Err(PublishError::TopicTooLong { bytes, limit });
        }
        let topic = Topic::new(name).map_err(|reason| PublishError::Topic { reason })?;
        // Most events have one topic, and those need no set.
        if let [first] = &self.topics[..] {
            self.seen.insert(first.clone());
        }
        if self.topics.is_empty() || self.seen.insert(topic.clone()) {
            self.topics.push(topic);
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Result<Publication, PublishError> {
        if self.topics.is_empty() {
            return Err(PublishError::NoTopic { found_in: self.found_in });
        }
        let Self { topics, data, id, event_type, retry, .. } = self;
        Ok(Publication { topics: topics.into(), data, id, event_type, retry })
    }
}

/// An empty type counts as absent: clients dispatch both as `message` (WHATWG HTML §9.2.6).
fn event_type(text: &str) -> Result<Option<Box<str>>, PublishError> {
    if let Some(control) = text.chars().find(|c| c.is_control()) {
        return Err(PublishError::TypeControl { control: control as u32 });
    }
    if let Some(reserved) = CONTROL_TYPES.into_iter().find(|&reserved| reserved == text) {
        return Err(PublishError::TypeReserved { reserved });
    }
    Ok((!text.is_empty()).then(|| text.into()))
}

/// The digits are checked first because `str::parse` also accepts a sign.
fn retry(text: &str) -> Result<u64, PublishError> {
    let digits = Some(text).filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    let number = digits.and_then(|digits| digits.parse().ok());
    number.ok_or_else(|| PublishError::Retry { value: Excerpt::of(text) })
}
