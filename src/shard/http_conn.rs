//! The task of a connection while hyper serves it: until it closes, or its stream is detached.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use hyper::server::conn::http1;
use hyper_util::rt::TokioTimer;
use socket2::SockRef;

use super::hyper_io::HyperIo;
use super::state::Shard;
use crate::conn::{Conn, Place, Stage};
use crate::http::Service;

/// Longest request head, bytes: `Last-Event-ID` may be long. hyper's buffers grow up to this.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// `SO_RCVBUF` of a detached stream, bytes: nothing that is received on it is read. The kernel
/// doubles it, or takes its own minimum.
const DETACHED_RECEIVE_BYTES: usize = 2048;

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
            // What a stream's client still sends stays in the kernel, which is to keep little.
            // A kernel that refuses costs that memory, nothing else.
            let _ = SockRef::from(&self.conn.fd()).set_recv_buffer_size(DETACHED_RECEIVE_BYTES);
            // The pump writes, which bounds its work between two looks at other tasks: a replay
            // sends up to a page at once.
            self.shard.schedule(&self.conn);
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

#[cfg(all(test, not(ring_loom)))]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use tokio::task::LocalSet;

    use super::*;
    use crate::config::Config;
    use crate::event::{Publication, Topic};
    use crate::shard::writer::write_now;

    /// Ensures that clients that open streams don't hold up the streams there are (I3).
    ///
    /// Scenario: thousands of clients come back at once and replay large events.
    ///
    /// Cause: the connection's task wrote the first page itself when it was detached. tokio polls
    /// dozens of tasks before it comes back to the pump, so a small topic's event waited for all
    /// their pages: for seconds where clients kept coming back.
    ///
    /// Fix: the pump writes the page, within its quantum.
    #[test]
    fn what_a_stream_replays_is_written_by_the_pump() {
        let shard = Shard::for_test(Config::default());
        let publication = Publication {
            topics: [Topic::new("a").unwrap()].into(),
            data: "an event".into(),
            id: None,
            event_type: None,
            retry: None,
        };
        let reservation = shard.core.queue.reserve(1).unwrap();
        shard.core.sequencer.submit(publication, reservation).unwrap();
        let (near, mut far) = UnixStream::pair().unwrap();
        for socket in [&near, &far] {
            socket.set_nonblocking(true).unwrap();
        }
        far.write_all(
            b"GET /events?topic=a HTTP/1.1\r\nHost: a\r\nLast-Event-ID: earliest\r\n\r\n",
        )
        .unwrap();
        let permit = shard.core.connections.try_permit().unwrap();
        let conn = Rc::new(Conn::new(near.into(), permit, 0));
        shard.handle.connections.insert(&conn);
        conn.readiness.note(true, true, false);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, HttpConn::new(Rc::clone(&conn), &shard));
        let mut received = || {
            let mut buffer = [0; 4096];
            let read = far.read(&mut buffer).unwrap_or(0);
            String::from_utf8(buffer[..read].to_vec()).unwrap()
        };
        let head = received();
        assert!(head.contains("200 OK") && !head.contains("an event"), "{head}");
        let mut ready = Vec::new();
        shard.take_ready(usize::MAX, &mut ready);
        assert!(ready.len() == 1 && Rc::ptr_eq(&ready[0], &conn));
        write_now(&shard, &conn);
        assert!(received().contains("an event"));
    }
}
