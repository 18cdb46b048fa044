//! `POST /events`: reads and parses a publication, submits it to the sequencer and answers with the
//! event's id.
//!
//! The body is read within `FANFARE_BODY_TIMEOUT`, `FANFARE_EVENT_BYTES_MAX` and the node's
//! `FANFARE_QUEUE_BYTES`.

use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as _, Incoming};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, ORIGIN};
use hyper::http::request::Parts;
use hyper::{Request, Response, StatusCode};
use tokio::time::timeout;

use super::cors;
use super::problem::{Kind, Problem};
use super::publication::{self, EventLimits, PublishError};
use super::refuse::{allow_origin, answer_refused};
use super::response::ResponseBody;
use crate::conn::ShardHandle;
use crate::sequencer::{ByteReservation, QueueFull};

/// Answers once the event is in the log and has its seq.
///
/// # Cancel safety
///
/// Dropped before the event is handed over, nothing is published; after that, the event is
/// published and nobody is told its id.
pub(super) async fn publish(
    shard: Rc<ShardHandle>,
    request: Request<Incoming>,
) -> Response<ResponseBody> {
    let (head, mut body) = request.into_parts();
    match submit(&shard, &head, &mut body).await {
        Ok(id) => allow_origin(&shard, &head, accepted(id)),
        Err(problem) => answer_refused(&shard, &head, body, problem).await,
    }
}

async fn submit(shard: &ShardHandle, head: &Parts, body: &mut Incoming) -> Result<String, Problem> {
    let core = &shard.core;
    let host = cors::requested_host(&head.uri, &head.headers);
    let (origin, open) = (head.headers.get(ORIGIN), core.config.allow_anonymous_publish);
    if !cors::publish_allowed(origin, host, &core.config.cors_origins, open) {
        return Err(Problem::forbidden_origin());
    }
    let wait = core.config.body_timeout;
    let (bytes, reservation) =
        timeout(wait, collect(shard, body)).await.map_err(|_| Problem::timeout(wait))??;
    let content_type = match head.headers.get(CONTENT_TYPE).map(HeaderValue::to_str) {
        Some(Ok(content_type)) => Some(content_type),
        Some(Err(_)) => {
            return Err(Problem::unsupported_media_type("the Content-Type header is not readable"));
        }
        None => None,
    };
    let limits = EventLimits::from(&core.config);
    let publication = publication::parse(content_type, head.uri.query(), bytes, &limits)?;
    if publication
        .id
        .as_ref()
        .is_some_and(|id| core.log.incarnation().seq_of(id.as_str()).is_some())
    {
        let detail = "this id has the form of node-assigned ids; leave `id` out, or use another";
        return Err(Problem::bad_request(Kind::BadField, detail));
    }
    let id = publication.id.clone();
    let ack = core.sequencer.submit(publication, reservation)?;
    shard.note_publish();
    let seq = ack.await.map_err(|_| Problem::from(QueueFull::Closed))?;
    Ok(id.map_or_else(|| core.log.incarnation().id(seq), |id| id.as_str().to_owned()))
}

/// Reads a whole body. One that arrives in one piece is not copied.
async fn collect(
    shard: &ShardHandle,
    body: &mut Incoming,
) -> Result<(Bytes, ByteReservation), Problem> {
    let core = &shard.core;
    let limit = core.config.event_bytes_max;
    let too_large = || Problem::from(PublishError::TooLarge { limit });
    let announced = body.size_hint().exact().unwrap_or(0);
    if announced > limit as u64 {
        return Err(too_large());
    }
    // All that is announced, at once: bodies that reserve as they arrive could use up the budget
    // with their first halves, and none would complete.
    let mut reservation = core.queue.reserve(announced as usize)?;
    let mut reserved = announced as usize;
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            Problem::new(StatusCode::BAD_REQUEST, format!("the body could not be read: {error}"))
        })?;
        let Ok(data) = frame.into_data() else { continue };
        let total = first.len() + rest.len() + data.len();
        if total > limit {
            return Err(too_large());
        }
        reservation.extend(total.saturating_sub(reserved))?;
        reserved = reserved.max(total);
        if first.is_empty() {
            first = data;
        } else {
            rest.extend_from_slice(&data);
        }
    }
    if rest.is_empty() {
        return Ok((first, reservation));
    }
    Ok(([first, rest.freeze()].concat().into(), reservation))
}

fn accepted(id: String) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::Full(Full::new(id.into())));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
