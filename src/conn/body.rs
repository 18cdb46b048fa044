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

    /// Keeps a slice until the next one is asked for, within the budget of what streams have yet to
    /// send; false if it has no room. hyper itself buffers 16 KiB and one chunk at most.
    fn keep(&mut self, slice: Chunks) -> bool {
        let mut borrowed = self.conn.stream().borrow_mut();
        let Some(stream) = borrowed.as_mut() else { return false };
        stream.unsent = None;
        let age = self.ledger.age(None, 0, slice.len(), self.conn.readiness.last_wrote());
        let rest = [slice];
        let Some(unsent) = self.ledger.keep(self.conn.key(), &rest, age) else { return false };
        self.slice = unsent.first();
        stream.unsent = Some(Box::new(unsent));
        true
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
                Next::Slice(slice) => {
                    if !self.keep(slice) {
                        self.conn.lifecycle.request_abort();
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                }
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
