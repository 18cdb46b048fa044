//! A client as a browser's `EventSource` behaves, which checks what it receives.
//!
//! It remembers the id of the last event and sends it back when it reconnects. What it checks holds
//! over all of its connections: every event that it selects was received once and in order, or the
//! node has said that it is missing.

use std::io::{ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::rc::Weak;

use tokio::time::Instant;

use super::finding::{Findings, Kind};
use super::model::{Model, Topics};
use super::transcript::{Frame, first_frame};
use crate::conn::{Conn, Stage};
use crate::event::Selector;

pub(super) struct Client {
    pub(super) name: usize,
    pub(super) selected: Topics,
    pub(super) selectors: Vec<Selector>,
    /// Bytes that it reads at a time, with pauses. `None`: all there is, whenever it can; it is as
    /// fast as it is written to.
    pub(super) pace: Option<u64>,
    /// Until when it reads nothing.
    pub(super) idle_until: Instant,
    /// When it connects, if it is not connected.
    pub(super) connects_at: Instant,
    pub(super) connection: Option<Connection>,
    pub(super) last_id: Option<String>,
    /// Every selected event up to this seq was received, or is known to be missing.
    pub(super) position: u64,
}

/// One connection of a client.
pub(super) struct Connection {
    pub(super) peer: UnixStream,
    pub(super) conn: Weak<Conn>,
    pub(super) opened: Instant,
    /// Received, and not a whole chunk yet.
    pub(super) buffer: Vec<u8>,
    /// Whether it began with the next event, so that all it needs comes by the rings.
    pub(super) live: bool,
    /// The reason of the reset that must come first, and has not.
    pub(super) reset: Option<&'static str>,
    pub(super) told: Told,
    /// Whether an event has come that ends the stream: `lagged` or `shutdown`.
    pub(super) farewell: bool,
    /// Whether the last chunk has come.
    pub(super) complete: bool,
}

/// What was missing when a connection was opened, as it was told: everything up to `through` but
/// `stored`.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) through: u64,
    pub(super) stored: Vec<u64>,
}

impl Told {
    fn covers(&self, seq: u64) -> bool {
        seq <= self.through && self.stored.binary_search(&seq).is_err()
    }
}

impl Connection {
    /// Whether the node has closed its end.
    pub(super) fn is_closed(&self) -> bool {
        self.conn.upgrade().is_none_or(|conn| conn.lifecycle.stage() == Stage::Closed)
    }

    /// Reads at most `limit` bytes; `None` if there are none and the node has closed its end.
    pub(super) fn receive(&mut self, limit: u64) -> Option<usize> {
        let start = self.buffer.len();
        match (&self.peer).take(limit).read_to_end(&mut self.buffer) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => None,
            Ok(0) => None,
            _ => Some(self.buffer.len() - start),
        }
    }
}

impl Client {
    /// Takes every whole chunk that has come; returns the number of events.
    pub(super) fn take(&mut self, model: &Model, findings: &mut Findings) -> u64 {
        let Some(mut connection) = self.connection.take() else { return 0 };
        let (buffer, mut at, mut events) = (std::mem::take(&mut connection.buffer), 0, 0);
        while at < buffer.len() {
            let frame = first_frame(&buffer[at..]);
            findings.check(frame.is_ok(), Kind::Framing, || format!("{}: {frame:?}", self.name));
            let Ok(Some((frame, length))) = frame else { break };
            at += length;
            findings.check(!connection.complete, Kind::Framing, || {
                format!("{}: {frame:?} after the last chunk", self.name)
            });
            match frame {
                Frame::Comment => {}
                Frame::End => connection.complete = true,
                Frame::Event { kind, data, id } => {
                    events += 1;
                    self.dispatch((kind, data, id), &mut connection, model, findings);
                }
            }
        }
        connection.buffer = buffer;
        connection.buffer.drain(..at);
        self.connection = Some(connection);
        events
    }

    fn dispatch(
        &mut self,
        (kind, data, id): (&str, &str, Option<&str>),
        connection: &mut Connection,
        model: &Model,
        findings: &mut Findings,
    ) {
        let name = self.name;
        findings.check(!connection.farewell, Kind::Framing, || {
            format!("client {name}: {kind:?} {data} after the event that ends the stream")
        });
        let reason = connection.reset.take();
        let announced = match reason {
            Some(reason) => kind == "reset" && data.contains(&format!("\"{reason}\"")),
            None => kind != "reset",
        };
        findings.check(announced, Kind::Gap, || {
            format!("client {name}: {kind:?} {data} comes where a reset ({reason:?}) belongs")
        });
        connection.farewell = matches!(kind, "lagged" | "shutdown");
        let seq = match kind {
            // The data of a publisher's event begins with its seq.
            "" => data.split_once(' ').and_then(|(seq, _)| seq.parse::<u64>().ok()),
            // The stream goes on from where it is.
            "reset" if id.is_none() => return,
            "reset" | "lagged" | "shutdown" => id.and_then(|id| model.seq_of(id)),
            _ => None,
        };
        let Some(seq) = seq.filter(|&seq| seq <= model.last) else {
            return findings.check(false, Kind::Content, || {
                format!("client {name}: event {kind:?} with data {data} and id {id:?}")
            });
        };
        let again = seq < self.position + u64::from(kind.is_empty());
        findings.check(!again, Kind::Order, || {
            format!("client {name}: {kind:?} {seq} after {}", self.position)
        });
        if again {
            return;
        }
        if kind.is_empty() {
            let event = model.event(seq);
            let whole = data.len() == event.bytes && event.topics.meets(self.selected);
            findings.check(whole && id == Some(&model.id(seq)), Kind::Content, || {
                format!("client {name}: event {seq} with id {id:?} and {} bytes", data.len())
            });
        }
        let skipped = seq - u64::from(kind.is_empty());
        let silent = self.missing(&connection.told, skipped, model);
        findings.check(silent.is_none(), Kind::Gap, || {
            format!("client {name}: {kind:?} {seq} after {}, not {silent:?}", self.position)
        });
        self.position = seq;
        self.last_id = id.map(str::to_owned);
    }

    /// The first selected event up to `to` that it has neither received nor been told of.
    pub(super) fn missing(&self, told: &Told, to: u64, model: &Model) -> Option<u64> {
        let mut selected = model.selected(self.selected, self.position + 1..=to);
        selected.find(|&seq| !told.covers(seq))
    }
}
