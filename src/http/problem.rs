//! Problem details (RFC 9457): error responses as `application/problem+json`.
//!
//! The error enums of parsing and of the queue are mapped to statuses here; for other problems a
//! handler calls one of the constructors. `type` is `about:blank` if the status is specific enough.
//! Where a program may have to distinguish several causes of one status, `type` is one of these
//! stable identifiers, which are part of the protocol:
//!
//! | `type` | status | cause |
//! |---|---|---|
//! | `urn:fanfare:problem:unknown-field` | 400 | unknown field or parameter |
//! | `urn:fanfare:problem:repeated-field` | 400 | second value for a single-valued field |
//! | `urn:fanfare:problem:misplaced-fields` | 400 | query beside a body that carries the fields |
//! | `urn:fanfare:problem:bad-encoding` | 400 | text that is not UTF-8; broken gzip or zstd |
//! | `urn:fanfare:problem:bad-json` | 400 | invalid JSON, or not an object |
//! | `urn:fanfare:problem:bad-field` | 400 | invalid value of a field |
//! | `urn:fanfare:problem:missing-topic` | 400 | no topic to publish to |
//! | `urn:fanfare:problem:limit-exceeded` | 400 | too many topics, or a topic that is too long |

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    ACCEPT_ENCODING, ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER,
};
use hyper::{Response, StatusCode};
use serde::Serialize;

use super::publication::PublishError;
use super::query::SubscribeError;
use crate::sequencer::QueueFull;

/// Delay before a publisher retries if the queue is full.
const QUEUE_RETRY: Duration = Duration::from_secs(1);

/// The problem type: `type` and `title` of the document. The module's table describes each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Blank,
    UnknownField,
    RepeatedField,
    MisplacedFields,
    BadEncoding,
    BadJson,
    BadField,
    MissingTopic,
    LimitExceeded,
}

impl Kind {
    /// Returns `type`, and `title` unless it is the reason phrase of the status.
    fn uri_and_title(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Blank => ("about:blank", None),
            Self::UnknownField => ("urn:fanfare:problem:unknown-field", Some("Unknown field")),
            Self::RepeatedField => ("urn:fanfare:problem:repeated-field", Some("Repeated field")),
            Self::MisplacedFields => {
                ("urn:fanfare:problem:misplaced-fields", Some("Misplaced fields"))
            }
            Self::BadEncoding => ("urn:fanfare:problem:bad-encoding", Some("Bad encoding")),
            Self::BadJson => ("urn:fanfare:problem:bad-json", Some("Bad JSON")),
            Self::BadField => ("urn:fanfare:problem:bad-field", Some("Bad field")),
            Self::MissingTopic => ("urn:fanfare:problem:missing-topic", Some("Missing topic")),
            Self::LimitExceeded => ("urn:fanfare:problem:limit-exceeded", Some("Limit exceeded")),
        }
    }
}

/// A problem to be answered with a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The status of the response.
    pub(crate) status: StatusCode,
    /// The problem type.
    pub(crate) kind: Kind,
    /// What is wrong and how to correct it; for people.
    pub(crate) detail: String,
    /// The supported methods, for `Allow`.
    pub(crate) allow: Option<&'static str>,
    /// Delay before a retry, for `Retry-After`; rounded up to whole seconds.
    pub(crate) retry_after: Option<Duration>,
    /// The content codings a body may have, for `Accept-Encoding`.
    pub(crate) accept_encoding: Option<&'static str>,
    /// Whether the connection is closed after the response, without reading the rest of the body.
    pub(crate) close: bool,
}

#[derive(Serialize)]
struct Document<'a> {
    #[serde(rename = "type")]
    uri: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a str,
}

