//! Sends one event to many sockets, by `write(2)` or in io_uring batches.

use std::os::fd::{BorrowedFd, RawFd};

use io_uring::{IoUring, opcode, types};

use crate::error::Error;

/// Sends per `io_uring_enter(2)`.
const BATCH: usize = 128;

/// How events are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Io {
    /// One `write(2)` per connection.
    Write,
    /// Batches of up to 128 sends in one `io_uring_enter(2)`.
    Uring,
}

pub(super) enum Sender {
    Write,
    Uring(Box<IoUring>),
}

impl Sender {
    pub(super) fn open(io: Io) -> Result<Self, Error> {
        match io {
            Io::Write => Ok(Self::Write),
            Io::Uring => IoUring::builder()
                .setup_single_issuer()
                .build(BATCH as u32)
                .map(|ring| Self::Uring(Box::new(ring)))
                .map_err(|error| Error::system("open an io_uring (use --io write here)", error)),
        }
    }

    /// Sends `bytes` to each of `sockets`; adds those that did not accept all of it to `broken`.
    pub(super) fn send(&mut self, sockets: &[RawFd], bytes: &[u8], broken: &mut Vec<RawFd>) {
        match self {
            Self::Write => write_each(sockets, bytes, broken),
            Self::Uring(ring) => {
                for batch in sockets.chunks(BATCH) {
                    submit(ring, batch, bytes, broken);
                }
            }
        }
    }
}

fn write_each(sockets: &[RawFd], bytes: &[u8], broken: &mut Vec<RawFd>) {
    for &socket in sockets {
        // SAFETY: the thread owns every descriptor in its topic lists and removes it before it is
        // closed.
        let fd = unsafe { BorrowedFd::borrow_raw(socket) };
        if rustix::io::write(fd, bytes) != Ok(bytes.len()) {
            broken.push(socket);
        }
    }
}

fn submit(ring: &mut IoUring, batch: &[RawFd], bytes: &[u8], broken: &mut Vec<RawFd>) {
    for &socket in batch {
        let send = opcode::Send::new(types::Fd(socket), bytes.as_ptr(), bytes.len() as u32)
            .flags(libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
            .build()
            .user_data(socket as u64);
        // SAFETY: `bytes` outlives the operation: this function has read all completions when it
        // returns. If it panics, no entry is in flight (`MSG_DONTWAIT`), and the ring is dropped
        // without another submission.
        let pushed = unsafe { ring.submission().push(&send) };
        pushed.expect("the ring holds a whole batch and is empty between batches");
    }
    let mut done = 0;
    while done < batch.len() {
        match ring.submit_and_wait(batch.len() - done) {
            Err(error) if error.raw_os_error() != Some(libc::EINTR) => {
                panic!("io_uring refused a batch within its capacity: {error}")
            }
            _ => {}
        }
        for result in ring.completion() {
            done += 1;
            if result.result() != bytes.len() as i32 {
                broken.push(result.user_data() as RawFd);
            }
        }
    }
}
