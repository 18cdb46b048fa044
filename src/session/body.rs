//! A stream as the body of a hyper response: each chunk's payload is a frame, and hyper frames it
//! for the wire.
//!
//! Over HTTP/1.1 only for the first bytes, until the connection is detached; otherwise as long as
//! the stream lasts.

use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::Frame;

use super::Next;
use crate::event::wire;
use crate::shard::{Conn, Stage};

/// See the module. The connection's task is woken by the shard, so no waker is kept here.
pub struct StreamBody {
    conn: Rc<Conn>,
    /// Chunks not yet handed to hyper.
    slice: Bytes,
    begun: bool,
}

impl StreamBody {
    /// The body of the stream that `conn` has been given.
    pub fn new(conn: Rc<Conn>) -> Self {
        Self { conn, slice: Bytes::new(), begun: false }
    }

    fn next_slice(&self) -> Next {
        match self.conn.stream().borrow_mut().as_mut() {
            Some(stream) => stream.session.next_slice(&self.conn),
            None => Next::End,
        }
    }
}

impl hyper::body::Body for StreamBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        loop {
            if let Some(payload) = wire::split_payload(&mut self.slice) {
                self.begun = true;
                return Poll::Ready(Some(Ok(Frame::data(payload))));
            }
            if self.begun && self.conn.may_detach() {
                // hyper has the first bytes; the rest goes past it. It asks again after it has
                // flushed.
                if self.conn.stage() == Stage::Http {
                    self.conn.set_stage(Stage::Opened);
                }
                return Poll::Pending;
            }
            match self.next_slice() {
                Next::Slice(slice) => self.slice = slice,
                Next::Wait => return Poll::Pending,
                Next::End => return Poll::Ready(None),
            }
        }
    }
}

impl Drop for StreamBody {
    fn drop(&mut self) {
        // A stream that has been detached goes on without its body.
        if self.conn.stage() == Stage::Http {
            drop(self.conn.take_stream());
        }
    }
}
