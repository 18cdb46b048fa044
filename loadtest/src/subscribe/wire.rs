//! Takes a response apart as it arrives: head, chunks, lines, events. Pure; one [`Wire`] per stream.
//!
//! Nothing is copied unless a line straddles two reads (or two chunks). An event without a stamp of this run is a
//! control event, reported by its type.

use memchr::memchr2;

use crate::http;
use crate::measure::stamp::{Reader, Stamp};

/// The longest head or line a server may send.
const LINE_BYTES_MAX: usize = 1 << 20;
/// Distinct event types remembered.
const NAMES_MAX: usize = 250;

/// What was found in the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// The response head, with its status.
    Head(u16),
    /// An event of this run.
    Event(Stamp),
    /// Another event; the index of its type in [`Names`].
    Control(u8),
    /// The response is over.
    End,
}

/// The bytes are not HTTP, or not within the bounds.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed;

/// The types of control events seen by a worker.
pub struct Names(Vec<Vec<u8>>);

impl Default for Names {
    fn default() -> Self {
        Self(vec![b"message".to_vec()])
    }
}

impl Names {
    /// The type's text.
    pub fn text(&self, index: u8) -> String {
        String::from_utf8_lossy(&self.0[usize::from(index)]).into_owned()
    }

    fn index(&mut self, name: &[u8]) -> u8 {
        let known = self.0.iter().position(|known| known == name);
        let index = known.unwrap_or_else(|| {
            if self.0.len() < NAMES_MAX {
                self.0.push(name.to_vec());
            }
            self.0.len() - 1
        });
        index as u8
    }
}

/// What all streams of a worker share while they parse.
pub struct Parser {
    reader: Reader,
    keep_ids: bool,
    /// What the last [`Wire::feed`] found; emptied by whoever looks.
    pub found: Vec<Found>,
    /// Types of control events.
    pub names: Names,
}

impl Parser {
    /// For the stamps of `run`; ids are kept only where streams resume.
    pub fn new(run: u32, keep_ids: bool) -> Self {
        Self { reader: Reader::new(run), keep_ids, found: Vec::new(), names: Names::default() }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Head,
    /// In a chunk's length.
    ChunkSize,
    /// After the length, up to the line's end.
    ChunkExtension,
    /// In a chunk, or a body with a length.
    ChunkData,
    /// The line end after a chunk.
    ChunkEnd,
    /// A body with a length.
    Sized,
    /// A body that lasts as long as the connection.
    UntilClose,
    Over,
}

#[derive(Default)]
struct Ids {
    last: Vec<u8>,
    /// The id of the event being read, if `fresh`.
    next: Vec<u8>,
    fresh: bool,
}

/// One stream's place in its response. Around 80 bytes.
#[derive(Default)]
pub struct Wire {
    left: u64,
    stamp: Stamp,
    #[expect(clippy::box_collection, reason = "a thin pointer: most streams have no partial line")]
    partial: Option<Box<Vec<u8>>>,
    ids: Option<Box<Ids>>,
    phase: Phase,
    /// Index of the current event's type.
    name: u8,
    /// The current event has a stamp.
    stamped: bool,
    /// The current event has data or a type.
    begun: bool,
    /// The last byte was a CR: an LF now belongs to it.
    after_cr: bool,
}

impl Wire {
    /// Ready for a new response; the last id is kept.
    pub fn restart(&mut self) {
        let ids = self.ids.take();
        *self = Self { ids, ..Self::default() };
        if let Some(ids) = &mut self.ids {
            ids.fresh = false;
        }
    }

    /// The id of the last whole event.
    pub fn last_id(&self) -> Option<&[u8]> {
        self.ids.as_ref().map(|ids| ids.last.as_slice()).filter(|id| !id.is_empty())
    }

    /// Takes `bytes` apart into `parser.found`.
    pub fn feed(&mut self, mut bytes: &[u8], parser: &mut Parser) -> Result<(), Malformed> {
        while let Some(&byte) = bytes.first() {
            match self.phase {
                Phase::Head => bytes = self.head(bytes, parser)?,
                Phase::ChunkSize => {
                    bytes = &bytes[1..];
                    self.chunk_size(byte)?;
                }
                Phase::ChunkExtension => match memchr::memchr(b'\n', bytes) {
                    Some(at) => {
                        bytes = &bytes[at + 1..];
                        self.phase = if self.left == 0 { Phase::Over } else { Phase::ChunkData };
                        if self.left == 0 {
                            parser.found.push(Found::End);
                        }
                    }
                    None => return Ok(()),
                },
                Phase::ChunkEnd => {
                    bytes = &bytes[1..];
                    match byte {
                        b'\r' => {}
                        b'\n' => self.phase = Phase::ChunkSize,
                        _ => return Err(Malformed),
                    }
                }
                Phase::ChunkData | Phase::Sized => {
                    let len = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
                    let (body, rest) = bytes.split_at(len);
                    bytes = rest;
                    self.left -= len as u64;
                    self.body(body, parser)?;
                    if self.left == 0 && self.phase == Phase::ChunkData {
                        self.phase = Phase::ChunkEnd;
                    } else if self.left == 0 {
                        self.phase = Phase::Over;
                        parser.found.push(Found::End);
                    }
                }
                Phase::UntilClose => {
                    self.body(bytes, parser)?;
                    return Ok(());
                }
                Phase::Over => return Ok(()),
            }
        }
        Ok(())
    }