impl Problem {
    /// A problem of the type `about:blank`.
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            status,
            kind: Kind::Blank,
            detail: detail.into(),
            allow: None,
            retry_after: None,
            accept_encoding: None,
            close: false,
        }
    }

    /// 400 with a problem type.
    pub(crate) fn bad_request(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, ..Self::new(StatusCode::BAD_REQUEST, detail) }
    }

    /// 404; `routes` lists the existing ones, such as `GET /events`.
    pub(crate) fn not_found(routes: &[&str]) -> Self {
        let routes = routes.join(", ");
        Self::new(
            StatusCode::NOT_FOUND,
            format!("there is no resource at this path; the routes are {routes}"),
        )
    }

    /// 405; `allow` lists the supported methods, such as `GET, HEAD`.
    pub(crate) fn method_not_allowed(allow: &'static str) -> Self {
        let detail = format!("this path supports the methods {allow}");
        Self { allow: Some(allow), ..Self::new(StatusCode::METHOD_NOT_ALLOWED, detail) }
    }

    /// 406: the `Accept` header excludes event streams.
    pub(crate) fn not_acceptable() -> Self {
        let detail = "this path answers with text/event-stream, which the Accept header excludes; \
                      send `Accept: text/event-stream`";
        Self::new(StatusCode::NOT_ACCEPTABLE, detail)
    }

    /// 408: the request was incomplete after `waited`. The client has used up its time, so the rest
    /// is not waited for.
    pub(crate) fn timeout(waited: Duration) -> Self {
        let detail = format!("the request was incomplete after {waited:?}; send it again in full");
        Self { close: true, ..Self::new(StatusCode::REQUEST_TIMEOUT, detail) }
    }

    /// 408: the body came at less than `rate_min` bytes per second.
    pub(crate) fn too_slow(rate_min: u64) -> Self {
        let detail = format!(
            "the body came too slowly; send at least {rate_min} bytes per second \
             (FANFARE_BODY_RATE_MIN)"
        );
        Self { close: true, ..Self::new(StatusCode::REQUEST_TIMEOUT, detail) }
    }

    /// 400: `what` is wrong with the request's host.
    pub(crate) fn bad_host(what: &str) -> Self {
        let detail = format!("the request {what}; send one Host header, such as `Host: localhost`");
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// 400: a body to which `chunked` was applied more than once (RFC 9112 §7.1). Where such a body
    /// ends is anyone's guess.
    pub(crate) fn repeated_chunked() -> Self {
        let detail = "the Transfer-Encoding names `chunked` twice; name it once";
        Self { close: true, ..Self::new(StatusCode::BAD_REQUEST, detail) }
    }

    /// 501: a transfer coding other than `chunked` (RFC 9112 §6.1).
    pub(crate) fn unknown_transfer_coding() -> Self {
        let detail = "the only supported transfer coding is `chunked`; \
                      name gzip or zstd in Content-Encoding instead";
        Self { close: true, ..Self::new(StatusCode::NOT_IMPLEMENTED, detail) }
    }

    /// 415; `detail` names a supported media type.
    pub(crate) fn unsupported_media_type(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail)
    }

    /// 415 with `Accept-Encoding` (RFC 9110 §15.5.16).
    pub(crate) fn unsupported_content_coding(accepted: &'static str) -> Self {
        let detail = format!(
            "the body's Content-Encoding is not supported; send one of {accepted}, or none"
        );
        Self { accept_encoding: Some(accepted), ..Self::unsupported_media_type(detail) }
    }

    /// 403: the request's origin may not publish (`cors::publish_allowed`).
    pub(crate) fn forbidden_origin() -> Self {
        let detail = "web pages of this origin may not publish; publish from a server, \
                      or allow the origin (FANFARE_CORS_ORIGINS)";
        Self::new(StatusCode::FORBIDDEN, detail)
    }

    /// 503 with `Retry-After`.
    pub(crate) fn busy(detail: impl Into<String>, retry_after: Duration) -> Self {
        Self {
            retry_after: Some(retry_after),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
        }
    }

    /// Makes the response. It is not cacheable: a retry may succeed.
    pub(crate) fn into_response(self) -> Response<Full<Bytes>> {
        let (uri, title) = self.kind.uri_and_title();
        let title = title.or(self.status.canonical_reason()).unwrap_or("Refused");
        let document = Document { uri, title, status: self.status.as_u16(), detail: &self.detail };
        let body = serde_json::to_vec(&document).expect("a struct of strings and a number is JSON");
        let length = body.len();
        let mut response = Response::new(Full::from(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CONTENT_LENGTH, length.into());
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        if let Some(accepted) = self.accept_encoding {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(accepted));
        }
        if let Some(after) = self.retry_after {
            let partial = u64::from(after.subsec_nanos() > 0);
            headers.insert(RETRY_AFTER, after.as_secs().saturating_add(partial).max(1).into());
        }
        response
    }
}

impl From<PublishError> for Problem {
    fn from(error: PublishError) -> Self {
        use PublishError as E;
        let detail = error.to_string();
        let kind = match error {
            E::TooLarge { .. } | E::TooLargeDecoded { .. } => {
                return Self::new(StatusCode::PAYLOAD_TOO_LARGE, detail);
            }
            E::Multipart | E::Charset { .. } => return Self::unsupported_media_type(detail),
            E::UnknownField { .. } | E::JsonAsForm => Kind::UnknownField,
            E::RepeatedField { .. } => Kind::RepeatedField,
            E::QueryBesideBody { .. } => Kind::MisplacedFields,
            E::BadCoding { .. } | E::BodyNotUtf8 { .. } | E::FieldNotUtf8 { .. } => {
                Kind::BadEncoding
            }
            E::Json { .. } => Kind::BadJson,
            E::FieldShape { .. } | E::LoneSurrogate { .. } => Kind::BadField,
            E::Topic { .. }
            | E::Id { .. }
            | E::TypeControl { .. }
            | E::TypeReserved { .. }
            | E::Retry { .. } => Kind::BadField,
            E::NoTopic { .. } => Kind::MissingTopic,
            E::TooManyTopics { .. } | E::TopicTooLong { .. } => Kind::LimitExceeded,
        };
        Self::bad_request(kind, detail)
    }
}

