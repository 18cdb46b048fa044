//! Sequence numbers and SSE event ids: the `id:` field, which a client sends back as
//! `Last-Event-ID`.
//!
//! An id is either node-assigned, `<incarnation>-<seq>`, or the publisher's own. A node-assigned id
//! contains the position to resume from; a publisher's id is looked up in the history.

use super::wire::{U64_DIGITS, decimal};

/// Position of an event in the log: strictly increasing, assigned in one place (I2). The first
/// event has seq 1; 0 is the position before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u64);

impl Seq {
    /// The seq that follows this one.
    pub(crate) fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl std::fmt::Display for Seq {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Longest publisher's id in bytes. A client sends it back in a request head, whose size is limited
/// too.
pub const ID_BYTES_MAX: usize = 512;

/// A publisher's id that is safe on the wire: printable ASCII without outer spaces. Any other
/// character breaks reconnection in some of the 24 clients that were tested.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EventId(Box<str>);

/// Why a string is not a valid event id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The empty string, which resets a client's position (WHATWG HTML §9.2.6).
    #[error("an id can't be empty; leave `id` out and the node assigns one")]
    Empty,
    /// More than [`ID_BYTES_MAX`] bytes.
    #[error("an id has at most {ID_BYTES_MAX} bytes; this one has {0}")]
    TooLong(usize),
    /// Not printable ASCII, or a space at either end.
    #[error("an id must be printable ASCII (U+0020 to U+007E) without spaces at its ends")]
    NotPrintable,
    /// An id with a meaning in the protocol.
    #[error("`earliest` and ids that start with `#` are reserved")]
    Reserved,
    /// The form of a node-assigned id, of whatever incarnation: where nodes share a log, an id of
    /// another incarnation can be a position too, and a client must not take one for the other.
    #[error(
        "an id of eight letters or digits, `-` and a number has the form of node-assigned ids; \
         leave `id` out, or use another, such as one with a prefix"
    )]
    NodeAssigned,
}

impl EventId {
    /// Validates a publisher's id.
    ///
    /// # Errors
    ///
    /// [`IdError`] names the rule that `text` violates.
    pub fn new(text: &str) -> Result<Self, IdError> {
        if text.is_empty() {
            return Err(IdError::Empty);
        }
        if text.len() > ID_BYTES_MAX {
            return Err(IdError::TooLong(text.len()));
        }
        if !text.bytes().all(|b| (0x20..=0x7e).contains(&b))
            || text.starts_with(' ')
            || text.ends_with(' ')
        {
            return Err(IdError::NotPrintable);
        }
        if text == "earliest" || text.starts_with('#') {
            return Err(IdError::Reserved);
        }
        if split_node_id(text).is_some() {
            return Err(IdError::NodeAssigned);
        }
        Ok(Self(text.into()))
    }

    /// The id as written on the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Random identifier of a log's sequence, the first part of node-assigned ids. A log that restarts
/// at seq 1 draws a new one, so that ids of an earlier sequence are told apart. Eight characters of
/// base 32: 40 bits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Incarnation([u8; 8]);

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

impl Incarnation {
    /// Encodes the lower 40 bits; the upper 24 are ignored.
    pub fn from_bits(bits: u64) -> Self {
        Self(std::array::from_fn(|i| ALPHABET[(bits >> (5 * i)) as usize & 31]))
    }

    /// The eight characters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("the alphabet is ASCII")
    }

    /// The node-assigned id of the event at `seq`.
    pub fn id(&self, seq: Seq) -> String {
        format!("{}-{seq}", self.as_str())
    }

    /// The seq in a node-assigned id of this incarnation; `None` for any other id.
    pub(crate) fn seq_of(&self, id: &str) -> Option<Seq> {
        split_node_id(id).filter(|(incarnation, _)| incarnation == self).map(|(_, seq)| seq)
    }
}

/// Splits an id of the form of node-assigned ids. Accepts only the canonical form: no capitals, no
/// sign, no leading zeros, a seq of 64 bits.
fn split_node_id(id: &str) -> Option<(Incarnation, Seq)> {
    let (incarnation, digits) = id.split_once('-')?;
    let incarnation: [u8; 8] = incarnation.as_bytes().try_into().ok()?;
    let canonical =
        digits == "0" || (!digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit()));
    if !canonical || !incarnation.iter().all(|letter| ALPHABET.contains(letter)) {
        return None;
    }
    Some((Incarnation(incarnation), Seq(digits.parse().ok()?)))
}

