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
        Io::Auto => Ok(match Uring::new() {
            Ok(_) => Io::Uring,
            Err(error) => {
                tracing::info!(%error, "io_uring is unavailable; FANFARE_IO=auto uses send");
                Io::Send
            }
        }),
        Io::Uring => Uring::new().map(|_| Io::Uring),
        Io::Send | Io::Hyper => Ok(io),
    }
}

/// Sees each write with its result.
#[cfg(all(test, not(ring_loom)))]
pub(super) type Watcher = Box<dyn FnMut(&Write, WriteResult)>;

pub(super) enum Sender {
    Uring(Box<Uring>),
    Syscall,
    /// Sends by system calls, and shows each write and its result to the simulation.
    #[cfg(all(test, not(ring_loom)))]
    Watched(Watcher),
}

impl Sender {
    /// The sender of a shard: `wanted` is the setting, `resolved` what [`resolve_io`] made of it.
    ///
    /// # Errors
    ///
    /// io_uring was requested, and this shard can't have a ring.
    pub(super) fn new(wanted: Io, resolved: Io) -> io::Result<Self> {
        match resolved {
            Io::Uring => Self::with_ring(wanted, Uring::new()),
            Io::Send | Io::Hyper | Io::Auto => Ok(Self::Syscall),
        }
    }

    /// A shard can fail where the node's trial did not, because memory or descriptors ran out.
    fn with_ring(wanted: Io, ring: io::Result<Uring>) -> io::Result<Self> {
        match ring {
            Ok(ring) => Ok(Self::Uring(Box::new(ring))),
            Err(error) if wanted == Io::Auto => {
                tracing::warn!(%error, "io_uring is unavailable on this shard; it uses send");
                Ok(Self::Syscall)
            }
            Err(error) => Err(error),
        }
    }

    /// Sends the writes, [`WRITES_MAX`](super::write::WRITES_MAX) at most. Replaces `results` by
    /// one result each, in order. If the ring fails, the shard uses `send(2)` from here on.
    pub(super) fn send(&mut self, writes: &[Write], results: &mut Vec<WriteResult>) {
        results.clear();
        if let Self::Uring(uring) = self {
            let sends = writes.iter().map(|write| (write.conn.fd(), &write.slices));
            let Err(broken) = uring.send(sends, results) else { return };
            // First of all: the ring's queue still points at the unsent writes.
            *self = Self::Syscall;
            let error = broken.error;
            tracing::error!(%error, "io_uring failed; the shard uses send from now on");
            results.truncate(broken.unsent);
        }
        #[cfg(all(test, not(ring_loom)))]
        if let Self::Watched(watch) = self {
            return results.extend(writes.iter().map(|write| {
                let result = syscall::send_one(write);
                watch(write, result);
                result
            }));
        }
        results.extend(writes[results.len()..].iter().map(syscall::send_one));
    }
}

#[cfg(all(test, not(ring_loom)))]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;
    use std::rc::Rc;
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::conn::Conn;
    use crate::quota::Quota;
    use crate::shard::write::WriteSlices;

    fn refused() -> io::Result<Uring> {
        Err(io::Error::from_raw_os_error(libc::ENOMEM))
    }

    #[test]
    fn a_shard_without_a_ring_uses_send_unless_io_uring_was_requested() {
        assert!(matches!(Sender::with_ring(Io::Auto, refused()), Ok(Sender::Syscall)));
        let error = Sender::with_ring(Io::Uring, refused()).err().unwrap();
        assert_eq!(error.raw_os_error(), Some(libc::ENOMEM));
    }

    /// The injected failure is the kernel's: the ring's descriptor is replaced.
    #[test]
    fn a_ring_that_fails_is_dropped_and_its_batch_is_sent_all_the_same() {
        let Ok(uring) = Uring::new() else {
            return eprintln!("not tested: io_uring is unavailable here");
        };
        let (near, mut far) = UnixStream::pair().unwrap();
        let permit = Arc::new(Quota::new(1)).try_permit().unwrap();
        let conn = Rc::new(Conn::new(near.into(), permit, 0));
        let batch = |text: &[&'static str]| -> Vec<Write> {
            let write = |text: &&'static str| Write {
                conn: Rc::clone(&conn),
                bytes: text.len(),
                slices: WriteSlices::One(Bytes::from_static(text.as_bytes()).into()),
                more: false,
                ends: false,
                age: None,
            };
            text.iter().map(write).collect()
        };
        uring.break_descriptor();
        let mut sender = Sender::Uring(Box::new(uring));
        let mut results = Vec::new();
        sender.send(&batch(&["1", "22"]), &mut results);
        assert_eq!(results, [Ok(1), Ok(2)]);
        assert!(matches!(sender, Sender::Syscall));
        sender.send(&batch(&["333"]), &mut results);
        assert_eq!(results, [Ok(3)]);
        drop(conn);
        let mut received = String::new();
        far.read_to_string(&mut received).unwrap();
        assert_eq!(received, "122333");
    }
}
