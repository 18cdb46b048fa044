//! Many sends in one io_uring submission, through an instance of the shard's own.
//!
//! Every send has `MSG_DONTWAIT`, so it completes inside the call that submits it, and nothing is
//! in flight when [`Uring::send`] returns: no asynchronous integration, no buffer that must outlive
//! the call. It takes less processor time per delivery than one `write(2)` each
//! (`docs/benchmarks.md`).

use std::io;
use std::os::fd::AsRawFd;

use io_uring::{IoUring, opcode, squeue, types};
use libc::{iovec, msghdr};
use rustix::io::Errno;

use crate::shard::write::{WRITES_MAX, Write, WriteResult, WriteSlices};

pub(in crate::shard) struct Uring {
    uring: IoUring,
    messages: Vec<msghdr>,
    iovecs: Vec<iovec>,
}

const FLAGS: i32 = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;

/// The result of a submission without a completion.
const LOST: WriteResult = Err(Errno::CANCELED);

impl Uring {
    /// Fails where the kernel or a container profile forbids io_uring.
    pub(super) fn new() -> io::Result<Self> {
        // This thread reaps completions in the call that submits them: no interrupt is needed.
        let uring = IoUring::builder()
            .setup_single_issuer()
            .setup_coop_taskrun()
            .build(WRITES_MAX as u32)
            .or_else(|_| IoUring::new(WRITES_MAX as u32))?;
        Ok(Self { uring, messages: Vec::with_capacity(WRITES_MAX), iovecs: Vec::new() })
    }

    pub(super) fn send(&mut self, writes: &[Write], results: &mut Vec<WriteResult>) {
        debug_assert!(writes.len() <= WRITES_MAX);
        self.prepare(writes);
        results.resize(writes.len(), LOST);
        let mut messages = self.messages.iter();
        for (write, at) in writes.iter().zip(0..) {
            let fd = types::Fd(write.conn.fd().as_raw_fd());
            let entry: squeue::Entry = match &write.slices {
                WriteSlices::One(slice) => {
                    let length = u32::try_from(slice.len()).expect("a batch is under 4 GiB");
                    opcode::Send::new(fd, slice.as_ptr(), length).flags(FLAGS).build()
                }
                WriteSlices::Many(_) => {
                    let message = messages.next().expect("a message was prepared for each");
                    opcode::SendMsg::new(fd, message).flags(FLAGS as u32).build()
                }
            };
            // SAFETY: descriptor, bytes, message and slices are owned by `writes` and `self`,
            // which are borrowed until `complete` has taken every completion.
            let pushed = unsafe { self.uring.submission().push(&entry.user_data(at)) };
            pushed.expect("the queue has room for WRITES_MAX, and is empty between calls");
        }
        self.complete(results);
    }

    /// Builds the messages of the writes with several slices. Nothing moves once the first pointer
    /// is taken.
    fn prepare(&mut self, writes: &[Write]) {
        self.messages.clear();
        self.iovecs.clear();
        for write in writes {
            if let WriteSlices::Many(slices) = &write.slices {
                let iovec_of = |slice: &bytes::Bytes| iovec {
                    iov_base: slice.as_ptr().cast_mut().cast(),
                    iov_len: slice.len(),
                };
                self.iovecs.extend(slices.iter().map(iovec_of));
            }
        }
        let (base, mut at) = (self.iovecs.as_mut_ptr(), 0);
        for write in writes {
            if let WriteSlices::Many(slices) = &write.slices {
                // SAFETY: all-zero is a valid message without address, control data and flags.
                let mut message: msghdr = unsafe { std::mem::zeroed() };
                // `wrapping_add` stays inside the slices: each write has one iovec per slice.
                message.msg_iov = base.wrapping_add(at);
                message.msg_iovlen = slices.len() as _;
                at += slices.len();
                self.messages.push(message);
            }
        }
    }

    /// Submits, and reaps completions until every write has one.
    fn complete(&mut self, results: &mut [WriteResult]) {
        let mut open = results.len();
        while open > 0 {
            match self.uring.submit_and_wait(open) {
                Ok(_) => {}
                Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
                // The buffers must not be freed while the kernel may read them, and without
                // completions nobody knows when it has.
                Err(error) => panic!("io_uring failed before every send completed: {error}"),
            }
            for completion in self.uring.completion() {
                let result = completion.result();
                results[completion.user_data() as usize] =
                    usize::try_from(result).map_err(|_| Errno::from_raw_os_error(-result));
                open -= 1;
            }
        }
    }
}