    fn chunk_size(&mut self, byte: u8) -> Result<(), Malformed> {
        match char::from(byte).to_digit(16) {
            Some(digit) => self.left = self.left.checked_mul(16).ok_or(Malformed)? + u64::from(digit),
            None if byte == b'\n' => return Err(Malformed),
            None => self.phase = Phase::ChunkExtension,
        }
        Ok(())
    }

    /// Returns what follows the head.
    fn head<'a>(&mut self, bytes: &'a [u8], parser: &mut Parser) -> Result<&'a [u8], Malformed> {
        let before = self.partial.take();
        let had = before.as_ref().map_or(0, |before| before.len());
        let mut joined = before;
        let whole: &[u8] = match &mut joined {
            Some(joined) => {
                joined.extend_from_slice(bytes);
                joined
            }
            None => bytes,
        };
        let Some(len) = http::head_len(whole) else {
            if whole.len() > LINE_BYTES_MAX {
                return Err(Malformed);
            }
            self.partial = Some(joined.unwrap_or_else(|| Box::new(bytes.to_vec())));
            return Ok(&[]);
        };
        let head = &whole[..len];
        let status = http::status(head).ok_or(Malformed)?;
        let rest = &bytes[len - had..];
        if (100..200).contains(&status) {
            return Ok(rest);
        }
        let length = http::header(head, "content-length").and_then(http::number);
        if http::header(head, "transfer-encoding").is_some_and(|value| http::has_token(value, "chunked")) {
            self.phase = Phase::ChunkSize;
        } else if let Some(length) = length {
            self.left = length as u64;
            self.phase = if length == 0 { Phase::Over } else { Phase::Sized };
        } else {
            self.phase = Phase::UntilClose;
        }
        parser.found.push(Found::Head(status));
        if self.phase == Phase::Over {
            parser.found.push(Found::End);
        }
        Ok(rest)
    }

    fn body(&mut self, mut body: &[u8], parser: &mut Parser) -> Result<(), Malformed> {
        while !body.is_empty() {
            if std::mem::take(&mut self.after_cr) && body[0] == b'\n' {
                body = &body[1..];
                continue;
            }
            let Some(end) = memchr2(b'\n', b'\r', body) else {
                let partial = self.partial.get_or_insert_default();
                partial.extend_from_slice(body);
                return if partial.len() > LINE_BYTES_MAX { Err(Malformed) } else { Ok(()) };
            };
            self.after_cr = body[end] == b'\r';
            match self.partial.take() {
                None => self.line(&body[..end], parser),
                Some(mut line) => {
                    line.extend_from_slice(&body[..end]);
                    self.line(&line, parser);
                }
            }
            body = &body[end + 1..];
        }
        Ok(())
    }

    fn line(&mut self, line: &[u8], parser: &mut Parser) {
        if line.is_empty() {
            self.dispatch(parser);
        } else if let Some(value) = field(line, b"data") {
            self.begun = true;
            if !self.stamped
                && let Some(stamp) = parser.reader.find(value)
            {
                self.stamp = stamp;
                self.stamped = true;
            }
        } else if let Some(value) = field(line, b"event") {
            self.begun = true;
            self.name = parser.names.index(value);
        } else if parser.keep_ids
            && let Some(value) = field(line, b"id")
        {
            let ids = self.ids.get_or_insert_default();
            ids.next.clear();
            ids.next.extend_from_slice(value);
            ids.fresh = true;
        }
    }

    fn dispatch(&mut self, parser: &mut Parser) {
        if let Some(ids) = &mut self.ids
            && std::mem::take(&mut ids.fresh)
        {
            std::mem::swap(&mut ids.last, &mut ids.next);
        }
        if self.stamped {
            parser.found.push(Found::Event(self.stamp));
        } else if self.begun {
            parser.found.push(Found::Control(self.name));
        }
        (self.stamped, self.begun, self.name) = (false, false, 0);
    }
}

/// The value of field `name` if `line` is one.
fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let rest = line.strip_prefix(name)?;
    match rest {
        [] => Some(rest),
        [b':', b' ', value @ ..] | [b':', value @ ..] => Some(value),
        _ => None,
    }
}