impl From<QueueFull> for Problem {
    fn from(full: QueueFull) -> Self {
        Self::busy(full.to_string(), QUEUE_RETRY)
    }
}

impl From<SubscribeError> for Problem {
    fn from(error: SubscribeError) -> Self {
        use SubscribeError as E;
        let kind = match error {
            E::NotUtf8 { .. } => Kind::BadEncoding,
            E::UnknownParameter { .. } => Kind::UnknownField,
            E::Topic { .. } => Kind::BadField,
            E::TopicTooLong { .. } | E::TooManySelectors { .. } => Kind::LimitExceeded,
        };
        Self::bad_request(kind, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;
    use crate::http::excerpt::Excerpt;

    async fn document(response: Response<Full<Bytes>>) -> serde_json::Value {
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
        let length = response.headers()[CONTENT_LENGTH].to_str().unwrap().parse::<usize>().unwrap();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body.len(), length);
        serde_json::from_slice(&body).unwrap()
    }

    #[tokio::test]
    async fn a_problem_without_a_type_has_the_title_of_its_status() {
        let response = Problem::not_found(&["GET /events", "POST /events"]).into_response();
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        let expected = serde_json::json!({
            "type": "about:blank",
            "title": "Not Found",
            "status": 404,
            "detail": "there is no resource at this path; the routes are GET /events, POST /events",
        });
        assert_eq!(document(response).await, expected);
    }

    #[tokio::test]
    async fn a_problem_type_has_its_own_uri_and_title() {
        let problem =
            Problem::from(SubscribeError::UnknownParameter { name: Excerpt::of("\"topics\"") });
        let document = document(problem.into_response()).await;
        assert_eq!(document["type"], "urn:fanfare:problem:unknown-field");
        assert_eq!(document["title"], "Unknown field");
        assert_eq!(document["status"], 400);
        assert!(document["detail"].as_str().unwrap().contains("`\"topics\"`"));
    }

    #[test]
    fn each_problem_has_its_status() {
        for (problem, status) in [
            (Problem::method_not_allowed("GET"), 405),
            (Problem::not_acceptable(), 406),
            (PublishError::TooLarge { limit: 1 }.into(), 413),
            (Problem::timeout(Duration::from_secs(5)), 408),
            (Problem::too_slow(1), 408),
            (Problem::bad_host("x"), 400),
            (Problem::repeated_chunked(), 400),
            (Problem::unknown_transfer_coding(), 501),
            (Problem::unsupported_media_type("x"), 415),
            (Problem::unsupported_content_coding("x"), 415),
            (PublishError::TooLargeDecoded { limit: 1 }.into(), 413),
            (Problem::forbidden_origin(), 403),
            (Problem::busy("x", Duration::from_secs(1)), 503),
            (PublishError::Multipart.into(), 415),
        ] {
            assert_eq!(problem.status.as_u16(), status);
            assert_eq!(problem.kind, Kind::Blank);
        }
    }

    #[test]
    fn what_the_client_can_do_is_sent_in_headers() {
        let coding = Problem::unsupported_content_coding("gzip, zstd").into_response();
        assert_eq!(coding.headers()[ACCEPT_ENCODING], "gzip, zstd");
        // A client would conclude that the coding was the reason (RFC 9110 §12.5.3).
        let charset = Problem::unsupported_media_type("x").into_response();
        assert!(!charset.headers().contains_key(ACCEPT_ENCODING));
        assert_eq!(
            Problem::method_not_allowed("GET, HEAD").into_response().headers()[ALLOW],
            "GET, HEAD"
        );
        for (millis, seconds) in [(0, "1"), (999, "1"), (1000, "1"), (1001, "2")] {
            let busy = Problem::busy("x", Duration::from_millis(millis)).into_response();
            assert_eq!(busy.headers()[RETRY_AFTER], seconds);
        }
        let neither = Problem::not_acceptable().into_response();
        assert!(
            !neither.headers().contains_key(ALLOW) && !neither.headers().contains_key(RETRY_AFTER)
        );
    }

    #[test]
    fn the_module_table_lists_every_type() {
        let table =
            include_str!("problem.rs").lines().filter(|line| line.starts_with("//! | `urn:"));
        let documented: Vec<_> = table.filter_map(|line| line.split('`').nth(1)).collect();
        use Kind::*;
        let kinds = [
            UnknownField,
            RepeatedField,
            MisplacedFields,
            BadEncoding,
            BadJson,
            BadField,
            MissingTopic,
            LimitExceeded,
        ];
        assert_eq!(documented, kinds.map(|kind| kind.uri_and_title().0));
    }
}
