//! Publish request parser: selects the reader by Content-Type.
//!
//! | Content-Type | the fields are in | `data` |
//! |---|---|---|
//! | `application/x-www-form-urlencoded` | the body | a field |
//! | `application/json` | the body | a field: a string, or any value, sent in compact form |
//! | anything else, or none | the query | the body |

use bytes::Bytes;

use super::builder::{EventLimits, Field, PublicationBuilder};
use super::error::{FieldSource, PublishError};
use super::{form, json};
use crate::event::Publication;
use crate::http::excerpt::Excerpt;
use crate::http::header::{parameter, split_unquoted};

/// Parses a publish request. Unknown fields are errors: an ignored field would publish an event
/// other than the publisher meant.
///
/// `topic` is repeatable (in JSON: an array); duplicates are dropped, but count towards the limit.
/// `data` defaults to the empty string, and an empty `type` counts as absent.
/// Parameters of the content type are ignored, except a charset other than UTF-8.
///
/// # Errors
///
/// The first error found; see [`PublishError`].
pub(crate) fn parse(
    content_type: Option<&str>,
    query: Option<&str>,
    body: Bytes,
    limits: &EventLimits,
) -> Result<Publication, PublishError> {
    let found_in = field_source(content_type)?;
    let query = query.unwrap_or_default().as_bytes();
    if found_in != FieldSource::Query && query.iter().any(|&b| b != b'&') {
        return Err(PublishError::QueryBesideBody { found_in });
    }
    let mut builder = PublicationBuilder::new(found_in, limits);
    match found_in {
        FieldSource::Form => form::read(&body, &mut builder)?,
        FieldSource::Json => {
            json::read(std::str::from_utf8(&body).map_err(not_utf8)?, &mut builder)?
        }
        FieldSource::Query => {
            form::read(query, &mut builder)?;
            // Copies only if the body's buffer is shared.
            let data =
                String::from_utf8(body.into()).map_err(|error| not_utf8(error.utf8_error()))?;
            builder.set(Field::Data, data.into())?;
        }
    }
    builder.finish()
}

fn field_source(content_type: Option<&str>) -> Result<FieldSource, PublishError> {
    let mut parts = split_unquoted(content_type.unwrap_or_default(), ';');
    let found_in = match parts.next().unwrap_or_default().to_ascii_lowercase().as_str() {
        "application/x-www-form-urlencoded" => FieldSource::Form,
        "application/json" => FieldSource::Json,
        "multipart/form-data" => return Err(PublishError::Multipart),
        _ => FieldSource::Query,
    };
    match parameter(parts, "charset") {
        Some(charset)
            if !["utf-8", "utf8"].iter().any(|utf8| charset.eq_ignore_ascii_case(utf8)) =>
        {
            Err(PublishError::Charset { charset: Excerpt::of(charset) })
        }
        _ => Ok(found_in),
    }
}

