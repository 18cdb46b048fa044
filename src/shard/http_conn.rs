//! The task of a connection while hyper has it: until it ends, leaves or is killed, or its stream
//! is detached.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use hyper::server::conn::http1;
use hyper_util::rt::TokioTimer;

use super::Shard;
use super::conn::{Conn, Stage};
use super::hyper_io::Socket;
use super::pump;
use crate::http::Service;

/// Longest request head, bytes: `Last-Event-ID` may be long. hyper's buffers grow up to this.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

type Http = http1::Connection<Socket, Service>;

/// A connection being served by hyper.
///
/// # Detaching
///
/// A stream's body gives hyper the first bytes, and on the next poll says `Pending` and notes it
/// ([`Stage::Opened`]). hyper then writes what it has and flushes; the flush finds the note
/// ([`Stage::OnTheWire`]). From here on hyper has nothing of the response in its hands, so it is
/// taken apart, its buffers are freed, and this task ends. Bytes a client sent after its request
/// are dropped with the buffers: on this connection nothing will be answered any more.
///
/// # Cancel safety
///
/// Dropping it before that closes the connection and gives everything back: subscriptions, permits, the
/// table's entry.
pub struct Serve {
    http: Option<Box<Http>>,
    conn: Rc<Conn>,
    shard: Rc<Shard>,
    told_to_leave: bool,
}

impl Serve {
    /// Serves a connection that is in the shard's table.
    pub fn new(conn: Rc<Conn>, shard: &Rc<Shard>) -> Self {
        let socket = Socket::new(Rc::clone(&conn), Rc::clone(shard));
        let http = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(shard.core.config.head_timeout)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(socket, Service::new(Rc::clone(shard), Rc::clone(&conn)));
        Self { http: Some(Box::new(http)), conn, shard: Rc::clone(shard), told_to_leave: false }
    }

    /// An error is the peer's: it went away, sent no HTTP, or was too slow with its head.
    fn poll_http(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(http) = &mut self.http else { return Poll::Ready(()) };
        let ended = ready!(http.poll_without_shutdown(cx));
        if ended.is_ok() {
            return Pin::new(&mut **http).poll(cx).map(drop);
        }
        Poll::Ready(())
    }

    fn detach(&mut self) {
        drop(self.http.take().map(|http| http.into_parts()));
        self.conn.unregister();
        self.conn.set_stage(Stage::Detached);
        if self.conn.is_hung_up() {
            self.shard.close(&self.conn);
        } else {
            pump::begin(&self.shard, &self.conn);
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
        let mut polled = self.poll_http(cx);
        if polled.is_pending() && self.conn.is_leaving() && !self.told_to_leave {
            // After the first poll, so that a request that has arrived is still taken and answered.
            self.told_to_leave = true;
            if let Some(http) = &mut self.http {
                Pin::new(&mut **http).graceful_shutdown();
            }
            polled = self.poll_http(cx);
        }
        if polled.is_pending() && self.conn.stage() == Stage::OnTheWire {
            self.detach();
            return Poll::Ready(());
        }
        polled
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        if !self.conn.is_detached() {
            self.http = None;
            self.shard.close(&self.conn);
        }
    }
}
