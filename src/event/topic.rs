//! Topics, topic selectors, and hash maps keyed by topic that reuse a precomputed hash.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher, RandomState};
use std::sync::{Arc, LazyLock};

/// The name that events are published to: a non-empty UTF-8 string without control characters,
/// other than `*`.
///
/// A topic carries the hash of its name, computed once with SipHash under a random key per process,
/// so that publishers can't choose names that collide. Every map on the path of an event reuses it.
/// Cloning only increments a reference count.
#[derive(Clone)]
pub struct Topic {
    hash: u64,
    name: Arc<str>,
}

/// Why a string is not a valid topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// The empty string.
    #[error("a topic can't be empty")]
    Empty,
    /// Contains a control character (C0, C1 or DEL); the code point.
    #[error("a topic can't contain control characters (found U+{0:04X})")]
    Control(u32),
    /// `*`, the selector of every topic.
    #[error("`*` means every topic to a subscriber; an event can't be published to it")]
    Wildcard,
}

static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);

impl Topic {
    /// Validates a name and hashes it.
    ///
    /// # Errors
    ///
    /// [`TopicError`] names the rule that `name` violates.
    pub fn new(name: &str) -> Result<Self, TopicError> {
        match name {
            "" => return Err(TopicError::Empty),
            "*" => return Err(TopicError::Wildcard),
            _ => {}
        }
        if let Some(control) = name.chars().find(|c| c.is_control()) {
            return Err(TopicError::Control(control as u32));
        }
        Ok(Self { hash: KEY.hash_one(name), name: name.into() })
    }

    /// The name as published.
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// The keyed hash of the name; differs between processes.
    pub(crate) fn hash_key(&self) -> u64 {
        self.hash
    }
}

impl PartialEq for Topic {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.name == other.name
    }
}

impl Eq for Topic {}

impl Hash for Topic {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl std::fmt::Debug for Topic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.name.fmt(f)
    }
}

/// Subscription filter: every topic, or one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Selector {
    /// Events of every topic (`*`).
    All,
    /// Events of one topic.
    Topic(Topic),
}

impl Selector {
    /// Parses a selector from a request: `*` or a topic.
    pub(crate) fn parse(text: &str) -> Result<Self, TopicError> {
        if text == "*" { Ok(Self::All) } else { Topic::new(text).map(Self::Topic) }
    }
}

/// Hash map keyed by topic; uses the hash that the topic carries.
pub(crate) type TopicMap<V> = HashMap<Topic, V, BuildHasherDefault<TopicHasher>>;

/// Identity hasher: takes the hash that the key carries.
#[derive(Default)]
pub(crate) struct TopicHasher(u64);

impl Hasher for TopicHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("the key hashes as one u64");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_text_without_control_characters() {
        for name in ["a", "https://example.com/users/1", "日本語", "with space", "*a", " "] {
            assert_eq!(Topic::new(name).unwrap().as_str(), name);
        }
        assert_eq!(Topic::new(""), Err(TopicError::Empty));
        assert_eq!(Topic::new("*"), Err(TopicError::Wildcard));
        for (name, control) in
            [("a\nb", 0x0A), ("\r", 0x0D), ("\0", 0), ("a\u{7f}", 0x7F), ("\u{85}", 0x85)]
        {
            assert_eq!(Topic::new(name), Err(TopicError::Control(control)));
        }
    }

    #[test]
    fn a_topic_map_finds_equal_names() {
        let mut map = TopicMap::default();
        map.insert(Topic::new("a").unwrap(), 1);
        assert_eq!(map.get(&Topic::new("a").unwrap()), Some(&1));
        assert_eq!(map.get(&Topic::new("b").unwrap()), None);
    }
}
