//! The mark every event carries: whose run it is, its topic, its number there, and when it was due to be sent.
//!
//! `lt~RRRRRRRR~KKKKKK~NNNNNNNNNN~TTTTTTTTTTTTTTTT~` in hexadecimal. All of its characters are safe in a form, a
//! query, JSON and XML, so it survives whatever wraps it, and its length is fixed, so finding it is one search.

/// Bytes of a whole stamp, and the least `--size`.
pub const STAMP_BYTES: usize = PREFIX_BYTES + 7 + 11 + 17;
const PREFIX_BYTES: usize = 12;

/// What a stamp says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// Which of the run's topics.
    pub topic: u32,
    /// The event's number within its topic, from 0.
    pub number: u64,
    /// When the schedule wanted it sent, on [`clock`](super::clock).
    pub due: u64,
}

/// Event data of `size` bytes that starts with the stamp.
pub fn data(run: u32, stamp: Stamp, size: usize) -> String {
    let Stamp { topic, number, due } = stamp;
    let mut data = format!("lt~{run:08x}~{topic:06x}~{number:010x}~{due:016x}~");
    data.extend(std::iter::repeat_n('x', size.saturating_sub(STAMP_BYTES)));
    data
}

/// Finds the stamps of one run.
pub struct Reader {
    prefix: String,
    finder: memchr::memmem::Finder<'static>,
}

impl Reader {
    /// For the stamps of `run`; those of other runs are not found.
    pub fn new(run: u32) -> Self {
        let prefix = format!("lt~{run:08x}~");
        let finder = memchr::memmem::Finder::new(&prefix).into_owned();
        Self { prefix, finder }
    }

    /// The first stamp in `text`, at its start or wrapped in something.
    pub fn find(&self, text: &[u8]) -> Option<Stamp> {
        let at = if text.starts_with(self.prefix.as_bytes()) { 0 } else { self.finder.find(text)? };
        let fields: &[u8; STAMP_BYTES - PREFIX_BYTES] = text[at + PREFIX_BYTES..].first_chunk()?;
        Some(Stamp {
            topic: hex(&fields[..6])? as u32,
            number: hex(&fields[7..17])?,
            due: hex(&fields[18..34])?,
        })
    }
}

fn hex(digits: &[u8]) -> Option<u64> {
    let mut value = 0;
    for &digit in digits {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        value = value << 4 | u64::from(digit);
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp { topic: 77, number: 123_456_789, due: u64::MAX - 5 };

    #[test]
    fn a_stamp_is_found_bare_and_wrapped() {
        let data = data(9, STAMP, 200);
        assert_eq!(data.len(), 200);
        assert_eq!(Reader::new(9).find(data.as_bytes()), Some(STAMP));
        let wrapped = format!("{{\"channel\":\"a\",\"data\":\"{data}\"}}");
        assert_eq!(Reader::new(9).find(wrapped.as_bytes()), Some(STAMP));
    }

    #[test]
    fn other_runs_and_cut_stamps_are_not_found() {
        let data = data(9, STAMP, 0);
        assert_eq!(data.len(), STAMP_BYTES);
        assert_eq!(Reader::new(8).find(data.as_bytes()), None);
        assert_eq!(Reader::new(9).find(&data.as_bytes()[..STAMP_BYTES - 1]), None);
    }
}
