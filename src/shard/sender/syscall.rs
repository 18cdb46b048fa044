//! One `send(2)` or `sendmsg(2)` per parcel.

use std::io::IoSlice;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, send, sendmsg};

use super::{Outcome, Parcel, RUNS_MAX, Runs};

/// See the module.
pub struct Syscall;

impl Syscall {
    pub(super) fn send(&mut self, parcels: &[Parcel], outcomes: &mut Vec<Outcome>) {
        outcomes.extend(parcels.iter().map(send_parcel));
    }
}

fn send_parcel(parcel: &Parcel) -> Outcome {
    let fd = parcel.conn.fd();
    loop {
        let outcome = match &parcel.runs {
            Runs::One(run) => send(fd, run, SendFlags::DONTWAIT | SendFlags::NOSIGNAL),
            Runs::Many(runs) => {
                let mut slices = [IoSlice::new(&[]); RUNS_MAX];
                let used = runs.len().min(RUNS_MAX);
                for (slice, run) in slices.iter_mut().zip(runs) {
                    *slice = IoSlice::new(run);
                }
                send_vectored(fd, &slices[..used])
            }
        };
        if outcome != Err(Errno::INTR) {
            return outcome;
        }
    }
}

/// Sends several slices with one call.
pub fn send_vectored(fd: BorrowedFd<'_>, slices: &[IoSlice<'_>]) -> Outcome {
    let mut none = SendAncillaryBuffer::default();
    sendmsg(fd, slices, &mut none, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)
}
