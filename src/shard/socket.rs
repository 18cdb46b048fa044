//! A connection's socket, as hyper uses it: notes on its [`Conn`] when bytes go out and when they don't.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::net::TcpStream;

use super::Shard;
use super::conn::Conn;

/// See the module.
pub struct Socket {
    stream: TokioIo<TcpStream>,
    conn: Rc<Conn>,
    shard: Rc<Shard>,
}

impl Socket {
    /// Takes an accepted connection. What the listener set on itself, the kernel has handed down.
    pub fn new(stream: TcpStream, conn: Rc<Conn>, shard: Rc<Shard>) -> Self {
        Self { stream: TokioIo::new(stream), conn, shard }
    }

    fn note(&self, outcome: &Poll<io::Result<usize>>) {
        match outcome {
            Poll::Ready(Ok(_)) => self.conn.wrote(self.shard.now()),
            Poll::Pending => self.conn.block(self.shard.now()),
            Poll::Ready(Err(_)) => {}
        }
    }
}

impl Read for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl Write for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.note(&outcome);
        outcome
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.note(&outcome);
        outcome
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.conn.is_killed() {
            // A reset instead of an orderly end: the kernel lets go of the unsent bytes now, not when the peer
            // that does not read has been given up. If it can't be set, the bytes go when TCP_USER_TIMEOUT ends.
            let _ = SockRef::from(self.stream.inner()).set_linger(Some(Duration::ZERO));
        }
    }
}
