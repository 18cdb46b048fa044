//! Event ids: what `id:` carries on the wire and `Last-Event-ID` brings back.
//!
//! An id is either ours, `<incarnation>-<seq>`, or the publisher's own. Ours says where to resume
//! without any table; a publisher's is looked up in the history.

use super::Seq;
use super::wire::{U64_DIGITS, decimal};

/// Longest id taken from a publisher, bytes. `Last-Event-ID` comes back in a request head, which is
/// bounded too.
pub const ID_BYTES_MAX: usize = 512;

/// An id that is safe on the wire: printable ASCII without outer spaces. Anything else stops some
/// clients from reconnecting (24 of them were tried).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EventId(Box<str>);

/// Why a string can't be an event's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The empty string would make a client forget its position.
    #[error("an id can't be empty; leave `id` out and the node assigns one")]
    Empty,
    /// Over [`ID_BYTES_MAX`].
    #[error("an id has at most {ID_BYTES_MAX} bytes; this one has {0}")]
    TooLong(usize),
    /// Not printable ASCII, or a space at either end.
    #[error("an id must be printable ASCII (U+0020 to U+007E) without spaces at its ends")]
    NotPrintable,
    /// A word with a meaning of its own.
    #[error("`earliest` and ids that start with `#` are reserved")]
    Reserved,
}

impl EventId {
    /// Checks a publisher's id.
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
        Ok(Self(text.into()))
    }

    /// The id as it stands on the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A log's numbering, drawn anew whenever the numbering starts anew, so that an id from another one
/// is recognised. Eight characters of base 32: 40 bits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Incarnation([u8; 8]);

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

impl Incarnation {
    /// From 40 random bits; the upper 24 are not used.
    pub fn from_bits(bits: u64) -> Self {
        Self(std::array::from_fn(|i| ALPHABET[(bits >> (5 * i)) as usize & 31]))
    }

    /// The eight characters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("the alphabet is ASCII")
    }

    /// The id of the event at `seq` in this numbering.
    pub fn id(&self, seq: Seq) -> String {
        format!("{}-{seq}", self.as_str())
    }

    /// The seq an id names, if it is an id of this numbering. Leading zeros and signs are not ours.
    pub fn seq_of(&self, id: &str) -> Option<Seq> {
        let digits = id.strip_prefix(self.as_str())?.strip_prefix('-')?;
        let canonical = digits == "0"
            || (!digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit()));
        if canonical { digits.parse().ok().map(Seq) } else { None }
    }
}

/// Writes the ids of one numbering one after the other, each into the place of the one before: no
/// allocation, and no formatting machinery, which was a tenth of a batch's instructions.
pub struct OwnIds {
    text: String,
}

impl OwnIds {
    /// The writer of `incarnation`'s ids.
    pub fn new(incarnation: Incarnation) -> Self {
        Self { text: format!("{}-", incarnation.as_str()) }
    }

    /// The id of the event at `seq`; the same as [`Incarnation::id`].
    pub fn id(&mut self, seq: Seq) -> &str {
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

/// Where a subscriber asks to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Position {
    /// From now on.
    Live,
    /// With everything that is kept (`earliest`).
    Earliest,
    /// After the event with this id, whether or not it can be one of ours.
    After(Box<str>),
}

impl Position {
    /// Reads `Last-Event-ID`; an empty one is what a client without an id sends.
    pub fn parse(text: &str) -> Self {
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
    fn ids_written_in_place_are_those_of_the_numbering() {
        let incarnation = Incarnation::from_bits(0x12_3456_789a);
        let mut ids = OwnIds::new(incarnation);
        for seq in [u64::MAX, 0, 9, 10, 1 << 40] {
            assert_eq!(ids.id(Seq(seq)), incarnation.id(Seq(seq)));
        }
    }

    #[test]
    fn an_own_id_names_its_seq_and_no_other_text_does() {
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
