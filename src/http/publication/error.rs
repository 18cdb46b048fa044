//! Errors of the publish request parser. `http/problem.rs` maps them to statuses.

use crate::event::{IdError, TopicError};
use crate::http::excerpt::Excerpt;

/// The part of a request that carries the event's fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FieldSource {
    /// An `application/x-www-form-urlencoded` body.
    Form,
    /// An `application/json` body.
    Json,
    /// The query of the URL; the body is the data.
    Query,
}

impl FieldSource {
    fn fields(self) -> &'static str {
        match self {
            Self::Form | Self::Json => "`topic`, `data`, `id`, `type`, `retry`",
            Self::Query => "`topic`, `id`, `type`, `retry`; the body is the data",
        }
    }

    fn topic_hint(self) -> &'static str {
        match self {
            Self::Form => "add `topic=…` to the form",
            Self::Json => "add `\"topic\": \"…\"` to the object",
            Self::Query => {
                "add `?topic=…` to the URL, or send the fields as \
                 application/x-www-form-urlencoded or application/json with that Content-Type"
            }
        }
    }
}

impl std::fmt::Display for FieldSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Form => "the form",
            Self::Json => "the JSON object",
            Self::Query => "the query",
        })
    }
}

/// Why a publish request is refused. The message says what is wrong and how to correct it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PublishError {
    /// The body is over the limit. Detected while it is received, before parsing.
    #[error("the body is larger than this node's limit of {limit} bytes (FANFARE_EVENT_BYTES_MAX)")]
    TooLarge {
        /// The limit, bytes.
        limit: usize,
    },
    /// The body is over the limit once its content coding is removed.
    #[error(
        "the body is larger than this node's limit of {limit} bytes after decoding \
         (FANFARE_EVENT_BYTES_MAX)"
    )]
    TooLargeDecoded {
        /// The limit, bytes.
        limit: usize,
    },
    /// A body that is not in the content coding that the request names.
    #[error("the body is not valid {coding}, which its Content-Encoding names")]
    BadCoding {
        /// As in the Content-Encoding.
        coding: &'static str,
    },
    /// `multipart/form-data`, which browsers send for a `FormData`.
    #[error(
        "multipart/form-data is not supported; send application/x-www-form-urlencoded \
         (in a browser, `new URLSearchParams(form)`), application/json, \
         or the data itself as text/plain with `?topic=…`"
    )]
    Multipart,
    /// The Content-Type names a charset other than UTF-8.
    #[error("charset `{charset}` is not supported; send UTF-8")]
    Charset {
        /// As in the Content-Type.
        charset: Excerpt,
    },
    /// A query beside a body that carries the fields; it would be ignored otherwise.
    #[error(
        "the URL has a query, but the fields of this request are read from {found_in}; \
         move them there"
    )]
    QueryBesideBody {
        /// Where the fields are read from.
        found_in: FieldSource,
    },
    /// A body of JSON or of plain data that is not UTF-8.
    #[error("the body is not UTF-8: byte {offset} is invalid; send binary data as base64")]
    BodyNotUtf8 {
        /// Offset of the first invalid byte.
        offset: usize,
    },
    /// A form or query with percent-encoding of invalid UTF-8.
    #[error(
        "`{name}` in {found_in} is not UTF-8 after percent-decoding; send binary data as base64"
    )]
    FieldNotUtf8 {
        /// The field's name, decoded lossily.
        name: Excerpt,
        found_in: FieldSource,
    },
    /// Invalid JSON, or not an object.
    #[error("the JSON body can't be read: {reason} at line {line} column {column}")]
    Json {
        /// The message of the JSON parser.
        reason: Excerpt,
        /// Counted from 1.
        line: usize,
        /// Counted from 1; 0 is the start of the line.
        column: usize,
    },
    /// JSON with the Content-Type of a form, as `curl -d '{…}'` sends it.
    #[error(
        "the body looks like JSON but was sent as a form; \
         send it with `Content-Type: application/json`"
    )]
    JsonAsForm,
    /// A field with an unknown name; it would be ignored otherwise.
    #[error("unknown field `{name}` in {found_in}; the fields are {}", .found_in.fields())]
    UnknownField { name: Excerpt, found_in: FieldSource },
    /// A second value for a field that takes one.
    #[error("`{field}` is given twice in {found_in}; give it once{}",
        if *.field == "topic" { ", with an array of topics" } else { "" })]
    RepeatedField { field: &'static str, found_in: FieldSource },
    /// A JSON value of the wrong type.
    #[error("`{field}` must be {expected}")]
    FieldShape {
        field: &'static str,
        /// The types it accepts.
        expected: &'static str,
    },
    /// A JSON string with an unpaired surrogate, which UTF-8 can't represent.
    #[error(
        "`{field}` has a `\\u` escape that is half of a surrogate pair; \
         send both halves of the pair"
    )]
    LoneSurrogate { field: &'static str },
    /// No topic to publish to.
    #[error("the event has no topic; {}", .found_in.topic_hint())]
    NoTopic {
        /// Where a topic was expected.
        found_in: FieldSource,
    },
    /// An invalid topic.
    #[error("{reason}")]
    Topic { reason: TopicError },
    /// A topic over `EventLimits::topic_bytes`. Checked before the topic is hashed.
    #[error("a topic has at most {limit} bytes (FANFARE_TOPIC_BYTES_MAX); this one has {bytes}")]
    TopicTooLong {
        /// Size of the topic.
        bytes: usize,
        /// The limit, bytes.
        limit: usize,
    },
    /// More topics than `EventLimits::topics`, duplicates included.
    #[error(
        "a request names at most {limit} topics (FANFARE_EVENT_TOPICS_MAX), duplicates included; \
         publish the event several times"
    )]
    TooManyTopics { limit: usize },
    /// An id that some clients couldn't send back in `Last-Event-ID`.
    #[error("{reason}")]
    Id { reason: IdError },
    /// A control character in `type`: a line break would end the `event:` line on the wire, and the
    /// others have no use there.
    #[error("`type` can't contain control characters (found U+{control:04X})")]
    TypeControl {
        /// The first one found.
        control: u32,
    },
    /// The type of a control event, which only the node sends.
    #[error("`{reserved}` is reserved for the node's own events; use another `type`")]
    TypeReserved { reserved: &'static str },
    /// Not ASCII digits, the only form clients accept (WHATWG HTML §9.2.6), or more than 64 bits.
    #[error(
        "`retry` must be a whole number of milliseconds up to {}, in digits; found `{value}`",
        u64::MAX
    )]
    Retry {
        /// What was sent.
        value: Excerpt,
    },
}
