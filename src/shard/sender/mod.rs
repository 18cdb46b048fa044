//! Sends many writes without waiting for any socket: in one io_uring submission where the kernel
//! allows it, else with one system call each. Both behave alike.

mod syscall;
mod uring;

use std::io;

use super::write::{Write, WriteResult};
use crate::config::Io;

pub(super) use syscall::send_vectored;
use uring::Uring;

/// Resolves `Auto`; fails if io_uring was requested and is unavailable.
pub(crate) fn resolve_io(io: Io) -> io::Result<Io> {
    match io {
        Io::Auto => Ok(if Uring::new().is_ok() { Io::Uring } else { Io::Send }),
        Io::Uring => Uring::new().map(|_| Io::Uring),
        Io::Send | Io::Hyper => Ok(io),
    }
}

pub(super) enum Sender {
    Uring(Box<Uring>),
    Syscall,
}

impl Sender {
    /// The sender for a mode that [`resolve_io`] returned.
    pub(super) fn new(io: Io) -> io::Result<Self> {
        match io {
            Io::Uring => Uring::new().map(|uring| Self::Uring(Box::new(uring))),
            Io::Send | Io::Hyper | Io::Auto => Ok(Self::Syscall),
        }
    }

    /// Sends the writes, [`WRITES_MAX`] at most. Replaces `results` by one result each, in order.
    pub(super) fn send(&mut self, writes: &[Write], results: &mut Vec<WriteResult>) {
        results.clear();
        match self {
            Self::Uring(uring) => uring.send(writes, results),
            Self::Syscall => results.extend(writes.iter().map(syscall::send_one)),
        }
    }
}
