//! A connection's socket as hyper uses it. The descriptor stays with the [`Conn`], so that it is
//! there when hyper is not any more.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBufCursor, Write};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};

use super::Shard;
use super::conn::{Conn, Stage};
use super::sender::send_vectored;

/// See the module. Whoever polls it is the connection's task, which the reactor wakes.
pub struct Socket {
    conn: Rc<Conn>,
    shard: Rc<Shard>,
}

impl Socket {
    /// The socket of `conn`.
    pub fn new(conn: Rc<Conn>, shard: Rc<Shard>) -> Self {
        Self { conn, shard }
    }

    fn write(&self, write: impl Fn() -> rustix::io::Result<usize>) -> Poll<io::Result<usize>> {
        if self.conn.writable().get() {
            loop {
                match write() {
                    Ok(taken) => {
                        self.conn.wrote(self.shard.now());
                        return Poll::Ready(Ok(taken));
                    }
                    Err(Errno::INTR) => {}
                    Err(Errno::AGAIN) => break,
                    Err(error) => return Poll::Ready(Err(error.into())),
                }
            }
        }
        self.conn.block(self.shard.now());
        Poll::Pending
    }
}

impl Read for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.conn.readable().get() {
            return Poll::Pending;
        }
        loop {
            // SAFETY: `recv` only writes to it; nothing initialised is made uninitialised.
            let space = unsafe { buf.as_mut() };
            let room = space.len();
            match recv(self.conn.fd(), space, RecvFlags::empty()) {
                Ok((_, read)) => {
                    // A short read emptied the socket: the next byte, or the end, is told by an
                    // edge. Unless the end has been told already: then it is still to be read.
                    self.conn.readable().set(read == room || self.conn.is_hung_up());
                    // SAFETY: `recv` has filled so many bytes.
                    unsafe { buf.advance(read) };
                    return Poll::Ready(Ok(()));
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    self.conn.readable().set(false);
                    return Poll::Pending;
                }
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }
}

impl Write for Socket {
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

    /// hyper flushes when its own buffer is empty, so everything before is with the kernel.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.conn.stage() == Stage::Opened {
            self.conn.set_stage(Stage::OnTheWire);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(cx))?;
        Poll::Ready(shutdown(self.conn.fd(), Shutdown::Write).map_err(io::Error::from))
    }
}
