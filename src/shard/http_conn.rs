//! The task of a connection while hyper serves it: until it closes, or its stream is detached.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use hyper::server::conn::http1;
use hyper_util::rt::TokioTimer;

use super::hyper_io::HyperIo;
use super::state::Shard;
use super::writer::write_now;
use crate::conn::{Conn, Place, Stage};
use crate::http::Service;

/// Longest request head, bytes: `Last-Event-ID` may be long. hyper's buffers grow up to this.
const HEAD_BYTES_MAX: usize = 16 * 1024;

type Http = http1::Connection<HyperIo, Service>;

/// A connection served by hyper.
///
/// # Detaching
///
/// A stream's body gives hyper the preamble; at the next poll it returns `Pending` and records
/// [`Stage::Opened`]. hyper then writes what it has and flushes; the flush records
/// [`Stage::Flushed`]. From then on hyper holds nothing of the response, so the connection is taken
/// apart, hyper's buffers are freed, and this task ends. Bytes a client sent after its request are
/// dropped with the buffers: nothing will be answered on this connection any more.
///
/// # Cancel safety
///
/// Dropping the task before it is detached closes the connection and releases its subscriptions,
/// permits and key.
pub(super) struct HttpConn {
    http: Option<Box<Http>>,
    conn: Rc<Conn>,
    place: Rc<Place>,
    shard: Rc<Shard>,
    shutting_down: bool,
}

impl HttpConn {
    /// Serves a connection that is in the shard's list.
    pub(super) fn new(conn: Rc<Conn>, shard: &Rc<Shard>) -> Self {
        let io = HyperIo::new(Rc::clone(&conn), Rc::clone(shard));
        let place = shard.handle.request_connections.add(&conn);
        let service = Service::new(Rc::clone(&shard.handle), Rc::clone(&conn), Rc::clone(&place));
        let http = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(shard.core.config.head_timeout)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(io, service);
        let (http, shard) = (Some(Box::new(http)), Rc::clone(shard));
        Self { http, conn, place, shard, shutting_down: false }
    }

    /// Errors are ignored: they mean that the peer disconnected, sent no HTTP or was too slow with
    /// its head.
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
        self.conn.unregister_task();
        self.conn.lifecycle.detached();
        if self.conn.readiness.is_hung_up() {
            self.shard.close(&self.conn);
        } else {
            write_now(&self.shard, &self.conn);
        }
    }
}

impl Future for HttpConn {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.conn.register_task(cx.waker());
        if self.conn.lifecycle.is_abort_requested() || self.place.is_displaced() {
            return Poll::Ready(());
        }
        let mut polled = self.poll_http(cx);
        if polled.is_pending() && self.conn.signals.is_ending() && !self.shutting_down {
            // After the first poll, so that a request that has arrived is still answered.
            self.shutting_down = true;
            if let Some(http) = &mut self.http {
                Pin::new(&mut **http).graceful_shutdown();
            }
            polled = self.poll_http(cx);
        }
        if polled.is_pending() && self.conn.lifecycle.stage() == Stage::Flushed {
            self.detach();
            return Poll::Ready(());
        }
        polled
    }
}

impl Drop for HttpConn {
    fn drop(&mut self) {
        self.place.leave();
        if !self.conn.lifecycle.is_detached() {
            self.http = None;
            self.shard.close(&self.conn);
        }
    }
}
