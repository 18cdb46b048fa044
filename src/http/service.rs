//! The routes: which request goes where, and how each answer looks.
//!
//! | route | |
//! |---|---|
//! | `GET`, `HEAD /events` | a stream: [`subscribe`](super::subscribe) |
//! | `POST /events` | an event: [`publish`](super::publish) |
//! | `OPTIONS /events` | what a browser asks before either, from another origin |
//! | `GET`, `HEAD /healthz` | [`admin`](crate::admin) |
//! | `GET`, `HEAD /` | [`console`](crate::console) |

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, ORIGIN};
use hyper::{Method, Request, Response, StatusCode};

use super::{Problem, cors, publish, subscribe};
use crate::session;
use crate::shard::{Conn, Shard};
use crate::{admin, console};

/// What `Allow` says of `/events`.
const EVENTS_METHODS: &str = "GET, HEAD, POST, OPTIONS";

/// What `Allow` says of the other paths.
const READ_METHODS: &str = "GET, HEAD";

const ROUTES: &[&str] = &["GET /events", "POST /events", "GET /healthz", "GET /"];

/// Serves one connection.
pub struct Service {
    shard: Rc<Shard>,
    conn: Rc<Conn>,
}

impl Service {
    /// A service for the connection `conn` of `shard`.
    pub fn new(shard: Rc<Shard>, conn: Rc<Conn>) -> Self {
        Self { shard, conn }
    }

    fn route(&self, request: Request<Incoming>) -> Answer {
        let path = request.uri().path();
        let read = matches!(*request.method(), Method::GET | Method::HEAD);
        let problem = match (path, request.method()) {
            ("/events", &Method::POST) => {
                return Answer::Later(Box::pin(publish::publish(Rc::clone(&self.shard), request)));
            }
            ("/events", _) if read => match subscribe::subscribe(&self.shard, &self.conn, &request)
            {
                Ok(response) => return Answer::now(response),
                Err(problem) => problem,
            },
            ("/events", &Method::OPTIONS) => {
                let origins = &self.shard.core.config.cors_origins;
                let preflight = cors::preflight(request.headers().get(ORIGIN), origins);
                return Answer::now(preflight.map(ResponseBody::Full));
            }
            ("/healthz", _) if read => {
                let (status, document) = admin::health(&self.shard.core);
                return Answer::now(document_of(status, "application/json", document));
            }
            ("/", _) if read => {
                let mut page =
                    document_of(StatusCode::OK, "text/html; charset=utf-8", console::page());
                let policy = HeaderValue::from_static(console::POLICY);
                page.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
                return Answer::now(page);
            }
            ("/events", _) => Problem::method_not_allowed(EVENTS_METHODS),
            ("/healthz" | "/", _) => Problem::method_not_allowed(READ_METHODS),
            _ => Problem::not_found(ROUTES),
        };
        // The body of a refused request is read off, so that the connection can be used again.
        Answer::Later(Box::pin(publish::refuse(Rc::clone(&self.shard), request, problem)))
    }
}

impl hyper::service::Service<Request<Incoming>> for Service {
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, request: Request<Incoming>) -> Answer {
        self.route(request)
    }
}

fn document_of(
    status: StatusCode,
    content_type: &'static str,
    document: Bytes,
) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::Full(Full::new(document)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The answer to a request, at once or when its event is in the log. Boxed: hyper keeps room for it
/// as long as the connection lasts.
pub enum Answer {
    /// At once.
    Now(Option<Box<Response<ResponseBody>>>),
    /// Later.
    Later(Pin<Box<dyn Future<Output = Response<ResponseBody>>>>),
}

impl Answer {
    fn now(response: Response<ResponseBody>) -> Self {
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

/// The body of an answer.
pub enum ResponseBody {
    /// Known in full.
    Full(Full<Bytes>),
    /// A stream.
    Stream(session::StreamBody),
}

impl hyper::body::Body for ResponseBody {
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
