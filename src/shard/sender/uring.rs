//! Batches of sends through a ring of the shard's own.
//!
//! Every send has `MSG_DONTWAIT`, so it completes inside the call that submits it, and nothing is
//! ever in flight when [`Uring::send`] returns: no asynchronous integration, no buffer that has to
//! outlive the call. A third less processor time per delivery than one `write(2)` each was measured
//! (see `docs/benchmarks.md`).

use std::io;
use std::os::fd::AsRawFd;

use io_uring::{IoUring, opcode, squeue, types};
use libc::{iovec, msghdr};
use rustix::io::Errno;

use super::{BATCH, Outcome, Parcel, Runs};

/// See the module.
pub struct Uring {
    ring: IoUring,
    messages: Vec<msghdr>,
    slices: Vec<iovec>,
}

const FLAGS: i32 = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;

/// What a submission that never came back would have had.
const LOST: Outcome = Err(Errno::CANCELED);

impl Uring {
    /// Fails where the kernel or a container profile forbids io_uring.
    pub(super) fn new() -> io::Result<Self> {
        // Completions are reaped by this thread in the call that submits: nobody has to be
        // interrupted for them.
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_coop_taskrun()
            .build(BATCH as u32)
            .or_else(|_| IoUring::new(BATCH as u32))?;
        Ok(Self { ring, messages: Vec::with_capacity(BATCH), slices: Vec::new() })
    }

    pub(super) fn send(&mut self, parcels: &[Parcel], outcomes: &mut Vec<Outcome>) {
        debug_assert!(parcels.len() <= BATCH);
        self.prepare(parcels);
        outcomes.resize(parcels.len(), LOST);
        let mut messages = self.messages.iter();
        for (parcel, at) in parcels.iter().zip(0..) {
            let fd = types::Fd(parcel.conn.fd().as_raw_fd());
            let entry: squeue::Entry = match &parcel.runs {
                Runs::One(run) => {
                    let length = u32::try_from(run.len())
                        .expect("a run is part of a turn, which is under 4 GiB");
                    opcode::Send::new(fd, run.as_ptr(), length).flags(FLAGS).build()
                }
                Runs::Many(_) => {
                    let message = messages.next().expect("a message was prepared for each");
                    opcode::SendMsg::new(fd, message).flags(FLAGS as u32).build()
                }
            };
            // SAFETY: descriptor, bytes, message and slices are owned by `parcels` and `self`,
            // which are borrowed until `complete` has taken every completion.
            let pushed = unsafe { self.ring.submission().push(&entry.user_data(at)) };
            pushed.expect("the ring has room for a batch, and is empty between batches");
        }
        self.complete(outcomes);
    }

    /// Makes the messages of the parcels that have several runs. Nothing moves once the first
    /// pointer is taken.
    fn prepare(&mut self, parcels: &[Parcel]) {
        self.messages.clear();
        self.slices.clear();
        for parcel in parcels {
            if let Runs::Many(runs) = &parcel.runs {
                let slice = |run: &bytes::Bytes| iovec {
                    iov_base: run.as_ptr().cast_mut().cast(),
                    iov_len: run.len(),
                };
                self.slices.extend(runs.iter().map(slice));
            }
        }
        let (base, mut at) = (self.slices.as_mut_ptr(), 0);
        for parcel in parcels {
            if let Runs::Many(runs) = &parcel.runs {
                // SAFETY: all-zero is a valid message without address, control data and flags.
                let mut message: msghdr = unsafe { std::mem::zeroed() };
                // `wrapping_add` stays inside the slices: each parcel has as many as it has runs.
                message.msg_iov = base.wrapping_add(at);
                message.msg_iovlen = runs.len() as _;
                at += runs.len();
                self.messages.push(message);
            }
        }
    }

    /// Submits, and takes completions until there are as many.
    fn complete(&mut self, outcomes: &mut [Outcome]) {
        let mut open = outcomes.len();
        while open > 0 {
            match self.ring.submit_and_wait(open) {
                Ok(_) => {}
                Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
                // The buffers must not be let go of while the kernel may read them, and without
                // completions nobody knows when that is.
                Err(error) => panic!("io_uring failed in the middle of a batch: {error}"),
            }
            for completion in self.ring.completion() {
                let result = completion.result();
                outcomes[completion.user_data() as usize] =
                    usize::try_from(result).map_err(|_| Errno::from_raw_os_error(-result));
                open -= 1;
            }
        }
    }
}
