//! Refusals: problem documents as responses to requests that may have a body.
//!
//! The rest of the body is read and discarded, within bounds, so that the connection can be reused.

use std::rc::Rc;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONNECTION, EXPECT, HeaderValue, ORIGIN};
use hyper::http::request::Parts;
use hyper::{Request, Response};
use tokio::time::timeout;

use super::cors;
use super::header::last;
use super::problem::Problem;
use super::response::ResponseBody;
use crate::conn::ShardHandle;

/// Bytes of a refused body that are discarded before the connection is closed instead.
const DISCARD_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Answers a request with a problem document.
pub(super) async fn refuse(
    shard: Rc<ShardHandle>,
    request: Request<Incoming>,
    problem: Problem,
) -> Response<ResponseBody> {
    let (head, body) = request.into_parts();
    answer_refused(&shard, &head, body, problem).await
}

/// Answers a request whose head was taken off its body.
pub(super) async fn answer_refused(
    shard: &ShardHandle,
    head: &Parts,
    body: Incoming,
    problem: Problem,
) -> Response<ResponseBody> {
    // A client that waits for 100 Continue has not sent its body; reading would ask for it.
    let waits = head.headers.contains_key(EXPECT) && !body.is_end_stream();
    let discarded = !waits
        && !problem.close
        && timeout(shard.core.config.body_timeout, discard(body)).await.unwrap_or(false);
    let mut response = problem.into_response().map(ResponseBody::Full);
    if !discarded {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    allow_origin(shard, head, response)
}

/// Reads and discards the rest of a body; false if it is too large or broken.
async fn discard(mut body: Incoming) -> bool {
    if body.size_hint().lower() > DISCARD_BYTES_MAX as u64 {
        return false;
    }
    let mut discarded = 0;
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => discarded += frame.data_ref().map_or(0, Bytes::len),
            Err(_) => return false,
        }
        if discarded > DISCARD_BYTES_MAX {
            return false;
        }
    }
    true
}

/// Adds the CORS headers for the request's origin.
pub(super) fn allow_origin(
    shard: &ShardHandle,
    head: &Parts,
    mut response: Response<ResponseBody>,
) -> Response<ResponseBody> {
    let origin = last(&head.headers, ORIGIN);
    cors::apply(response.headers_mut(), origin, &shard.core.config.cors_origins);
    response
}
