//! Sends prepared bytes to many sockets at once: in io_uring batches where the kernel allows, with
//! one call each where not. Same behaviour, both tested.

mod syscall;
mod uring;

use std::io;
use std::rc::Rc;

use bytes::Bytes;
use rustix::io::Errno;

use super::conn::Conn;
use crate::config::Io;

use syscall::Syscall;
pub use syscall::send_vectored;
use uring::Uring;

/// Sends in one batch, at most.
pub const WRITES_MAX: usize = 128;

/// Slices to one connection in one send, at most; what is more goes with the next.
pub const SLICES_MAX: usize = 64;

/// What goes to one connection.
pub struct Write {
    /// To whom.
    pub conn: Rc<Conn>,
    /// Bytes, in order; at least one run.
    pub slices: Slices,
    /// Their length together.
    pub bytes: usize,
    /// Whether the session may have more at once.
    pub more: bool,
    /// Whether the stream ends with it.
    pub ends: bool,
}

/// Slices of chunks; nearly always one.
pub enum Slices {
    /// One.
    One(Bytes),
    /// Several.
    Many(Vec<Bytes>),
}

impl Slices {
    /// As a slice.
    pub fn as_slice(&self) -> &[Bytes] {
        match self {
            Self::One(run) => std::slice::from_ref(run),
            Self::Many(slices) => slices,
        }
    }

    /// What is left when `sent` bytes have gone.
    pub fn rest(&self, mut sent: usize) -> Vec<Bytes> {
        let mut rest = Vec::new();
        for run in self.as_slice() {
            if sent < run.len() {
                rest.push(run.slice(sent..));
            }
            sent = sent.saturating_sub(run.len());
        }
        rest
    }
}

/// What became of a write: bytes taken, or why none.
pub type WriteResult = Result<usize, Errno>;

/// What the setting comes to here: `auto` is io_uring where it can be had. Fails where it is asked
/// for and can't.
pub fn available(io: Io) -> io::Result<Io> {
    match io {
        Io::Auto => Ok(if Uring::new().is_ok() { Io::Uring } else { Io::Send }),
        Io::Uring => Uring::new().map(|_| Io::Uring),
        Io::Send | Io::Hyper => Ok(io),
    }
}

/// One of the two ways.
pub enum Sender {
    /// In batches.
    Uring(Box<Uring>),
    /// One by one.
    Syscall(Syscall),
}

impl Sender {
    /// As [`available`] has found.
    pub fn new(io: Io) -> io::Result<Self> {
        match io {
            Io::Uring => Uring::new().map(|uring| Self::Uring(Box::new(uring))),
            Io::Send | Io::Hyper | Io::Auto => Ok(Self::Syscall(Syscall)),
        }
    }

    /// Sends the writes, [`WRITES_MAX`] of them at most, without waiting for any socket; one result
    /// each, in order.
    pub fn send(&mut self, writes: &[Write], results: &mut Vec<WriteResult>) {
        results.clear();
        match self {
            Self::Uring(uring) => uring.send(writes, results),
            Self::Syscall(syscall) => syscall.send(writes, results),
        }
    }
}
