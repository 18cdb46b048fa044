//! Refusals as `application/problem+json` (RFC 9457). The one place where errors become statuses.
//!
//! `type` is `about:blank` where the status says it all. Where one status has several causes that a
//! program may want to tell apart, it is one of these, which are part of the protocol and don't
//! change:
//!
//! | `type` | status | the request |
//! |---|---|---|
//! | `urn:fanfare:problem:unknown-field` | 400 | names a field or parameter that means nothing here |
//! | `urn:fanfare:problem:repeated-field` | 400 | gives a field twice that can be given once |
//! | `urn:fanfare:problem:misplaced-fields` | 400 | has a query beside a body that carries the fields |
//! | `urn:fanfare:problem:bad-encoding` | 400 | has text that is not UTF-8 |
//! | `urn:fanfare:problem:bad-json` | 400 | has a body that is not the JSON asked for |
//! | `urn:fanfare:problem:bad-field` | 400 | has a field whose value can't be used |
//! | `urn:fanfare:problem:missing-topic` | 400 | names no topic to publish to |
//! | `urn:fanfare:problem:limit-exceeded` | 400 | has more topics, or longer ones, than are taken here |

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde::Serialize;

use super::publication::PublishError;
use super::query::SubscribeError;

/// What kind of refusal it is: `type` and `title` of the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the module's table says what each one means")]
pub enum Kind {
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
    /// The stable identifier, and the title unless the status has it.
    fn uri_and_title(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Blank => ("about:blank", None),
            Self::UnknownField => ("urn:fanfare:problem:unknown-field", Some("Unknown field")),
            Self::RepeatedField => ("urn:fanfare:problem:repeated-field", Some("Repeated field")),
            Self::MisplacedFields => {
                ("urn:fanfare:problem:misplaced-fields", Some("Misplaced fields"))
            }
            Self::BadEncoding => ("urn:fanfare:problem:bad-encoding", Some("Not UTF-8")),
            Self::BadJson => ("urn:fanfare:problem:bad-json", Some("Bad JSON")),
            Self::BadField => ("urn:fanfare:problem:bad-field", Some("Bad field")),
            Self::MissingTopic => ("urn:fanfare:problem:missing-topic", Some("Missing topic")),
            Self::LimitExceeded => ("urn:fanfare:problem:limit-exceeded", Some("Limit exceeded")),
        }
    }
}

/// A refusal, not yet a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The status of the response.
    pub status: StatusCode,
    /// Which of the documented causes.
    pub kind: Kind,
    /// What was wrong and what would be right; for people.
    pub detail: String,
    /// The methods there are, for `Allow`.
    pub allow: Option<&'static str>,
    /// When to try again, for `Retry-After`, which has whole seconds: rounded up.
    pub retry_after: Option<Duration>,
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
    /// A refusal whose status says what kind it is.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, kind: Kind::Blank, detail: detail.into(), allow: None, retry_after: None }
    }

    /// 400, for one of the documented causes.
    pub fn bad_request(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, ..Self::new(StatusCode::BAD_REQUEST, detail) }
    }

    /// 404, with the routes that exist, such as `GET /events`.
    pub fn not_found(routes: &[&str]) -> Self {
        let routes = routes.join(", ");
        Self::new(
            StatusCode::NOT_FOUND,
            format!("there is nothing at this path; there is {routes}"),
        )
    }

    /// 405, with the methods that exist, such as `GET, HEAD`.
    pub fn method_not_allowed(allow: &'static str) -> Self {
        let detail = format!("this path takes {allow}");
        Self { allow: Some(allow), ..Self::new(StatusCode::METHOD_NOT_ALLOWED, detail) }
    }

    /// 406: the client excludes event streams.
    pub fn not_acceptable() -> Self {
        let detail = "this path answers with text/event-stream, which the Accept header excludes; \
                      send `Accept: text/event-stream`";
        Self::new(StatusCode::NOT_ACCEPTABLE, detail)
    }

    /// 408: the request was not complete after `waited`.
    pub fn timeout(waited: Duration) -> Self {
        let detail = format!("the request was not complete after {waited:?}; send it again, whole");
        Self::new(StatusCode::REQUEST_TIMEOUT, detail)
    }

    /// 415, with what would be read instead.
    pub fn unsupported_media_type(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail)
    }

    /// 403: a web page of an origin that may not publish
    /// ([`cors::publish_allowed`](super::cors::publish_allowed)).
    pub fn forbidden_origin() -> Self {
        let detail = "a web page of this origin may not publish here; publish from a server, \
                      or let the origin in (FANFARE_CORS_ORIGINS)";
        Self::new(StatusCode::FORBIDDEN, detail)
    }

    /// 503: worth trying again later.
    pub fn busy(detail: impl Into<String>, retry_after: Duration) -> Self {
        Self {
            retry_after: Some(retry_after),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
        }
    }

    /// The response. Never kept by a cache: what is refused now may be taken in a second.
    pub fn into_response(self) -> Response<Full<Bytes>> {
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
        if let Some(after) = self.retry_after {
            let started = u64::from(after.subsec_nanos() > 0);
            headers.insert(RETRY_AFTER, after.as_secs().saturating_add(started).max(1).into());
        }
        response
    }
}

impl From<PublishError> for Problem {
    fn from(error: PublishError) -> Self {
        use PublishError as E;
        let detail = error.to_string();
        let kind = match error {
            E::TooLarge { .. } => return Self::new(StatusCode::PAYLOAD_TOO_LARGE, detail),
            E::Multipart | E::Charset { .. } => return Self::unsupported_media_type(detail),
            E::UnknownField { .. } | E::JsonAsForm => Kind::UnknownField,
            E::RepeatedField { .. } => Kind::RepeatedField,
            E::QueryBesideBody { .. } => Kind::MisplacedFields,
            E::BodyNotUtf8 { .. } | E::FieldNotUtf8 { .. } => Kind::BadEncoding,
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
    async fn a_problem_is_a_document_with_the_status_and_the_reason() {
        let response = Problem::not_found(&["GET /events", "POST /events"]).into_response();
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        let expected = serde_json::json!({
            "type": "about:blank",
            "title": "Not Found",
            "status": 404,
            "detail": "there is nothing at this path; there is GET /events, POST /events",
        });
        assert_eq!(document(response).await, expected);
    }

    #[tokio::test]
    async fn a_documented_cause_has_its_own_type_and_title() {
        let problem =
            Problem::from(SubscribeError::UnknownParameter { name: Excerpt::of("\"topics\"") });
        let document = document(problem.into_response()).await;
        assert_eq!(document["type"], "urn:fanfare:problem:unknown-field");
        assert_eq!(document["title"], "Unknown field");
        assert_eq!(document["status"], 400);
        assert!(document["detail"].as_str().unwrap().contains("`\"topics\"`"));
    }

    #[test]
    fn each_refusal_has_its_status() {
        for (problem, status) in [
            (Problem::method_not_allowed("GET"), 405),
            (Problem::not_acceptable(), 406),
            (PublishError::TooLarge { limit: 1 }.into(), 413),
            (Problem::timeout(Duration::from_secs(5)), 408),
            (Problem::unsupported_media_type("x"), 415),
            (Problem::forbidden_origin(), 403),
            (Problem::busy("x", Duration::from_secs(1)), 503),
            (PublishError::Multipart.into(), 415),
        ] {
            assert_eq!(problem.status.as_u16(), status);
            assert_eq!(problem.kind, Kind::Blank);
        }
    }

    #[test]
    fn allow_and_retry_after_are_headers() {
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
    fn every_type_is_in_the_table() {
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
