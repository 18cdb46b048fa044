//! Incremental decoder of an event stream (`text/event-stream`, WHATWG HTML section 9.2).
//!
//! Nothing is copied unless a line straddles two reads (or two chunks). An event without a stamp of
//! this run is a control event, reported by its type. Lines end in CR, LF or both.

use memchr::memchr2;

use crate::http::Malformed;
use crate::measure::stamp::{Stamp, StampFinder};

/// The longest response head or line accepted.
pub(super) const LINE_BYTES_MAX: usize = 1 << 20;
/// Distinct event types counted; further ones count as the last.
const TYPES_MAX: usize = 250;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// A response head, with its status.
    Head(u16),
    /// An event of this run.
    Event(Stamp),
    /// An event of this run whose id is not above that of the event before.
    LateEvent(Stamp),
    /// Any other event; the index of its type in [`EventTypes`].
    Control(u8),
    /// The end of the response.
    End,
}

/// The types of control events seen so far.
pub(super) struct EventTypes(Vec<Vec<u8>>);

impl Default for EventTypes {
    fn default() -> Self {
        Self(vec![b"message".to_vec()])
    }
}

impl EventTypes {
    pub(super) fn name(&self, index: u8) -> &[u8] {
        &self.0[usize::from(index)]
    }

    fn index(&mut self, name: &[u8]) -> u8 {
        let known = self.0.iter().position(|known| known == name);
        let index = known.unwrap_or_else(|| {
            if self.0.len() < TYPES_MAX {
                self.0.push(name.to_vec());
            }
            self.0.len() - 1
        });
        index as u8
    }
}

/// Decoder state that all streams of a worker share.
pub(super) struct DecodeContext {
    finder: StampFinder,
    keep_ids: bool,
    check_ids: bool,
    /// Output of the decoder; the caller drains it.
    pub(super) items: Vec<Item>,
    pub(super) types: EventTypes,
}

impl DecodeContext {
    /// `resume` makes the decoders remember the last event id. `check_ids` makes them compare ids
    /// that end in a number, which servers count up: the order of several publishers' events.
    pub(super) fn new(run_id: u32, resume: bool, check_ids: bool) -> Self {
        Self {
            finder: StampFinder::new(run_id),
            keep_ids: resume || check_ids,
            check_ids,
            items: Vec::new(),
            types: EventTypes::default(),
        }
    }
}

#[derive(Default)]
struct Ids {
    last: Vec<u8>,
    /// The id of the current event, if `has_pending`.
    pending: Vec<u8>,
    has_pending: bool,
}

#[derive(Default)]
pub(super) struct SseDecoder {
    stamp: Stamp,
    /// An incomplete line (or response head).
    #[expect(clippy::box_collection, reason = "a thin pointer: most streams have no partial line")]
    pub(super) partial: Option<Box<Vec<u8>>>,
    ids: Option<Box<Ids>>,
    /// Index of the current event's type.
    event_type: u8,
    /// The current event has a stamp.
    has_stamp: bool,
    /// The current event has data or a type.
    has_fields: bool,
    /// The last byte was a CR: a following LF belongs to it.
    after_cr: bool,
}

impl SseDecoder {
    /// Resets the decoder for a new response; the last id is kept.
    pub(super) fn restart(&mut self) {
        let ids = self.ids.take();
        *self = Self { ids, ..Self::default() };
        if let Some(ids) = &mut self.ids {
            ids.has_pending = false;
        }
    }

    /// The id of the last complete event.
    pub(super) fn last_id(&self) -> Option<&[u8]> {
        self.ids.as_ref().map(|ids| ids.last.as_slice()).filter(|id| !id.is_empty())
    }

    /// Decodes the next bytes of the body.
    pub(super) fn feed(
        &mut self,
        mut body: &[u8],
        context: &mut DecodeContext,
    ) -> Result<(), Malformed> {
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
                None => self.line(&body[..end], context),
                Some(mut line) => {
                    line.extend_from_slice(&body[..end]);
                    self.line(&line, context);
                }
            }
            body = &body[end + 1..];
        }
        Ok(())
    }

    fn line(&mut self, line: &[u8], context: &mut DecodeContext) {
        if line.is_empty() {
            self.dispatch(context);
        } else if let Some(value) = field(line, b"data") {
            self.has_fields = true;
            if !self.has_stamp
                && let Some(stamp) = context.finder.find(value)
            {
                self.stamp = stamp;
                self.has_stamp = true;
            }
        } else if let Some(value) = field(line, b"event") {
            self.has_fields = true;
            self.event_type = context.types.index(value);
        } else if context.keep_ids
            && let Some(value) = field(line, b"id")
        {
            let ids = self.ids.get_or_insert_default();
            ids.pending.clear();
            ids.pending.extend_from_slice(value);
            ids.has_pending = true;
        }
    }

    fn dispatch(&mut self, context: &mut DecodeContext) {
        let mut is_late = false;
        if let Some(ids) = &mut self.ids
            && std::mem::take(&mut ids.has_pending)
        {
            is_late = context.check_ids && is_not_above(&ids.pending, &ids.last);
            std::mem::swap(&mut ids.last, &mut ids.pending);
        }
        if self.has_stamp && is_late {
            context.items.push(Item::LateEvent(self.stamp));
        } else if self.has_stamp {
            context.items.push(Item::Event(self.stamp));
        } else if self.has_fields {
            context.items.push(Item::Control(self.event_type));
        }
        (self.has_stamp, self.has_fields, self.event_type) = (false, false, 0);
    }
}

/// True if both ids end in a number behind the same text, and that of `id` is not the higher one.
fn is_not_above(id: &[u8], last: &[u8]) -> bool {
    let split = |id: &[u8]| {
        let digits = id.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
        id.len() - digits
    };
    let ((text, number), (last_text, last_number)) =
        (id.split_at(split(id)), last.split_at(split(last)));
    let parse = |digits: &[u8]| std::str::from_utf8(digits).ok()?.parse::<u64>().ok();
    text == last_text && parse(number).zip(parse(last_number)).is_some_and(|(id, last)| id <= last)
}

/// The value of `line` if its field is `name`.
fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let rest = line.strip_prefix(name)?;
    match rest {
        [] => Some(rest),
        [b':', b' ', value @ ..] | [b':', value @ ..] => Some(value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_compared_by_the_number_they_end_in() {
        for (id, last, expected) in [
            ("n-10", "n-9", false),
            ("n-9", "n-10", true),
            ("n-9", "n-9", true),
            ("8", "9", true),
            ("m-8", "n-9", false),
            ("n-8", "", false),
            ("mine", "n-9", false),
            ("mine", "mine", false),
        ] {
            assert_eq!(is_not_above(id.as_bytes(), last.as_bytes()), expected, "{id} after {last}");
        }
    }
}
