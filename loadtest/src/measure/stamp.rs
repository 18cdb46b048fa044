//! The stamp in every event's data: the run's id, the publisher, the topic, the event's number
//! within publisher and topic, and the scheduled send time.
//!
//! `lt~RRRRRRRR~PPKKKKKKNNNNNNNNTTTTTTTTTTTTTTTT~` in hexadecimal. All of its characters are safe
//! in a form, a query, JSON and XML, so it survives any wrapping. Its length is fixed, so finding
//! it is one search; its fields are multiples of eight digits, so decoding one is a handful of
//! instructions. That matters because the tool shares processors with the server it measures.

/// Length of a stamp, and the minimum of `--size`.
pub(crate) const STAMP_BYTES: usize = PREFIX_BYTES + 32 + 1;
const PREFIX_BYTES: usize = 12;
const TOPIC_BITS: u32 = 24;
/// Publishers that stamps tell apart.
pub(crate) const PUBLISHERS_MAX: u32 = 1 << (u32::BITS - TOPIC_BITS);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Index of the topic, below 2²⁴.
    pub(crate) topic: u32,
    /// The connection that sends it, if the run tells them apart: a server orders the events of one
    /// connection, but not those of several.
    pub(crate) publisher: u8,
    /// The event's number within its topic and publisher, from 0, below 2³².
    pub(crate) number: u64,
    /// The scheduled send time on [`clock`](super::clock).
    pub(crate) due: u64,
}

/// The events of one publisher to one topic are a lane: a server keeps their order.
pub(crate) fn lane(topic: u32, publisher: u8, publishers: u32) -> u32 {
    topic * publishers + u32::from(publisher)
}

/// Event data of `size` bytes that starts with the stamp.
pub(crate) fn data(run: u32, stamp: Stamp, size: usize) -> String {
    let Stamp { topic, publisher, number, due } = stamp;
    let topic = u32::from(publisher) << TOPIC_BITS | topic;
    let mut data = format!("lt~{run:08x}~{topic:08x}{:08x}{due:016x}~", number as u32);
    data.extend(std::iter::repeat_n('x', size.saturating_sub(STAMP_BYTES)));
    data
}

/// Finds the stamps of one run; those of other runs are ignored.
pub(crate) struct StampFinder {
    prefix: String,
    finder: memchr::memmem::Finder<'static>,
}

impl StampFinder {
    pub(crate) fn new(run: u32) -> Self {
        let prefix = format!("lt~{run:08x}~");
        let finder = memchr::memmem::Finder::new(&prefix).into_owned();
        Self { prefix, finder }
    }

    /// The first stamp in `text`.
    pub(crate) fn find(&self, text: &[u8]) -> Option<Stamp> {
        let at =
            if text.starts_with(self.prefix.as_bytes()) { 0 } else { self.finder.find(text)? };
        let (fields, rest) = text[at + PREFIX_BYTES..].split_first_chunk::<32>()?;
        if rest.first() != Some(&b'~') {
            return None;
        }
        let (fields, _) = fields.as_chunks::<8>();
        let topic = hex(fields[0]) as u32;
        Some(Stamp {
            topic: topic & ((1 << TOPIC_BITS) - 1),
            publisher: (topic >> TOPIC_BITS) as u8,
            number: hex(fields[1]),
            due: hex(fields[2]) << 32 | hex(fields[3]),
        })
    }
}

/// Decodes eight lower-case hexadecimal digits at once (SIMD within a register). Other characters
/// decode to garbage without a panic; text behind the prefix of this run was written by [`data`].
fn hex(digits: [u8; 8]) -> u64 {
    let text = u64::from_be_bytes(digits);
    // A letter has bit 6 set and its low nibble counts from 1.
    let letters = (text >> 6) & 0x0101_0101_0101_0101;
    let nibbles = (text & 0x0f0f_0f0f_0f0f_0f0f) + letters * 9;
    let bytes = (nibbles | nibbles >> 4) & 0x00ff_00ff_00ff_00ff;
    let pairs = (bytes | bytes >> 8) & 0x0000_ffff_0000_ffff;
    (pairs | pairs >> 16) & 0x0000_0000_ffff_ffff
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp =
        Stamp { topic: 0xab_cdef, publisher: 254, number: 123_456_789, due: u64::MAX - 5 };

    #[test]
    fn a_stamp_is_found_bare_and_wrapped() {
        let data = data(9, STAMP, 200);
        assert_eq!(data.len(), 200);
        assert_eq!(StampFinder::new(9).find(data.as_bytes()), Some(STAMP));
        let wrapped = format!("{{\"channel\":\"a\",\"data\":\"{data}\"}}");
        assert_eq!(StampFinder::new(9).find(wrapped.as_bytes()), Some(STAMP));
    }

    #[test]
    fn every_digit_is_decoded_in_every_place() {
        for value in (0..32).flat_map(|place| (0..16).map(move |digit| digit << (place % 8 * 4))) {
            let digits = format!("{value:08x}").into_bytes();
            assert_eq!(hex(digits.try_into().expect("eight")), value);
        }
    }

    #[test]
    fn stamps_of_other_runs_and_truncated_ones_are_not_found() {
        let data = data(9, STAMP, 0);
        assert_eq!(data.len(), STAMP_BYTES);
        assert_eq!(StampFinder::new(8).find(data.as_bytes()), None);
        assert_eq!(StampFinder::new(9).find(&data.as_bytes()[..STAMP_BYTES - 1]), None);
    }
}
