//! A session as the body of a hyper response: each chunk's payload is a frame, and hyper frames it for the wire.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::Frame;

use super::{Next, Session};
use crate::event::wire;

/// See the module. The connection's task is woken by the shard, so no waker is kept here.
pub struct Body {
    session: Session,
    /// Chunks not yet handed to hyper.
    run: Bytes,
}

impl Body {
    /// The session's body.
    pub fn new(session: Session) -> Self {
        Self { session, run: Bytes::new() }
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        loop {
            if let Some(payload) = wire::split_payload(&mut self.run) {
                return Poll::Ready(Some(Ok(Frame::data(payload))));
            }
            match self.session.next_run() {
                Next::Run(run) => self.run = run,
                Next::Wait => return Poll::Pending,
                Next::End => return Poll::Ready(None),
            }
        }
    }
}
