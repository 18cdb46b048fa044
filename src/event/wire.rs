//! Server-Sent Events encoder: each event becomes one HTTP/1.1 chunk, encoded once per node (I1).
//!
//! ```text
//! 2b CRLF                    chunk-size, hexadecimal (RFC 9112 §7.1)
//! event: greeting LF         WHATWG HTML §9.2.6 "Interpreting an event stream"
//! retry: 3000 LF
//! data: hello LF             one line per line of data; CR, LF and CRLF each end a line
//! data: world LF
//! id: 4w1nqb7e-42 LF         last: some clients store the id as soon as they read its line
//! LF
//! CRLF
//! ```
//!
//! A slice of a batch is any number of consecutive chunks. A detached stream's socket receives it
//! unchanged; hyper receives the payloads (`split_payload`) and adds its own chunk framing. A slice
//! holds whole events, so a response never ends inside one.
//!
//! Line breaks in `data` can't forge a field, because each line gets its own `data: ` prefix.
//! `event` and `id` can't contain line breaks, because [`EventId`](super::EventId) and the parsers
//! of publications reject control characters.

use bytes::{Buf, Bytes};
use memchr::{memchr_iter, memchr2};

/// The fields of one event in the order they are written; `id` comes last.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fields<'a> {
    /// `event:`; no control characters.
    pub event_type: Option<&'a str>,
    /// `retry:`, in milliseconds.
    pub retry: Option<u64>,
    /// `data:`; any line breaks.
    pub data: &'a str,
    /// `id:`; printable ASCII.
    pub id: Option<&'a str>,
}

/// Keep-alive for idle streams: an SSE comment line as one chunk. No empty line follows it, because
/// several clients dispatch an empty event at every empty line.
pub(crate) const HEARTBEAT: &[u8] = b"2\r\n:\n\r\n";

const EVENT: &[u8] = b"event: ";
const RETRY: &[u8] = b"retry: ";
const DATA: &[u8] = b"data: ";
const ID: &[u8] = b"id: ";
const CRLF: &[u8] = b"\r\n";

impl Fields<'_> {
    /// Appends the event as one chunk.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut digits = [0; U64_DIGITS];
        let retry = self.retry.map(|millis| decimal(millis, &mut digits));
        let breaks = Breaks::find(self.data.as_bytes());
        let size = self.payload_len(retry.map_or(0, <[u8]>::len), &breaks);
        open_chunk(out, size);
        let start = out.len();
        if let Some(event_type) = self.event_type {
            push_field(out, EVENT, event_type.as_bytes());
        }
        if let Some(retry) = retry {
            push_field(out, RETRY, retry);
        }
        push_data(out, self.data.as_bytes(), &breaks);
        if let Some(id) = self.id {
            push_field(out, ID, id.as_bytes());
        }
        out.push(b'\n');
        debug_assert_eq!(out.len() - start, size, "the chunk has the size written before it");
        out.extend_from_slice(CRLF);
    }

    /// The event as a chunk in a buffer of its own.
    pub(crate) fn to_chunk(self) -> Bytes {
        let mut out = Vec::new();
        self.encode(&mut out);
        out.into()
    }

    fn payload_len(&self, retry_digits: usize, breaks: &Breaks) -> usize {
        let field = |name: &[u8], value: usize| name.len() + value + 1;
        self.event_type.map_or(0, |t| field(EVENT, t.len()))
            + self.retry.map_or(0, |_| field(RETRY, retry_digits))
            + (1 + breaks.count) * (DATA.len() + 1)
            + (self.data.len() - breaks.bytes)
            + self.id.map_or(0, |id| field(ID, id.len()))
            + 1
    }
}

/// Appends the first chunk of a stream: the reconnection time and a comment, without an empty line
/// (see [`HEARTBEAT`]).
pub(crate) fn encode_preamble(retry_millis: u64, out: &mut Vec<u8>) {
    let mut digits = [0; U64_DIGITS];
    let retry = decimal(retry_millis, &mut digits);
    open_chunk(out, RETRY.len() + retry.len() + 1 + 2);
    push_field(out, RETRY, retry);
    out.extend_from_slice(b":\n");
    out.extend_from_slice(CRLF);
}

