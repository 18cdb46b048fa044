//! Why a publish request is refused. Becomes a status in [`http::Problem`](crate::http::Problem),
//! nowhere else.

use crate::event::{IdError, TopicError};
use crate::http::excerpt::Excerpt;

/// Where a request has its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldSource {
    /// An `application/x-www-form-urlencoded` body.
    Form,
    /// An `application/json` body.
    Json,
    /// The URL, beside a body that is the data.
    Query,
}

impl FieldSource {
    fn fields(self) -> &'static str {
        match self {
            Self::Form | Self::Json => "`topic`, `data`, `id`, `type`, `retry`",
            Self::Query => "`topic`, `id`, `type`, `retry`; the body is the data",
        }
    }

    fn how_to_name_a_topic(self) -> &'static str {
        match self {
            Self::Form => "add `topic=…` to the form",
            Self::Json => "add `\"topic\": \"…\"` to the object",
            Self::Query => {
                "add `?topic=…` to the URL, or send the fields as application/x-www-form-urlencoded or \
                 application/json with that Content-Type"
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

/// Why a request can't be published. The message says what was wrong and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// Found by whoever reads the body, before there is anything to parse.
    #[error(
        "the body has more than {limit} bytes, the most this node takes (FANFARE_EVENT_BYTES_MAX)"
    )]
    TooLarge {
        /// The largest body taken, bytes.
        limit: usize,
    },
    /// What a browser sends for a `FormData`.
    #[error(
        "multipart/form-data is not read here; send application/x-www-form-urlencoded (in a browser, \
         `new URLSearchParams(form)`), application/json, or the data itself as text/plain with `?topic=…`"
    )]
    Multipart,
    /// A body in another encoding, and says so.
    #[error("charset `{charset}` is not read here; send UTF-8")]
    Charset {
        /// As the Content-Type has it.
        charset: Excerpt,
    },
    /// A query that would otherwise be lost.
    #[error(
        "the URL has a query, but the fields of this request are read from {found_in}; move them there"
    )]
    QueryBesideBody {
        /// Where the fields belong.
        found_in: FieldSource,
    },
    /// A body of JSON or of plain data with other bytes in it.
    #[error(
        "the body is not UTF-8: byte {offset} does not belong there; send binary data as base64"
    )]
    BodyNotUtf8 {
        /// The first byte that is wrong, counted from 0.
        offset: usize,
    },
    /// A form or query whose percent-encoding hides other bytes.
    #[error(
        "`{name}` in {found_in} is not UTF-8 after percent-decoding; send binary data as base64"
    )]
    FieldNotUtf8 {
        /// The field's name, as far as it can be read.
        name: Excerpt,
        /// Where it was found.
        found_in: FieldSource,
    },
    /// Not JSON, or not an object.
    #[error("the JSON body can't be read: {reason} at line {line} column {column}")]
    Json {
        /// In the words of the JSON parser.
        reason: Excerpt,
        /// Counted from 1.
        line: usize,
        /// Counted from 1; 0 stands for the start of the line.
        column: usize,
    },
    /// What `curl -d '{…}'` sends.
    #[error(
        "the body looks like JSON but was sent as a form; send it with `Content-Type: application/json`"
    )]
    JsonAsForm,
    /// A field that would otherwise be lost.
    #[error("unknown field `{name}` in {found_in}; the fields are {}", .found_in.fields())]
    UnknownField {
        /// Its name.
        name: Excerpt,
        /// Where it was found.
        found_in: FieldSource,
    },
    /// Which of the two is meant can't be known.
    #[error("`{field}` is given twice in {found_in}; give it once{}",
        if *.field == "topic" { ", with an array of topics" } else { "" })]
    RepeatedField {
        /// Its name.
        field: &'static str,
        /// Where it was found.
        found_in: FieldSource,
    },
    /// A JSON value of the wrong type.
    #[error("`{field}` must be {expected}")]
    FieldShape {
        /// Its name.
        field: &'static str,
        /// What it may be.
        expected: &'static str,
    },
    /// JSON can spell what Unicode can't.
    #[error(
        "`{field}` has a `\\u` escape that is half of a surrogate pair; both halves make one character"
    )]
    LoneSurrogate {
        /// Its name.
        field: &'static str,
    },
    /// Nowhere to publish to.
    #[error("the event has no topic; {}", .found_in.how_to_name_a_topic())]
    NoTopic {
        /// Where the topic was looked for.
        found_in: FieldSource,
    },
    /// Not a topic.
    #[error("{reason}")]
    Topic {
        /// What is wrong with it.
        reason: TopicError,
    },
    /// Found before the topic is even hashed.
    #[error("a topic has at most {limit} bytes (FANFARE_TOPIC_BYTES_MAX); this one has {bytes}")]
    TopicTooLong {
        /// Its size.
        bytes: usize,
        /// The largest size taken.
        limit: usize,
    },
    /// More different topics than one event may have.
    #[error(
        "an event has at most {limit} topics (FANFARE_EVENT_TOPICS_MAX); publish it several times"
    )]
    TooManyTopics {
        /// The largest number taken.
        limit: usize,
    },
    /// Not an id that every client can bring back.
    #[error("{reason}")]
    Id {
        /// What is wrong with it.
        reason: IdError,
    },
    /// A line break in `type` would end the line on the wire; the others have no use there.
    #[error("`type` can't contain control characters (found U+{control:04X})")]
    TypeControl {
        /// The first one found.
        control: u32,
    },
    /// A subscriber would take it as the node's own word.
    #[error("`{reserved}` is an event type of the node's own; use another `type`")]
    TypeReserved {
        /// The type.
        reserved: &'static str,
    },
    /// Anything but ASCII digits, which is all that clients read (WHATWG HTML §9.2.6), or more than
    /// 64 bits.
    #[error(
        "`retry` is a whole number of milliseconds up to {}, in digits; this is `{value}`",
        u64::MAX
    )]
    Retry {
        /// What was sent.
        value: Excerpt,
    },
}
