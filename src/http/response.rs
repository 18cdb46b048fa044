//! Response bodies and the future that yields a response.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use hyper::body::{Body, Frame, SizeHint};

use crate::conn::StreamBody;

/// The response to a request, at once or later. Boxed: hyper keeps room for it
/// as long as the connection lasts.
pub(crate) enum Answer {
    Now(Option<Box<Response<ResponseBody>>>),
    Later(Pin<Box<dyn Future<Output = Response<ResponseBody>>>>),
}

impl Answer {
    pub(super) fn now(response: Response<ResponseBody>) -> Self {
        Self::Now(Some(Box::new(response)))
    }
}

impl Future for Answer {
    type Output = Result<Response<ResponseBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Now(response) => {
                Poll::Ready(Ok(*response.take().expect("an answer is polled once")))
            }
            Self::Later(response) => response.as_mut().poll(cx).map(Ok),
        }
    }
}

pub(crate) enum ResponseBody {
    Full(Full<Bytes>),
    Stream(StreamBody),
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Full(body) => Pin::new(body).poll_frame(cx),
            Self::Stream(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(body) => body.is_end_stream(),
            Self::Stream(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(body) => body.size_hint(),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}
