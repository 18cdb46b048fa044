//! Many sends in one io_uring submission, through an instance of the shard's own.
//!
//! Every send has `MSG_DONTWAIT`, so it completes inside the call that submits it, and nothing is
//! in flight when [`Uring::send`] returns: no asynchronous integration, no buffer that must outlive
//! the call. It takes less processor time per delivery than one `write(2)` each
//! (`docs/benchmarks.md`).
//!
//! # Failure
//!
//! A call that submits can fail between two sends. The entries that the kernel has not taken then
//! still point at the buffers of the batch, and the next submission would send whatever is there.
//! So [`Uring::send`] returns [`Broken`], and its caller must drop the ring before anything else.

use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use bytes::Bytes;
use io_uring::{IoUring, opcode, squeue, types};
use libc::{iovec, msghdr};
use rustix::io::Errno;

use crate::event::Chunks;
use crate::shard::write::{WRITES_MAX, WriteResult, WriteSlices};

pub(in crate::shard) struct Uring {
    uring: IoUring,
    messages: Vec<msghdr>,
    iovecs: Vec<iovec>,
}

/// A ring that must not be used again, because it holds entries that were not submitted.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) error: io::Error,
    /// The first of the sends that the kernel has not taken; the results of those before it stand.
    pub(super) unsent: usize,
}

const FLAGS: i32 = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;

/// Calls in a row that fail for a passing reason before the ring is given up.
const RETRIES_MAX: usize = 64;

/// The result of a submission without a completion.
const LOST: WriteResult = Err(Errno::CANCELED);

impl Uring {
    /// A ring that has sent something with each opcode used here.
    ///
    /// # Errors
    ///
    /// The kernel or a container profile forbids io_uring, or one of the opcodes: `SEND` needs
    /// Linux 5.6, `SENDMSG` 5.3.
    pub(super) fn new() -> io::Result<Self> {
        // This thread reaps completions in the call that submits them: no interrupt is needed.
        let uring = IoUring::builder()
            .setup_single_issuer()
            .setup_coop_taskrun()
            .build(WRITES_MAX as u32)
            .or_else(|_| IoUring::new(WRITES_MAX as u32))?;
        let messages = Vec::with_capacity(WRITES_MAX);
        let mut uring = Self { uring, messages, iovecs: Vec::new() };
        uring.send_trial()?;
        Ok(uring)
    }

    /// Sends over a socket pair. A kernel that lacks an opcode, or a filter that forbids it, says
    /// so only in the completion.
    fn send_trial(&mut self) -> io::Result<()> {
        let (near, mut far) = UnixStream::pair()?;
        let [a, b, c] = [b"a", b"b", b"c"].map(|text| Bytes::from_static(text).into());
        let sends = [("SEND", WriteSlices::One(a)), ("SENDMSG", WriteSlices::Many(vec![b, c]))];
        let mut results = Vec::new();
        let writes = sends.iter().map(|(_, slices)| (near.as_fd(), slices));
        self.send(writes, &mut results).map_err(|broken| broken.error)?;
        for ((opcode, _), result) in sends.iter().zip(&results) {
            if let Err(errno) = *result {
                let error = io::Error::from(errno);
                return Err(io::Error::new(error.kind(), format!("{opcode}: {error}")));
            }
        }
        drop(near);
        let mut received = Vec::new();
        far.read_to_end(&mut received)?;
        if received != b"abc" {
            return Err(io::Error::other(format!("sent abc, received {received:?}")));
        }
        Ok(())
    }

