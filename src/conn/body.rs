//! A stream as the body of a hyper response: the payload of each chunk is a frame, which hyper
//! frames for the wire.
//!
//! A stream over HTTP/1.1 is detached after its preamble and uses the body only for that: the
//! encoder writes HTTP/1.1 chunks. Streams over HTTP/1.0, and all streams with `FANFARE_IO=hyper`,
//! use it to their end.

use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame};

use super::connection::Conn;
use super::lifecycle::Stage;
use super::unsent::UnsentLedger;
use crate::event::{Chunks, wire};
use crate::session::Next;

/// The body of the stream of one connection. The shard wakes the connection's task, so the body
/// keeps no waker.
pub(crate) struct StreamBody {
    conn: Rc<Conn>,
    ledger: Rc<UnsentLedger>,
    /// Chunks not yet handed to hyper.
    slice: Bytes,
    begun: bool,
}

impl StreamBody {
    pub(super) fn new(conn: Rc<Conn>, ledger: Rc<UnsentLedger>) -> Self {
        Self { conn, ledger, slice: Bytes::new(), begun: false }
    }

    /// Counts a slice towards the budget of what streams have yet to send, until the next one is
    /// asked for. Over the budget, the timer closes the streams that have been blocked longest.
    /// hyper itself buffers 16 KiB and one chunk at most.
    fn keep(&mut self, slice: Chunks) {
        let mut borrowed = self.conn.stream().borrow_mut();
        let Some(stream) = borrowed.as_mut() else { return };
        stream.unsent = None;
        let age = self.ledger.age(None, 0, slice.len(), self.ledger.now());
        stream.unsent = self.ledger.overdraw(self.conn.key(), slice, age).map(Box::new);
        self.slice = stream.unsent.as_ref().map_or(Bytes::new(), |unsent| unsent.first());
    }
}

impl Body for StreamBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        loop {
            if let Some(payload) = wire::split_payload(&mut self.slice) {
                self.begun = true;
                return Poll::Ready(Some(Ok(Frame::data(payload))));
            }
            if self.begun && self.conn.lifecycle.may_detach() {
                // hyper has buffered the preamble; `Pending` makes it flush. The rest bypasses
                // hyper.
                self.conn.lifecycle.opened();
                return Poll::Pending;
            }
            match self.conn.next_slice() {
                Next::Slice(slice) if !self.begun => self.slice = slice.into_bytes(),
                Next::Slice(slice) => self.keep(slice),
                Next::Wait => {
                    self.conn.sent();
                    return Poll::Pending;
                }
                Next::Later => {
                    self.conn.sent();
                    // The shard is woken, not this task. The sequencer needs the log for at most a
                    // batch, so the task tries again after the others.
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Next::End => return Poll::Ready(None),
            }
        }
    }
}

impl Drop for StreamBody {
    fn drop(&mut self) {
        // A detached stream outlives its body.
        if self.conn.lifecycle.stage() == Stage::Http {
            self.conn.close_stream();
        }
    }
}
