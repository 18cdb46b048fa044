//! The routes: which request goes to which handler.
//!
//! | route | answered by |
//! |---|---|
//! | `GET`, `HEAD /events` | a stream: [`subscribe`](super::subscribe) |
//! | `POST /events` | the id of the event: [`publish`](super::publish) |
//! | `OPTIONS /events` | CORS preflight: [`cors`] |
//! | `GET`, `HEAD /healthz` | [`admin`] |
//! | `GET`, `HEAD /` | [`console`] |

use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, ORIGIN};
use hyper::{Method, Request, Response, StatusCode};

use super::header::last;
use super::problem::Problem;
use super::response::{Answer, ResponseBody};
use super::{cors, publish, refuse, screen, subscribe};
use crate::conn::{Conn, Place, ShardHandle};
use crate::{admin, console};

/// `Allow` of `/events`.
const EVENTS_METHODS: &str = "GET, HEAD, POST, OPTIONS";

/// `Allow` of the other paths.
const READ_METHODS: &str = "GET, HEAD";

const ROUTES: &[&str] = &["GET /events", "POST /events", "GET /healthz", "GET /"];

/// The hyper service of one connection.
pub(crate) struct Service {
    shard: Rc<ShardHandle>,
    conn: Rc<Conn>,
    place: Rc<Place>,
}

impl Service {
    pub(crate) fn new(shard: Rc<ShardHandle>, conn: Rc<Conn>, place: Rc<Place>) -> Self {
        Self { shard, conn, place }
    }

    fn route(&self, request: Request<Incoming>) -> Answer {
        if let Err(problem) = screen::screen(&request) {
            return self.refuse(request, problem);
        }
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
                let preflight = cors::preflight(last(request.headers(), ORIGIN), origins);
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
        self.refuse(request, problem)
    }

    /// The body of a refused request is read and discarded, so that the connection can be reused.
    fn refuse(&self, request: Request<Incoming>, problem: Problem) -> Answer {
        Answer::Later(Box::pin(refuse::refuse(Rc::clone(&self.shard), request, problem)))
    }
}

impl hyper::service::Service<Request<Incoming>> for Service {
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: Request<Incoming>) -> Answering {
        let answer = self.route(request);
        if self.conn.is_streaming() {
            self.place.leave();
        } else {
            self.place.begin_request();
        }
        Answering { answer, place: Rc::clone(&self.place) }
    }
}

/// The response to the request that a connection is in.
pub(crate) struct Answering {
    answer: Answer,
    place: Rc<Place>,
}

impl Future for Answering {
    type Output = Result<Response<ResponseBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = Pin::new(&mut self.answer).poll(cx);
        if polled.is_ready() {
            self.place.end_request();
        }
        polled
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
