//! `GET /events`: from a request to a stream, or to an answer that tells the client what to do
//! instead.
//!
//! A browser's `EventSource` gives up for good on anything but 200. So a subscriber that should
//! come back later is answered 200 with an event that says why, and the end; what should not come
//! back (a bad request) is refused. Clients that do not ask for an event stream by name, and those
//! of a node with `FANFARE_BUSY_ANSWER=503`, get 503 with `Retry-After`.

use std::rc::Rc;

use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue, ORIGIN};
use hyper::{Method, Request, Response, Version};

use super::service::ResponseBody;
use super::{
    Problem, SelectLimits, accepts_event_stream, cors, parse_subscribe, prefers_event_stream,
};
use crate::config::{BusyAnswer, Io};
use crate::session::{self, Busy, Session};
use crate::shard::{Conn, Shard};

/// What a client that comes back sends; not among hyper's names.
const LAST_EVENT_ID: &str = "last-event-id";

/// Opens the stream a request asks for.
pub(super) fn subscribe(
    shard: &Rc<Shard>,
    conn: &Rc<Conn>,
    request: &Request<Incoming>,
) -> Result<Response<ResponseBody>, Problem> {
    let config = &shard.core.config;
    if !accepts_event_stream(request.headers()) {
        return Err(Problem::not_acceptable());
    }
    let limits =
        SelectLimits { selectors: config.selectors_max, topic_bytes: config.topic_bytes_max };
    let last_event_id = request.headers().get(LAST_EVENT_ID).map(HeaderValue::as_bytes);
    let wanted = parse_subscribe(request.uri().query(), last_event_id, &limits)?;
    let body = if request.method() == Method::HEAD {
        ResponseBody::Full(Full::default())
    } else {
        match Session::open(shard, conn, &wanted.selectors, &wanted.position) {
            Ok(session) => {
                conn.set_may_detach(
                    shard.core.io != Io::Hyper && request.version() == Version::HTTP_11,
                );
                conn.open_stream(session);
                ResponseBody::Stream(session::StreamBody::new(Rc::clone(conn)))
            }
            Err(busy) => return come_back(shard, request, busy),
        }
    };
    Ok(event_stream(shard, request, body))
}

/// The answer to a subscriber that can't be served now.
fn come_back(
    shard: &Shard,
    request: &Request<Incoming>,
    busy: Busy,
) -> Result<Response<ResponseBody>, Problem> {
    let config = &shard.core.config;
    let retry = session::jittered(config.retry_min, config.retry_max);
    if config.busy_answer == BusyAnswer::Status503 || !prefers_event_stream(request.headers()) {
        return Err(Problem::busy(busy.to_string(), retry));
    }
    let body = ResponseBody::Full(Full::new(session::busy(retry, busy.reason())));
    let mut response = event_stream(shard, request, body);
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    Ok(response)
}

fn event_stream(
    shard: &Shard,
    request: &Request<Incoming>,
    body: ResponseBody,
) -> Response<ResponseBody> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    // The charset is for clients that guess Latin-1.
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    // no-transform: a proxy that compresses also buffers (RFC 9111 §5.2.2.6).
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform"));
    // nginx buffers responses unless it is told not to.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    cors::apply(headers, request.headers().get(ORIGIN), &shard.core.config.cors_origins);
    response
}
