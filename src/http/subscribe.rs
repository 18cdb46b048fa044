//! `GET /events`: opens a stream, or answers with what the client should do instead.
//!
//! A browser's `EventSource` gives up for good on any status but 200. So a subscriber that should
//! reconnect later receives 200, `event: busy` with the reason, and the end of the stream; a bad
//! request is refused. Clients that do not name `text/event-stream` in `Accept`, and every client
//! of a node with `FANFARE_BUSY_ANSWER=503`, receive 503 with `Retry-After`.

use std::rc::Rc;

use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue, ORIGIN};
use hyper::{Method, Request, Response, Version};

use super::cors;
use super::header::last;
use super::negotiate::{accepts_event_stream, prefers_event_stream};
use super::problem::Problem;
use super::query::{SelectLimits, parse_subscribe};
use super::response::ResponseBody;
use crate::config::{BusyAnswer, Io};
use crate::conn::{Conn, ShardHandle};
use crate::session::{self, Busy, Retry};

/// Sent by a client that reconnects; hyper has no constant for it.
const LAST_EVENT_ID: &str = "last-event-id";

/// Opens the stream a request asks for.
pub(super) fn subscribe(
    shard: &Rc<ShardHandle>,
    conn: &Rc<Conn>,
    request: &Request<Incoming>,
) -> Result<Response<ResponseBody>, Problem> {
    let config = &shard.core.config;
    if !accepts_event_stream(request.headers()) {
        return Err(Problem::not_acceptable());
    }
    let limits = SelectLimits::from(config);
    let last_event_id = last(request.headers(), LAST_EVENT_ID).map(HeaderValue::as_bytes);
    let wanted = parse_subscribe(request.uri().query(), last_event_id, &limits)?;
    let body = if request.method() == Method::HEAD {
        ResponseBody::Full(Full::default())
    } else {
        let may_detach = shard.core.io != Io::Hyper && request.version() == Version::HTTP_11;
        match shard.open_stream(conn, &wanted.selectors, &wanted.position, may_detach) {
            Ok(body) => ResponseBody::Stream(body),
            Err(busy) => return reconnect_later(shard, request, busy),
        }
    };
    Ok(event_stream(shard, request, body))
}

/// The response to a subscriber that can't be served now.
fn reconnect_later(
    shard: &ShardHandle,
    request: &Request<Incoming>,
    busy: Busy,
) -> Result<Response<ResponseBody>, Problem> {
    let config = &shard.core.config;
    let retry = Retry::from(config).draw();
    if config.busy_answer == BusyAnswer::Status503 || !prefers_event_stream(request.headers()) {
        return Err(Problem::busy(busy.to_string(), retry));
    }
    let body = ResponseBody::Full(Full::new(session::busy(retry, busy.reason())));
    Ok(event_stream(shard, request, body))
}

fn event_stream(
    shard: &ShardHandle,
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
    if request.method() != Method::HEAD {
        // Nothing follows a stream, and whoever reads this sends no request behind it (RFC 9112
        // §9.6).
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    cors::apply(headers, last(request.headers(), ORIGIN), &shard.core.config.cors_origins);
    response
}