/// Formatter of node-assigned ids that reuses one buffer. It neither allocates nor uses
/// `std::fmt`, which took a tenth of the instructions of a batch.
pub(crate) struct NodeIds {
    text: String,
}

impl NodeIds {
    pub(crate) fn new(incarnation: Incarnation) -> Self {
        Self { text: format!("{}-", incarnation.as_str()) }
    }

    /// Like [`Incarnation::id`]; valid until the next call.
    pub(crate) fn id(&mut self, seq: Seq) -> &str {
        const PREFIX: usize = size_of::<Incarnation>() + 1;
        self.text.truncate(PREFIX);
        let mut digits = [0; U64_DIGITS];
        let digits = std::str::from_utf8(decimal(seq.0, &mut digits)).expect("digits are ASCII");
        self.text.push_str(digits);
        &self.text
    }
}

impl std::fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_str().fmt(f)
    }
}

/// Where a subscriber wants its stream to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Position {
    /// With the next event.
    Live,
    /// With the oldest stored event (`earliest`).
    Earliest,
    /// After the event with this id. The id is not validated.
    After(Box<str>),
}

impl Position {
    /// Parses a `Last-Event-ID`; it is empty if the client has no id.
    pub(crate) fn parse(text: &str) -> Self {
        match text {
            "" => Self::Live,
            "earliest" => Self::Earliest,
            id => Self::After(id.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_printable_ascii_without_outer_spaces() {
        for id in ["1", "a b", "urn:uuid:4a0a", "~", "x#y"] {
            assert_eq!(EventId::new(id).unwrap().as_str(), id);
        }
        assert_eq!(EventId::new(""), Err(IdError::Empty));
        assert_eq!(
            EventId::new(&"x".repeat(ID_BYTES_MAX + 1)),
            Err(IdError::TooLong(ID_BYTES_MAX + 1))
        );
        for id in [" a", "a ", "a\n", "a\0", "é", "\u{7f}"] {
            assert_eq!(EventId::new(id), Err(IdError::NotPrintable), "{id:?}");
        }
        for id in ["earliest", "#1"] {
            assert_eq!(EventId::new(id), Err(IdError::Reserved));
        }
    }

    #[test]
    fn an_id_of_the_form_of_any_incarnation_is_refused() {
        for bits in [0, 7, 0x12_3456_789a, u64::MAX] {
            for seq in [0, 1, 10, u64::MAX] {
                let id = Incarnation::from_bits(bits).id(Seq(seq));
                assert_eq!(EventId::new(&id), Err(IdError::NodeAssigned), "{id}");
            }
        }
        for id in [
            "zzzzzzz-1",
            "zzzzzzzzz-1",
            "zzzzzzzz-",
            "zzzzzzzz-01",
            "zzzzzzzz-+1",
            "zzzzzzzz-1x",
            "zzzzzzzz-18446744073709551616",
            "Zzzzzzzz-1",
            "zzzzzzlz-1",
            "zzzzzzzz1",
            "zzzzzzzz-1-1",
        ] {
            assert_eq!(EventId::new(id).map(|id| id.as_str().to_owned()), Ok(id.to_owned()));
        }
    }

    #[test]
    fn the_formatter_writes_the_ids_of_its_incarnation() {
        let incarnation = Incarnation::from_bits(0x12_3456_789a);
        let mut ids = NodeIds::new(incarnation);
        for seq in [u64::MAX, 0, 9, 10, 1 << 40] {
            assert_eq!(ids.id(Seq(seq)), incarnation.id(Seq(seq)));
        }
    }

    #[test]
    fn only_a_canonical_id_of_the_incarnation_has_a_seq() {
        let incarnation = Incarnation::from_bits(0x12_3456_789a);
        for seq in [0, 1, 10, u64::MAX] {
            assert_eq!(incarnation.seq_of(&incarnation.id(Seq(seq))), Some(Seq(seq)));
        }
        let own = incarnation.as_str();
        for text in [
            format!("{own}-"),
            format!("{own}-01"),
            format!("{own}-+1"),
            format!("{own}1"),
            "x-1".into(),
        ] {
            assert_eq!(incarnation.seq_of(&text), None, "{text}");
        }
        assert_eq!(Incarnation::from_bits(7).seq_of(&incarnation.id(Seq(1))), None);
    }
}
