//! Takes an event stream apart: lines, events, ids. Pure.
//!
//! Nothing is copied unless a line straddles two reads (or two chunks). An event without a stamp of
//! this run is a control event, reported by its type. Lines end in CR, LF or both, as the WHATWG
//! grammar has it.

use memchr::memchr2;

use crate::measure::stamp::{Reader, Stamp};

/// The longest head or line a server may send.
pub const LINE_BYTES_MAX: usize = 1 << 20;
/// Distinct event types remembered; further ones count as the last.
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
    /// What the last `Wire::feed` found; emptied by whoever looks.
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

#[derive(Default)]
struct Ids {
    last: Vec<u8>,
    /// The id of the event being read, if `fresh`.
    next: Vec<u8>,
    fresh: bool,
}

/// A stream's place among its lines and events.
#[derive(Default)]
pub struct Lines {
    stamp: Stamp,
    /// A line (or a head) of which only the beginning was read.
    #[expect(clippy::box_collection, reason = "a thin pointer: most streams have no partial line")]
    pub(super) partial: Option<Box<Vec<u8>>>,
    ids: Option<Box<Ids>>,
    /// Index of the current event's type.
    name: u8,
    /// The current event has a stamp.
    stamped: bool,
    /// The current event has data or a type.
    begun: bool,
    /// The last byte was a CR: an LF now belongs to it.
    after_cr: bool,
}

impl Lines {
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

    /// Takes a piece of the body apart.
    pub fn feed(&mut self, mut body: &[u8], parser: &mut Parser) -> Result<(), Malformed> {
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
