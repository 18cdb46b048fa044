//! One write: the bytes that go to one connection in one system call.

use std::rc::Rc;

use bytes::Bytes;
use rustix::io::Errno;

use crate::conn::{Age, Conn};
use crate::event::Chunks;
use crate::session::Next;

/// Writes in one call, at most.
pub(super) const WRITES_MAX: usize = 128;

/// Slices in one write, at most; the others go with the next one.
pub(super) const SLICES_MAX: usize = 64;

/// A write takes no further slice from this many bytes on. About the size of a socket's send
/// buffer: more would not be accepted, and the stream would have to keep it.
const WRITE_BYTES: usize = 64 * 1024;

/// Ends a chunked response (RFC 9112 §7.1).
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

pub(super) struct Write {
    pub(super) conn: Rc<Conn>,
    /// At least one.
    pub(super) slices: WriteSlices,
    /// Length of the slices together.
    pub(super) bytes: usize,
    /// Whether the session may have more at once.
    pub(super) more: bool,
    /// Whether the stream ends with this write.
    pub(super) ends: bool,
    /// The stream's age, if the write begins with what an earlier one left.
    pub(super) age: Option<Age>,
}

/// Slices of batches; nearly always one.
pub(super) enum WriteSlices {
    One(Chunks),
    Many(Vec<Chunks>),
}

/// The bytes the socket accepted, or why none.
pub(super) type WriteResult = Result<usize, Errno>;

impl WriteSlices {
    pub(super) fn as_slice(&self) -> &[Chunks] {
        match self {
            Self::One(slice) => std::slice::from_ref(slice),
            Self::Many(slices) => slices,
        }
    }

    /// What is left after `sent` bytes.
    pub(super) fn rest(&self, mut sent: usize) -> Vec<Chunks> {
        let mut rest = Vec::new();
        for slice in self.as_slice() {
            if sent < slice.len() {
                rest.push(slice.after(sent));
            }
            sent = sent.saturating_sub(slice.len());
        }
        rest
    }
}

/// What a visit to a stream came to.
pub(super) enum Visit {
    Write(Write),
    /// Nothing to send, or the socket accepts nothing.
    Idle,
    /// Nothing to send until the sequencer releases the log; the shard is woken then.
    Later(Rc<Conn>),
}

impl Write {
    /// Takes what a stream has to send.
    pub(super) fn prepare(conn: Rc<Conn>) -> Visit {
        if conn.readiness.is_blocked() {
            return Visit::Idle;
        }
        let mut borrowed = conn.stream().borrow_mut();
        let Some(stream) = borrowed.as_mut() else { return Visit::Idle };
        let mut later = false;
        let (unsent, age) = stream.unsent.take().map(|unsent| unsent.take()).unzip();
        let mut slices = WriteBuilder::from(unsent.unwrap_or_default());
        while slices.has_room() && !stream.ended {
            match stream.session.next_slice(&conn.signals) {
                Next::Slice(slice) => slices.push(slice),
                Next::Wait => break,
                Next::Later => {
                    later = true;
                    break;
                }
                Next::End => {
                    slices.push(Bytes::from_static(LAST_CHUNK).into());
                    stream.ended = true;
                }
            }
        }
        let (more, ends) = (later || !slices.has_room(), stream.ended);
        drop(borrowed);
        match slices.into_write(conn, more, ends) {
            Ok(write) => {
                write.conn.begin_write();
                Visit::Write(Write { age, ..write })
            }
            Err(conn) if later => Visit::Later(conn),
            Err(_) => Visit::Idle,
        }
    }
}

/// Collects the slices of a write, without an allocation while there is one.
enum WriteBuilder {
    None,
    One(Chunks),
    Many(Vec<Chunks>, usize),
}

impl From<Vec<Chunks>> for WriteBuilder {
    fn from(unsent: Vec<Chunks>) -> Self {
        if unsent.is_empty() {
            return Self::None;
        }
        let bytes = unsent.iter().map(|slice| slice.len()).sum();
        Self::Many(unsent, bytes)
    }
}

impl WriteBuilder {
    fn push(&mut self, slice: Chunks) {
        *self = match std::mem::replace(self, Self::None) {
            Self::None => Self::One(slice),
            Self::One(first) => {
                let bytes = first.len() + slice.len();
                Self::Many(vec![first, slice], bytes)
            }
            Self::Many(mut slices, bytes) => {
                let bytes = bytes + slice.len();
                slices.push(slice);
                Self::Many(slices, bytes)
            }
        };
    }

    fn has_room(&self) -> bool {
        match self {
            Self::None => true,
            Self::One(slice) => slice.len() < WRITE_BYTES,
            Self::Many(slices, bytes) => slices.len() < SLICES_MAX && *bytes < WRITE_BYTES,
        }
    }

    /// Gives the connection back if there is nothing to write.
    fn into_write(self, conn: Rc<Conn>, more: bool, ends: bool) -> Result<Write, Rc<Conn>> {
        let (slices, bytes) = match self {
            Self::None => return Err(conn),
            Self::One(slice) => {
                let bytes = slice.len();
                (WriteSlices::One(slice), bytes)
            }
            Self::Many(slices, bytes) => (WriteSlices::Many(slices), bytes),
        };
        Ok(Write { conn, slices, bytes, more, ends, age: None })
    }
}
