//! hyper's `Read` and `Write` over a connection's socket.
//!
//! The descriptor stays with the [`Conn`], so it outlives hyper's part when a stream is detached.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBufCursor, Write};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};

use super::sender::send_vectored;
use super::state::Shard;
use crate::conn::Conn;

/// Polled by the connection's HTTP task, which the reactor wakes; so no waker is kept here.
pub(super) struct HyperIo {
    conn: Rc<Conn>,
    shard: Rc<Shard>,
}

impl HyperIo {
    pub(super) fn new(conn: Rc<Conn>, shard: Rc<Shard>) -> Self {
        Self { conn, shard }
    }

    fn write(&self, write: impl Fn() -> rustix::io::Result<usize>) -> Poll<io::Result<usize>> {
        let readiness = &self.conn.readiness;
        if readiness.is_writable() {
            loop {
                match write() {
                    Ok(accepted) => {
                        readiness.wrote(self.shard.now());
                        self.conn.note_sent(accepted, self.shard.now());
                        return Poll::Ready(Ok(accepted));
                    }
                    Err(Errno::INTR) => {}
                    Err(Errno::AGAIN) => break,
                    Err(error) => return Poll::Ready(Err(error.into())),
                }
            }
        }
        readiness.block(self.shard.now());
        self.conn.release_page();
        Poll::Pending
    }
}

impl Read for HyperIo {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let readiness = &self.conn.readiness;
        // hyper reads before it times out. Where it is polled for its timeout before the reactor
        // has run, what has come meanwhile counts.
        if !readiness.is_readable() && !self.shard.has_stood_still() {
            return Poll::Pending;
        }
        loop {
            // SAFETY: `recv` only writes to the buffer; nothing initialised becomes uninitialised.
            let space = unsafe { buf.as_mut() };
            let room = space.len();
            match recv(self.conn.fd(), space, RecvFlags::empty()) {
                Ok((_, read)) => {
                    // A short read emptied the socket: an edge reports the next byte, or the end.
                    // Unless the end was reported already: then it is still to be read.
                    readiness.set_readable(read == room || readiness.is_hung_up());
                    // SAFETY: `recv` has initialised that many bytes.
                    unsafe { buf.advance(read) };
                    return Poll::Ready(Ok(()));
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    readiness.set_readable(false);
                    return Poll::Pending;
                }
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }
}

impl Write for HyperIo {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.write(|| send(self.conn.fd(), buf, SendFlags::NOSIGNAL))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write(|| send_vectored(self.conn.fd(), bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// hyper flushes when its own buffer is empty, so the kernel has everything written before.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.conn.lifecycle.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(cx))?;
        Poll::Ready(shutdown(self.conn.fd(), Shutdown::Write).map_err(io::Error::from))
    }
}