    /// Sends each item's slices to its socket, [`WRITES_MAX`] items at most. Adds one result each
    /// to `results`, which is empty, in order.
    ///
    /// # Errors
    ///
    /// [`Broken`]: the ring must be dropped now.
    pub(super) fn send<'a>(
        &mut self,
        writes: impl Iterator<Item = (BorrowedFd<'a>, &'a WriteSlices)> + Clone,
        results: &mut Vec<WriteResult>,
    ) -> Result<(), Broken> {
        self.send_by(IoUring::submit_and_wait, writes, results)
    }

    /// The same by a `submit` other than [`IoUring::submit_and_wait`].
    fn send_by<'a>(
        &mut self,
        submit: impl FnMut(&IoUring, usize) -> io::Result<usize>,
        writes: impl Iterator<Item = (BorrowedFd<'a>, &'a WriteSlices)> + Clone,
        results: &mut Vec<WriteResult>,
    ) -> Result<(), Broken> {
        self.prepare(writes.clone().map(|(_, slices)| slices));
        let mut messages = self.messages.iter();
        for (fd, slices) in writes {
            let fd = types::Fd(fd.as_raw_fd());
            let entry: squeue::Entry = match slices {
                WriteSlices::One(slice) => {
                    let length = u32::try_from(slice.len()).expect("a batch is under 4 GiB");
                    opcode::Send::new(fd, slice.as_ptr(), length).flags(FLAGS).build()
                }
                WriteSlices::Many(_) => {
                    let message = messages.next().expect("a message was prepared for each");
                    opcode::SendMsg::new(fd, message).flags(FLAGS as u32).build()
                }
            };
            let entry = entry.user_data(results.len() as u64);
            // SAFETY: descriptor, bytes, message and slices are owned by the items and by `self`,
            // which are borrowed until `complete` has taken every completion, or has failed; then
            // the caller drops the ring, and with it the entries, while it still has the items.
            let pushed = unsafe { self.uring.submission().push(&entry) };
            pushed.expect("the queue has room for WRITES_MAX, and is empty between calls");
            results.push(LOST);
        }
        self.complete(submit, results).map_err(|error| {
            // Entries are taken in order.
            let unsent = results.len() - self.uring.submission().len();
            Broken { error, unsent }
        })
    }

    /// Builds the messages of the writes with several slices. Nothing moves once the first pointer
    /// is taken.
    fn prepare<'a>(&mut self, writes: impl Iterator<Item = &'a WriteSlices> + Clone) {
        self.messages.clear();
        self.iovecs.clear();
        let many = writes.filter_map(|slices| match slices {
            WriteSlices::One(_) => None,
            WriteSlices::Many(slices) => Some(slices),
        });
        let iovec_of = |slice: &Chunks| iovec {
            iov_base: slice.as_ptr().cast_mut().cast(),
            iov_len: slice.len(),
        };
        self.iovecs.extend(many.clone().flatten().map(iovec_of));
        let (base, mut at) = (self.iovecs.as_mut_ptr(), 0);
        for slices in many {
            // SAFETY: all-zero is a valid message without address, control data and flags.
            let mut message: msghdr = unsafe { std::mem::zeroed() };
            // `wrapping_add` stays inside the slices: each write has one iovec per slice.
            message.msg_iov = base.wrapping_add(at);
            message.msg_iovlen = slices.len() as _;
            at += slices.len();
            self.messages.push(message);
        }
    }

    /// Submits, and reaps completions until every write has one.
    fn complete(
        &mut self,
        mut submit: impl FnMut(&IoUring, usize) -> io::Result<usize>,
        results: &mut [WriteResult],
    ) -> io::Result<()> {
        let (mut open, mut retries) = (results.len(), 0);
        while open > 0 {
            let submitted = submit(&self.uring, open);
            // Also after a failure, which may be that completions were not taken.
            for completion in self.uring.completion() {
                let result = completion.result();
                results[completion.user_data() as usize] =
                    usize::try_from(result).map_err(|_| Errno::from_raw_os_error(-result));
                open -= 1;
            }
            match submitted {
                Ok(_) => retries = 0,
                Err(error) if is_transient(&error) && retries < RETRIES_MAX => retries += 1,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Whether the same call may succeed: it was interrupted, or the kernel had no memory or no room
/// for completions.
fn is_transient(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN | libc::EBUSY))
}

#[cfg(all(test, not(ring_loom)))]
mod tests {
    use super::*;

    impl Uring {
        /// Makes every call of the kernel fail from here on: the descriptor is no ring's any more.
        pub(in crate::shard::sender) fn break_descriptor(&self) {
            let null = std::fs::File::open("/dev/null").unwrap();
            // SAFETY: both descriptors are open. The ring's own file stays mapped until it is
            // dropped, which closes this descriptor like any other.
            let result = unsafe { libc::dup2(null.as_raw_fd(), self.uring.as_raw_fd()) };
            assert!(result >= 0);
        }
    }

    fn ring() -> Option<Uring> {
        let ring = Uring::new();
        if let Err(error) = &ring {
            eprintln!("not tested: io_uring is unavailable here: {error}");
        }
        ring.ok()
    }

    const WRITES: usize = 4;

    /// A batch, its socket and the other end.
    fn batch() -> (Vec<WriteSlices>, UnixStream, UnixStream) {
        let (near, far) = UnixStream::pair().unwrap();
        let slice = |at| Chunks::from(Bytes::from(format!("{at}")));
        let writes = (0..WRITES).map(|at| match at % 2 {
            0 => WriteSlices::One(slice(at)),
            _ => WriteSlices::Many(vec![slice(at), slice(at)]),
        });
        (writes.collect(), near, far)
    }

    fn received(near: UnixStream, mut far: UnixStream) -> String {
        drop(near);
        let mut received = String::new();
        far.read_to_string(&mut received).unwrap();
        received
    }

    /// Ensures that a ring whose kernel calls fail is not used again, and that each write of the
    /// batch is known to be sent or not.
    ///
    /// Scenario: the kernel has taken two writes of a batch when a call fails.
    ///
    /// Cause: the failure was a panic. The ring stayed usable with two entries whose buffers were
    /// freed by the unwinding.
    ///
    /// Fix: the caller receives the ring's failure and the first write that was not taken, and
    /// drops the ring before anything else.
    #[test]
    fn a_failure_between_two_writes_says_which_were_taken() {
        let Some(mut ring) = ring() else { return };
        let (writes, near, far) = batch();
        let mut calls = 0;
        let submit = |uring: &IoUring, _| {
            calls += 1;
            if calls > 1 {
                return Err(io::Error::from_raw_os_error(libc::EFAULT));
            }
            // SAFETY: nothing is waited for, and no argument is passed.
            unsafe { uring.submitter().enter::<libc::sigset_t>(2, 0, 0, None) }
        };
        let mut results = Vec::new();
        let sends = writes.iter().map(|slices| (near.as_fd(), slices));
        let broken = ring.send_by(submit, sends, &mut results).unwrap_err();
        drop(ring);
        assert_eq!(broken.unsent, 2);
        assert_eq!(broken.error.raw_os_error(), Some(libc::EFAULT));
        assert_eq!(results, [Ok(1), Ok(2), LOST, LOST]);
        assert_eq!(received(near, far), "011");
    }

    #[test]
    fn passing_failures_are_retried_within_a_bound() {
        let Some(mut ring) = ring() else { return };
        for error in [libc::EINTR, libc::EAGAIN, libc::EBUSY] {
            for (failures, sent) in [(RETRIES_MAX, true), (RETRIES_MAX + 1, false)] {
                let (writes, near, far) = batch();
                let mut calls = 0;
                let submit = |uring: &IoUring, want| {
                    calls += 1;
                    if calls <= failures {
                        return Err(io::Error::from_raw_os_error(error));
                    }
                    uring.submit_and_wait(want)
                };
                let mut results = Vec::new();
                let sends = writes.iter().map(|slices| (near.as_fd(), slices));
                let outcome = ring.send_by(submit, sends, &mut results);
                assert_eq!(outcome.is_ok(), sent, "{error}: {outcome:?}");
                if sent {
                    assert_eq!(received(near, far), "011233");
                } else {
                    ring = Uring::new().unwrap();
                    assert_eq!((outcome.unwrap_err().unsent, &*received(near, far)), (0, ""));
                }
            }
        }
    }
}