fn not_utf8(error: std::str::Utf8Error) -> PublishError {
    PublishError::BodyNotUtf8 { offset: error.valid_up_to() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::{EventId, IdError, Topic, TopicError};

    const LIMITS: EventLimits = EventLimits { topics: 2, topic_bytes: 8 };
    const FORM: Option<&str> = Some("application/x-www-form-urlencoded");

    fn raw(query: &str, body: &'static [u8]) -> Result<Publication, PublishError> {
        parse(None, Some(query), Bytes::from_static(body), &LIMITS)
    }

    fn source_of(content_type: &str) -> Result<FieldSource, PublishError> {
        field_source(Some(content_type))
    }

    #[test]
    fn any_other_content_type_takes_data_from_the_body_and_fields_from_the_query() {
        let event = raw("topic=a&topic=b+c&id=1&type=t%20u&retry=9&", b"{\"not\": \"read\"}\r\n\n")
            .unwrap();
        let expected = Publication {
            topics: ["a", "b c"].map(|name| Topic::new(name).unwrap()).into(),
            data: "{\"not\": \"read\"}\r\n\n".into(),
            id: Some(EventId::new("1").unwrap()),
            event_type: Some("t u".into()),
            retry: Some(9),
        };
        assert_eq!(event, expected);
        assert_eq!(raw("topic=a", b"").unwrap().data, "");
    }

    #[test]
    fn a_body_that_is_not_utf_8_is_refused_wherever_the_bytes_are() {
        assert_eq!(raw("topic=a", b"a\xc3"), Err(PublishError::BodyNotUtf8 { offset: 1 }));
        let json = Bytes::from_static(b"{\"topic\":\"a\",\"data\":[\"\xff\"]}");
        let refused = parse(Some("application/json"), None, json, &LIMITS);
        assert_eq!(refused, Err(PublishError::BodyNotUtf8 { offset: 22 }));
    }

    #[test]
    fn a_query_is_parsed_as_strictly_as_a_form() {
        let unknown = |name| PublishError::UnknownField {
            name: Excerpt::of(name),
            found_in: FieldSource::Query,
        };
        assert_eq!(raw("topic=a&x", b""), Err(unknown("x")));
        assert_eq!(raw("topic=a&data=1", b""), Err(unknown("data")));
        assert!(
            unknown("data")
                .to_string()
                .ends_with("`topic`, `id`, `type`, `retry`; the body is the data")
        );
        let not_utf8 =
            PublishError::FieldNotUtf8 { name: Excerpt::of("topic"), found_in: FieldSource::Query };
        assert_eq!(raw("topic=%FF", b""), Err(not_utf8));
        let repeated = PublishError::RepeatedField { field: "id", found_in: FieldSource::Query };
        assert_eq!(raw("topic=a&id=1&id=1", b""), Err(repeated));
    }

    #[test]
    fn a_query_beside_a_form_or_json_is_refused() {
        for (content_type, found_in) in
            [("application/json", FieldSource::Json), (FORM.unwrap(), FieldSource::Form)]
        {
            let refused = parse(Some(content_type), Some("topic=a"), Bytes::new(), &LIMITS);
            assert_eq!(refused, Err(PublishError::QueryBesideBody { found_in }));
        }
        for query in ["", "&", "&&"] {
            assert!(parse(FORM, Some(query), Bytes::from("topic=a"), &LIMITS).is_ok(), "{query}");
        }
    }

    #[test]
    fn the_content_type_selects_the_source_of_the_fields() {
        for (content_type, found_in) in [
            ("application/json", FieldSource::Json),
            ("Application/JSON ; charset=\"UTF-8\"; x=y", FieldSource::Json),
            ("application/json;charset=utf8", FieldSource::Json),
            ("application/x-www-form-urlencoded; charset=utf-8", FieldSource::Form),
            ("text/plain", FieldSource::Query),
            ("application/jsonp", FieldSource::Query),
            ("application/cloudevents+json", FieldSource::Query),
            ("", FieldSource::Query),
            (";;=", FieldSource::Query),
        ] {
            assert_eq!(source_of(content_type), Ok(found_in), "{content_type}");
        }
        assert_eq!(field_source(None), Ok(FieldSource::Query));
    }

    #[test]
    fn multipart_and_other_charsets_are_refused() {
        assert_eq!(source_of("multipart/form-data; boundary=x"), Err(PublishError::Multipart));
        for essence in ["application/json", "text/plain", FORM.unwrap()] {
            let refused = source_of(&format!("{essence}; charset=ISO-8859-1"));
            assert_eq!(refused, Err(PublishError::Charset { charset: Excerpt::of("ISO-8859-1") }));
        }
    }

    #[test]
    fn topics_are_required_validated_and_bounded() {
        assert_eq!(raw("", b"x"), Err(PublishError::NoTopic { found_in: FieldSource::Query }));
        assert_eq!(raw("topic=", b""), Err(PublishError::Topic { reason: TopicError::Empty }));
        assert_eq!(
            raw("topic=%7F", b""),
            Err(PublishError::Topic { reason: TopicError::Control(0x7f) })
        );
        assert!(raw("topic=a&topic=a", b"").is_ok());
        let many = raw("topic=a&topic=b&topic=c", b"").unwrap_err();
        assert_eq!(many, PublishError::TooManyTopics { limit: 2 });
        assert!(many.to_string().contains("2 topics (FANFARE_EVENT_TOPICS_MAX)"));
        assert!(raw("topic=12345678", b"").is_ok());
        let long = raw("topic=1234567%C3%A9", b"").unwrap_err();
        assert_eq!(long, PublishError::TopicTooLong { bytes: 9, limit: 8 });
        assert!(long.to_string().contains("8 bytes (FANFARE_TOPIC_BYTES_MAX)"));
    }

    #[test]
    fn the_types_of_control_events_are_reserved() {
        for reserved in crate::event::CONTROL_TYPES {
            let refused = raw(&format!("topic=a&type={reserved}"), b"");
            assert_eq!(refused, Err(PublishError::TypeReserved { reserved }));
        }
        assert!(raw("topic=a&type=Reset", b"").is_ok());
    }

    #[test]
    fn control_characters_in_id_and_type_are_refused_and_an_empty_type_is_none() {
        assert_eq!(raw("topic=a&type=", b"").unwrap().event_type, None);
        for control in [0x0A, 0x0D, 0, 0x7F] {
            let refused = raw(&format!("topic=a&type=x%{control:02X}"), b"");
            assert_eq!(refused, Err(PublishError::TypeControl { control }));
            let refused = raw(&format!("topic=a&id=x%{control:02X}"), b"");
            assert_eq!(refused, Err(PublishError::Id { reason: IdError::NotPrintable }));
        }
        assert_eq!(raw("topic=a&id=", b""), Err(PublishError::Id { reason: IdError::Empty }));
    }

    #[test]
    fn retry_is_ascii_digits_up_to_64_bits() {
        assert_eq!(raw("topic=a&retry=18446744073709551615", b"").unwrap().retry, Some(u64::MAX));
        for value in ["", "-1", "%2B1", "1.5", "18446744073709551616", "%D9%A1"] {
            let refused = raw(&format!("topic=a&retry={value}"), b"");
            assert!(matches!(refused, Err(PublishError::Retry { .. })), "{value}");
        }
    }

    #[test]
    fn a_body_with_one_owner_is_not_copied() {
        let body = Bytes::from(vec![b'x'; 64]);
        let at = body.as_ptr();
        assert_eq!(parse(None, Some("topic=a"), body, &LIMITS).unwrap().data.as_ptr(), at);
    }

    /// A JSON string with a well-formed topic, mostly within the limit.
    fn topic() -> impl Strategy<Value = String> {
        "\"[a-d]{1,9}\""
    }

    fn any_value() -> impl Strategy<Value = String> {
        let scalar = r#"null|true|-?[0-9]{1,3}(\.5)?|"(a|\\n|\\ud8[0-9a-f]{2}){0,3}""#;
        prop_oneof![
            3 => r#""[1-9]{1,3}""#,
            1 => scalar,
            1 => r"\[([0-9](, ?null)?)?\]",
            1 => r#"\{("topic": ?"a")?\}"#,
        ]
    }

    /// The members of an object: mostly a well-formed topic, and any of the other fields.
    fn members() -> impl Strategy<Value = Vec<String>> {
        let array = prop::collection::vec(topic(), 0..4);
        let topics = prop_oneof![
            4 => topic(),
            4 => array.prop_map(|topics| format!("[{}]", topics.join(","))),
            1 => any_value(),
        ];
        let others = prop::sample::subsequence(vec!["data", "id", "type", "retry", "x"], 0..=2);
        let others = others.prop_flat_map(|names| {
            let values = prop::collection::vec(any_value(), names.len());
            values.prop_map(move |values| {
                names
                    .iter()
                    .zip(values)
                    .map(|(name, value)| format!("\"{name}\": {value}"))
                    .collect()
            })
        });
        let members = (topics, others).prop_map(|(topics, mut members): (_, Vec<_>)| {
            members.push(format!("\"topic\":{topics}"));
            members
        });
        members.prop_shuffle()
    }

    /// An object, in three of ten cases with a token inserted anywhere.
    fn almost_json() -> impl Strategy<Value = String> {
        let token = prop::option::weighted(0.3, r#"[\[\]{}:,"\\ ]|null|"a"|\\ud8"#);
        (members(), token, any::<prop::sample::Index>()).prop_map(|(members, token, at)| {
            let mut body = format!("{{{}}}", members.join(", "));
            body.insert_str(at.index(body.len() + 1), &token.unwrap_or_default());
            body
        })
    }

    proptest! {
        #[test]
        fn any_request_is_parsed_or_refused_without_a_panic(
            content_type in prop::option::of(
                "(application/(json|x-www-form-urlencoded)|\\PC{0,10})(;\\PC{0,20})?",
            ),
            query in prop::option::of("(topic=a)?\\PC{0,20}"),
            body: Vec<u8>,
        ) {
            let _ = parse(content_type.as_deref(), query.as_deref(), body.into(), &LIMITS);
        }

        #[test]
        fn an_event_parsed_from_json_is_within_the_limits(body in almost_json()) {
            if let Ok(event) = parse(Some("application/json"), None, body.into(), &LIMITS) {
                prop_assert!((1..=LIMITS.topics).contains(&event.topics.len()));
                for topic in &event.topics {
                    prop_assert!(topic.as_str().len() <= LIMITS.topic_bytes);
                }
            }
        }
    }
}
