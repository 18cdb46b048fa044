//! The task of one connection: hyper's HTTP/1.1 server on its socket, until it ends, leaves or is killed.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use hyper::server::conn::http1;
use hyper_util::rt::TokioTimer;
use tokio::net::TcpStream;

use super::Shard;
use super::conn::Conn;
use super::socket::Socket;
use crate::http::Service;
use crate::quota::Permit;

/// Longest request head, bytes: `Last-Event-ID` may be long. hyper's buffers grow up to this.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

/// A connection being served.
///
/// # Cancel safety
///
/// Dropping it closes the connection and gives everything back: the session's seats, the permits, the table's entry.
pub struct Serve {
    http: Pin<Box<http1::Connection<Socket, Service>>>,
    conn: Rc<Conn>,
    shard: Rc<Shard>,
    key: usize,
    told_to_leave: bool,
    _permit: Permit,
}

impl Serve {
    /// Serves an accepted connection.
    pub fn new(stream: TcpStream, shard: &Rc<Shard>, permit: Permit) -> Self {
        let conn = Rc::new(Conn::default());
        conn.wrote(shard.now());
        let key = shard.table.admit(&conn);
        let socket = Socket::new(stream, Rc::clone(&conn), Rc::clone(shard));
        let http = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(shard.core.config.head_timeout)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(socket, Service::new(Rc::clone(shard), Rc::clone(&conn)));
        Self {
            http: Box::pin(http),
            conn,
            shard: Rc::clone(shard),
            key,
            told_to_leave: false,
            _permit: permit,
        }
    }
}

impl Future for Serve {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.conn.register(cx.waker());
        if self.conn.is_killed() {
            return Poll::Ready(());
        }
        // An error is the peer's: it went away, sent no HTTP, or was too slow with its head.
        let polled = self.http.as_mut().poll(cx).map(drop);
        if polled.is_pending() && self.conn.is_leaving() && !self.told_to_leave {
            // After the first poll, so that a request that has arrived is still taken and answered.
            self.told_to_leave = true;
            self.http.as_mut().graceful_shutdown();
            return self.http.as_mut().poll(cx).map(drop);
        }
        polled
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        self.shard.table.dismiss(self.key);
    }
}