/// Splits the first chunk off a slice and returns its payload without copying; `None` if the slice
/// is empty.
///
/// # Panics
///
/// If the slice was not encoded by this module.
pub(crate) fn split_payload(slice: &mut Bytes) -> Option<Bytes> {
    if slice.is_empty() {
        return None;
    }
    let mut size = 0;
    let mut at = 0;
    while slice[at] != b'\r' {
        size = size << 4
            | (slice[at] as char).to_digit(16).expect("a chunk starts with its size") as usize;
        at += 1;
    }
    slice.advance(at + CRLF.len());
    let payload = slice.split_to(size);
    slice.advance(CRLF.len());
    Some(payload)
}

/// Line breaks in `data`: CR, LF or CRLF.
struct Breaks {
    /// Number of line breaks; there is one more line than that.
    count: usize,
    /// Bytes of all line breaks.
    bytes: usize,
}

impl Breaks {
    /// Most data has no line break, which one search finds out. Otherwise counts CR and LF in one
    /// pass each, whose cost doesn't depend on the number of lines, unlike a search per line.
    fn find(data: &[u8]) -> Self {
        let Some(first) = memchr2(b'\r', b'\n', data) else { return Self { count: 0, bytes: 0 } };
        let data = &data[first..];
        let returns = memchr_iter(b'\r', data).count();
        let bytes = returns + memchr_iter(b'\n', data).count();
        let pairs = match returns {
            0 => 0,
            _ => data.windows(2).filter(|pair| pair == b"\r\n").count(),
        };
        Self { count: bytes - pairs, bytes }
    }
}

fn push_data(out: &mut Vec<u8>, mut data: &[u8], breaks: &Breaks) {
    for _ in 0..breaks.count {
        let at = memchr2(b'\r', b'\n', data).expect("there are `breaks.count` line breaks");
        push_field(out, DATA, &data[..at]);
        let crlf = data[at] == b'\r' && data.get(at + 1) == Some(&b'\n');
        data = &data[at + 1 + usize::from(crlf)..];
    }
    push_field(out, DATA, data);
}

fn push_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// Reserves capacity for the whole chunk and writes its size line.
fn open_chunk(out: &mut Vec<u8>, size: usize) {
    let digits = (usize::BITS - size.leading_zeros()).div_ceil(4) as usize;
    out.reserve(digits + size + 2 * CRLF.len());
    for digit in (0..digits).rev() {
        out.push(b"0123456789abcdef"[size >> (4 * digit) & 15]);
    }
    out.extend_from_slice(CRLF);
}

/// Number of decimal digits of `u64::MAX`.
pub(super) const U64_DIGITS: usize = 20;

