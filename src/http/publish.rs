//! `POST /events`: reads and parses a publication, submits it to the sequencer and answers with the
//! event's id.

use std::rc::Rc;

use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, ORIGIN};
use hyper::http::request::Parts;
use hyper::{Request, Response};

use super::body::{self, Body};
use super::coding::Coding;
use super::cors;
use super::header::last;
use super::problem::Problem;
use super::publication::{self, EventLimits};
use super::refuse::{allow_origin, answer_refused};
use super::response::ResponseBody;
use crate::conn::ShardHandle;
use crate::sequencer::QueueFull;

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
    let (origin, open) = (last(&head.headers, ORIGIN), core.config.allow_anonymous_publish);
    if !cors::publish_allowed(origin, host, &core.config.cors_origins, open) {
        return Err(Problem::forbidden_origin());
    }
    let coding = Coding::of(&head.headers)?;
    let Body { bytes, reservation } = body::read(shard, body, coding).await?;
    let content_type = match last(&head.headers, CONTENT_TYPE).map(HeaderValue::to_str) {
        Some(Ok(content_type)) => Some(content_type),
        Some(Err(_)) => {
            return Err(Problem::unsupported_media_type("the Content-Type header is not readable"));
        }
        None => None,
    };
    let limits = EventLimits::from(&core.config);
    let publication = publication::parse(content_type, head.uri.query(), bytes, &limits)?;
    let id = publication.id.clone();
    let ack = core.sequencer.submit(publication, reservation)?;
    shard.note_publish();
    let seq = ack.await.map_err(|_| Problem::from(QueueFull::Closed))?;
    Ok(id.map_or_else(|| core.log.incarnation().id(seq), |id| id.as_str().to_owned()))
}

fn accepted(id: String) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::Full(Full::new(id.into())));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
