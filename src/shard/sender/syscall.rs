//! One `send(2)` or `sendmsg(2)` per write.

use std::io::IoSlice;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, send, sendmsg};

use crate::shard::write::{SLICES_MAX, Write, WriteResult, WriteSlices};

pub(super) fn send_one(write: &Write) -> WriteResult {
    let fd = write.conn.fd();
    loop {
        let result = match &write.slices {
            WriteSlices::One(slice) => send(fd, slice, SendFlags::DONTWAIT | SendFlags::NOSIGNAL),
            WriteSlices::Many(slices) => {
                let mut io_slices = [IoSlice::new(&[]); SLICES_MAX];
                let used = slices.len().min(SLICES_MAX);
                for (io_slice, slice) in io_slices.iter_mut().zip(slices) {
                    *io_slice = IoSlice::new(slice);
                }
                send_vectored(fd, &io_slices[..used])
            }
        };
        if result != Err(Errno::INTR) {
            return result;
        }
    }
}

/// Sends several slices with one call.
pub(in crate::shard) fn send_vectored(fd: BorrowedFd<'_>, slices: &[IoSlice<'_>]) -> WriteResult {
    let mut none = SendAncillaryBuffer::default();
    sendmsg(fd, slices, &mut none, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)
}