/// Formats a number in decimal without allocating; returns the digits, a suffix of `buffer`.
pub(super) fn decimal(mut value: u64, buffer: &mut [u8; U64_DIGITS]) -> &[u8] {
    let mut at = buffer.len();
    loop {
        at -= 1;
        buffer[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            return &buffer[at..];
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option::of;
    use proptest::prelude::*;

    use super::*;

    /// An event as a client dispatches it. [`interpret`] implements WHATWG HTML §9.2.6 and shares
    /// no code with the encoder.
    #[derive(Debug, Default, PartialEq, Eq)]
    struct Dispatched {
        event_type: String,
        data: String,
        last_event_id: String,
        retry: Option<String>,
    }

    fn interpret(stream: &str) -> Vec<Dispatched> {
        let stream = stream.strip_prefix('\u{feff}').unwrap_or(stream);
        let normal = stream.replace("\r\n", "\n").replace('\r', "\n");
        let (mut out, mut now, mut last_id) = (Vec::new(), Dispatched::default(), String::new());
        let mut data: Option<String> = None;
        for line in normal.split_terminator('\n') {
            if line.is_empty() {
                if let Some(mut text) = data.take() {
                    assert_eq!(text.pop(), Some('\n'));
                    now.data = text;
                    now.last_event_id = last_id.clone();
                    out.push(std::mem::take(&mut now));
                }
                now = Dispatched::default();
                continue;
            }
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match name {
                "event" => now.event_type = value.into(),
                "data" => {
                    let text = data.get_or_insert_default();
                    text.push_str(value);
                    text.push('\n');
                }
                "id" if !value.contains('\0') => last_id = value.into(),
                "retry" if value.bytes().all(|b| b.is_ascii_digit()) => {
                    now.retry = Some(value.into())
                }
                _ => {}
            }
        }
        out
    }

    /// Strict decoder of chunked framing (RFC 9112 §7.1).
    fn dechunk(mut framed: &[u8]) -> Vec<Vec<u8>> {
        let mut chunks = Vec::new();
        while !framed.is_empty() {
            let eol = framed
                .windows(2)
                .position(|w| w == b"\r\n")
                .expect("the chunk size ends with CRLF");
            let size =
                usize::from_str_radix(std::str::from_utf8(&framed[..eol]).unwrap(), 16).unwrap();
            assert!(size > 0, "an empty chunk would end the response");
            chunks.push(framed[eol + 2..eol + 2 + size].to_vec());
            assert_eq!(&framed[eol + 2 + size..eol + 4 + size], b"\r\n");
            framed = &framed[eol + 4 + size..];
        }
        chunks
    }

    #[test]
    fn the_id_is_the_last_field() {
        let fields = Fields {
            event_type: Some("greeting"),
            retry: Some(3000),
            data: "hello\nworld",
            id: Some("x-1"),
        };
        let expected = "event: greeting\nretry: 3000\ndata: hello\ndata: world\nid: x-1\n\n";
        assert_eq!(fields.to_chunk(), format!("{:x}\r\n{expected}\r\n", expected.len()));
    }

    #[test]
    fn empty_data_is_one_empty_data_line() {
        assert_eq!(Fields::default().to_chunk(), "8\r\ndata: \n\n\r\n");
    }

    #[test]
    fn preamble_and_heartbeat_dispatch_no_event() {
        let mut out = Vec::new();
        encode_preamble(1234, &mut out);
        out.extend_from_slice(HEARTBEAT);
        Fields { data: "first", ..Fields::default() }.encode(&mut out);
        let text = String::from_utf8(dechunk(&out).concat()).unwrap();
        assert!(text.starts_with("retry: 1234\n:\n:\ndata: first\n"), "{text}");
        assert_eq!(interpret(&text).len(), 1);
    }

    #[test]
    fn a_megabyte_of_line_breaks_round_trips() {
        let data = "\n".repeat(1 << 20);
        let chunk = Fields { data: &data, ..Fields::default() }.to_chunk();
        let text = String::from_utf8(dechunk(&chunk).concat()).unwrap();
        assert_eq!(interpret(&text)[0].data, data);
    }

    fn nasty_text() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            Just("\r".to_owned()),
            Just("\n".to_owned()),
            Just("\r\n".to_owned()),
            Just("\0".to_owned()),
            Just("\u{feff}".to_owned()),
            Just("data: ".to_owned()),
            Just("id: forged".to_owned()),
            Just("event:".to_owned()),
            Just(": ".to_owned()),
            Just("0\r\n\r\n".to_owned()),
            "\\PC{0,12}",
        ];
        vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    type Event = (String, Option<String>, Option<u64>, Option<String>);

    /// Data, event type, retry, id.
    fn event() -> impl Strategy<Value = Event> {
        (nasty_text(), of("[ -~]{1,20}"), of(any::<u64>()), of("[!-~]{1,30}"))
    }

    proptest! {
        #[test]
        fn data_can_not_forge_a_field(events in vec(event(), 1..6)) {
            let mut framed = Vec::new();
            for (data, event_type, retry, id) in &events {
                let (event_type, id) = (event_type.as_deref(), id.as_deref());
                Fields { event_type, retry: *retry, data, id }.encode(&mut framed);
            }
            let chunks = dechunk(&framed);
            prop_assert_eq!(chunks.len(), events.len(), "one chunk per event");

            let mut slice = Bytes::from(framed);
            let payloads = std::iter::from_fn(|| split_payload(&mut slice));
            let payloads: Vec<Vec<u8>> = payloads.map(Into::into).collect();
            prop_assert_eq!(&payloads, &chunks);

            let seen = interpret(std::str::from_utf8(&chunks.concat()).unwrap());
            prop_assert_eq!(seen.len(), events.len());
            let mut last_id = String::new();
            for (seen, (data, event_type, retry, id)) in seen.iter().zip(&events) {
                let lines = data.replace("\r\n", "\n").replace('\r', "\n");
                if let Some(id) = id {
                    last_id.clone_from(id);
                }
                // The space after the colon preserves a leading space of the event type.
                prop_assert_eq!(&seen.event_type, event_type.as_deref().unwrap_or(""));
                prop_assert_eq!(&seen.data, &lines);
                prop_assert_eq!(&seen.last_event_id, &last_id);
                prop_assert_eq!(&seen.retry, &retry.map(|r| r.to_string()));
            }
        }
    }
}
