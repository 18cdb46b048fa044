//! Event stream interpretation (WHATWG HTML §9.2.6), strict where the node promises more than the
//! standard.

/// An event, as a browser would dispatch it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// `message` unless there was an `event:`.
    pub kind: String,
    pub data: String,
    /// The last event ID once it is dispatched.
    pub id: String,
    /// Whether it carries an `id` field.
    pub has_id: bool,
    /// Its `retry` field.
    pub retry: Option<u64>,
}

/// A part of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    Event(Event),
    /// A comment, without the leading colon.
    Comment(String),
    /// A reconnection time.
    Retry(u64),
}

/// Incremental parser of an event stream.
#[derive(Default)]
pub struct Interpreter {
    line: Vec<u8>,
    started: bool,
    after_cr: bool,
    kind: String,
    data: String,
    id: String,
    has_id: bool,
    retry: Option<u64>,
    /// Whether a field of an event has been read, but not yet the blank line that ends it.
    inside: bool,
}

impl Interpreter {
    /// Parses more bytes; returns the items they complete.
    pub fn read(&mut self, bytes: &[u8]) -> Vec<Item> {
        let mut items = Vec::new();
        for &byte in bytes {
            let after_cr = std::mem::replace(&mut self.after_cr, byte == b'\r');
            match byte {
                b'\n' if after_cr => {}
                b'\n' | b'\r' => {
                    let line = std::mem::take(&mut self.line);
                    self.take_line(&line, &mut items);
                }
                _ => self.line.push(byte),
            }
        }
        items
    }

    /// Whether a stream may end here: after a complete line, outside an event.
    pub fn between_events(&self) -> bool {
        self.line.is_empty() && !self.inside
    }

    fn take_line(&mut self, line: &[u8], items: &mut Vec<Item>) {
        let line = std::str::from_utf8(line).expect("a stream is UTF-8");
        let first = !std::mem::replace(&mut self.started, true);
        assert!(!(first && line.starts_with('\u{feff}')), "a stream has no byte-order mark");
        if line.is_empty() {
            items.extend(self.dispatch().map(Item::Event));
            return;
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        if line.starts_with(':') {
            // A comment between events: the `retry` before it belongs to the stream.
            self.retry = self.retry.filter(|_| self.inside);
            items.push(Item::Comment(value.to_owned()));
            return;
        }
        let value = value.strip_prefix(' ').unwrap_or(value);
        // `id` comes last, so that a client that stores it immediately has the rest of the event.
        assert!(!self.has_id, "a field after `id`: {line:?}");
        match name {
            "event" => self.kind = value.to_owned(),
            "data" => {
                self.data.push_str(value);
                self.data.push('\n');
            }
            "id" if !value.contains('\0') => {
                self.id = value.to_owned();
                self.has_id = true;
            }
            "retry" if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) => {
                let retry = value.parse().expect("a reconnection time has 64 bits");
                self.retry = Some(retry);
                items.push(Item::Retry(retry));
            }
            _ => panic!("an unknown field: {line:?}"),
        }
        // `retry` alone belongs to the stream, not to an event.
        self.inside |= name != "retry";
    }

    fn dispatch(&mut self) -> Option<Event> {
        let kind = std::mem::take(&mut self.kind);
        let mut data = std::mem::take(&mut self.data);
        let (has_id, retry) = (std::mem::take(&mut self.has_id), self.retry.take());
        self.inside = false;
        assert_eq!(data.pop(), Some('\n'), "a blank line that dispatches nothing");
        let kind = if kind.is_empty() { "message".to_owned() } else { kind };
        Some(Event { kind, data, id: self.id.clone(), has_id, retry })
    }
}
