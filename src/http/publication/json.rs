//! Reads the fields of an event from a JSON object. `data` other than a string is published as
//! written, without insignificant whitespace.
//!
//! `data` is not deserialized, so numbers keep their digits and objects their order. Nothing
//! recurses: a level of nesting costs one byte of memory, so the size of the body bounds the depth.

use serde::de::{Deserializer as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Deserializer;
use serde_json::value::RawValue;

use super::builder::{Field, PublicationBuilder};
use super::error::PublishError;
use crate::http::excerpt::Excerpt;

/// Reads every field of the object `body` into the builder.
pub(super) fn read(body: &str, builder: &mut PublicationBuilder<'_>) -> Result<(), PublishError> {
    let mut json = Deserializer::from_str(body);
    let fields = json.deserialize_map(Object(builder)).map_err(|error| syntax_error(&error))?;
    json.end().map_err(|error| syntax_error(&error))?;
    for (field, value) in fields? {
        set(field, value, builder)?;
    }
    Ok(())
}

/// Visitor of the event's object; collects at most one raw value per field.
struct Object<'a, 'b>(&'a mut PublicationBuilder<'b>);

impl<'de> Visitor<'de> for Object<'_, '_> {
    /// The inner error is reported only once the whole body has proved to be valid JSON.
    type Value = Result<Vec<(Field, &'de RawValue)>, PublishError>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object with a `topic`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Ok(Vec::new());
        while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
            if let Ok(known) = &mut fields {
                match self.0.claim(&name) {
                    Ok(field) => known.push((field, value)),
                    Err(error) => fields = Err(error),
                }
            }
        }
        Ok(fields)
    }
}

/// `null` counts as absent for `id`, `type` and `retry`: many serializers write an unset option so.
fn set(
    field: Field,
    value: &RawValue,
    builder: &mut PublicationBuilder<'_>,
) -> Result<(), PublishError> {
    let json = value.get();
    match (field, json.as_bytes()[0]) {
        (Field::Topic, b'[') => {
            let mut array = Deserializer::from_str(json);
            array.deserialize_seq(Topics(builder)).map_err(|error| wrong_type(field, &error))?
        }
        (Field::Data, first) if first != b'"' => builder.set(field, compact(json).into()),
        (Field::Id | Field::Type | Field::Retry, b'n') => Ok(()),
        (Field::Retry, b'-' | b'0'..=b'9') => builder.set(field, json.into()),
        _ => {
            let text: String =
                serde_json::from_str(json).map_err(|error| wrong_type(field, &error))?;
            builder.set(field, text.into())
        }
    }
}

/// Visitor of an array of topics; adds each topic as it is read, so a long array isn't buffered.
struct Topics<'a, 'b>(&'a mut PublicationBuilder<'b>);

impl<'de> Visitor<'de> for Topics<'_, '_> {
    type Value = Result<(), PublishError>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array of strings")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while let Some(name) = seq.next_element::<String>()? {
            if let Err(error) = self.0.set(Field::Topic, name.into()) {
                // serde_json reports a syntax error if a visitor stops before the end of the array.
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                return Ok(Err(error));
            }
        }
        Ok(Ok(()))
    }
}

/// Removes the whitespace between the tokens of valid JSON. The result has no line breaks, because
/// inside strings they are always escaped.
fn compact(json: &str) -> String {
    let mut text = json.to_owned();
    let (mut quoted, mut escaped) = (false, false);
    text.retain(|c| {
        match c {
            _ if escaped => escaped = false,
            '"' => quoted = !quoted,
            '\\' => escaped = true,
            _ => {}
        }
        quoted || !matches!(c, ' ' | '\t' | '\n' | '\r')
    });
    text
}

fn syntax_error(error: &serde_json::Error) -> PublishError {
    let (line, column) = (error.line(), error.column());
    let message = error.to_string();
    let reason =
        message.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&message);
    PublishError::Json { reason: Excerpt::of(reason), line, column }
}

/// The error of a value that is valid JSON but has the wrong type, or is a string with an unpaired
/// surrogate.
fn wrong_type(field: Field, error: &serde_json::Error) -> PublishError {
    let expected = match field {
        _ if !error.is_data() => return PublishError::LoneSurrogate { field: field.name() },
        Field::Topic => "a string or an array of strings",
        Field::Retry => "a whole number or a string of digits",
        Field::Data | Field::Id | Field::Type => "a string",
    };
    PublishError::FieldShape { field: field.name(), expected }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::event::{EventId, Publication, Topic, TopicError};
    use crate::http::publication::builder::EventLimits;
    use crate::http::publication::error::FieldSource;

    const LIMITS: EventLimits = EventLimits { topics: 3, topic_bytes: 64 };

    fn json(body: impl AsRef<str>) -> Result<Publication, PublishError> {
        let mut builder = PublicationBuilder::new(FieldSource::Json, &LIMITS);
        read(body.as_ref(), &mut builder)?;
        builder.finish()
    }

    fn data(value: &str) -> String {
        json(format!("{{\"topic\":\"a\",\"data\":{value}}}")).unwrap().data
    }

    fn topics(value: &str) -> Result<Vec<String>, PublishError> {
        let event = json(format!("{{\"topic\":{value}}}"))?;
        Ok(event.topics.iter().map(|topic| topic.as_str().to_owned()).collect())
    }

    #[test]
    fn every_field_of_an_object_is_parsed() {
        let body = r#" {"retry": 5, "type": "n\u00e9", "id": "x", "data": "1\n2",
                        "to\u0070ic": ["b", "a"]} "#;
        let expected = Publication {
            topics: ["b", "a"].map(|name| Topic::new(name).unwrap()).into(),
            data: "1\n2".into(),
            id: Some(EventId::new("x").unwrap()),
            event_type: Some("né".into()),
            retry: Some(5),
        };
        assert_eq!(json(body), Ok(expected));
    }

    #[test]
    fn a_topic_is_a_string_or_an_array_of_strings() {
        assert_eq!(topics(r#""a""#).unwrap(), ["a"]);
        assert_eq!(topics(r#"["b", "a", "b"]"#).unwrap(), ["b", "a"]);
        assert_eq!(topics("[]"), Err(PublishError::NoTopic { found_in: FieldSource::Json }));
        assert_eq!(
            topics(r#"["a","b","c","d","e"]"#),
            Err(PublishError::TooManyTopics { limit: 3 })
        );
        assert_eq!(
            topics(r#"["a","*",1]"#),
            Err(PublishError::Topic { reason: TopicError::Wildcard })
        );
        for value in ["1", "null", "{}", "true", "[1]", r#"[["a"]]"#, r#"["a",null]"#, r#"["a",1]"#]
        {
            assert_eq!(topics(value), Err(wrong_topic()), "{value}");
        }
    }

    fn wrong_topic() -> PublishError {
        PublishError::FieldShape { field: "topic", expected: "a string or an array of strings" }
    }

    #[test]
    fn data_other_than_a_string_is_kept_as_written_without_whitespace() {
        for (written, sent) in [
            ("null", "null"),
            ("true", "true"),
            ("-0.0e+5", "-0.0e+5"),
            (
                "123456789012345678901234567890.1234567890",
                "123456789012345678901234567890.1234567890",
            ),
            ("1e999999", "1e999999"),
            ("{ \"b\" : 1 ,\n\t\"a\"\r\n: [ ] , \"b\": { } }", "{\"b\":1,\"a\":[],\"b\":{}}"),
            (r#"[ " \" \\", " a " ]"#, r#"[" \" \\"," a "]"#),
            (r#"["\u2028\ud800 \/"]"#, r#"["\u2028\ud800 \/"]"#),
        ] {
            assert_eq!(data(written), sent);
        }
        assert_eq!(data(r#""null""#), "null");
        assert_eq!(data(r#""""#), "");
        assert_eq!(json(r#"{"topic":"a"}"#).unwrap().data, "");
    }

    #[test]
    fn retry_is_an_integer_or_a_string_of_digits() {
        let retry =
            |value: &str| json(format!("{{\"topic\":\"a\",\"retry\":{value}}}")).map(|e| e.retry);
        assert_eq!(retry("18446744073709551615"), Ok(Some(u64::MAX)));
        assert_eq!(retry("\"050\""), Ok(Some(50)));
        for value in ["18446744073709551616", "-1", "1.0", "1e3", "-0"] {
            assert_eq!(
                retry(value),
                Err(PublishError::Retry { value: Excerpt::of(value) }),
                "{value}"
            );
        }
        for value in ["", "+1", " 1", "1s", "١"] {
            let refused = PublishError::Retry { value: Excerpt::of(value) };
            assert_eq!(retry(&format!("\"{value}\"")), Err(refused), "{value}");
        }
        for value in ["true", "[]", "{}"] {
            let refused = retry(value).unwrap_err();
            assert!(
                matches!(refused, PublishError::FieldShape { field: "retry", .. }),
                "{refused}"
            );
        }
    }

    #[test]
    fn null_counts_as_an_absent_optional_field() {
        let event = json(r#"{"topic":"a","id":null,"type":null,"retry":null}"#).unwrap();
        assert_eq!((event.id, event.event_type, event.retry), (None, None, None));
        let refused = json(r#"{"topic":"a","id":1}"#);
        assert_eq!(refused, Err(PublishError::FieldShape { field: "id", expected: "a string" }));
    }

    #[test]
    fn unknown_and_repeated_fields_are_refused() {
        let refused = json(r#"{"topic":"a","topics":["b"]}"#);
        assert_eq!(
            refused,
            Err(PublishError::UnknownField {
                name: Excerpt::of("topics"),
                found_in: FieldSource::Json
            })
        );
        for field in ["topic", "data", "id", "type", "retry"] {
            let refused = json(format!("{{\"{field}\":\"1\",\"{field}\":\"1\"}}"));
            assert_eq!(
                refused,
                Err(PublishError::RepeatedField { field, found_in: FieldSource::Json })
            );
        }
    }

    #[test]
    fn a_json_syntax_error_is_located_by_line_and_column() {
        let location = |body: &str| match json(body) {
            Err(PublishError::Json { line, column, .. }) => (line, column),
            other => panic!("{body}: {other:?}"),
        };
        assert_eq!(location("{\"topic\":\"a\",\n  nope}"), (2, 3));
        assert_eq!(location("{\"topic\":\"a\"} x"), (1, 15));
        assert_eq!(location("{\"topic\":\"a\"}{}"), (1, 14));
        for body in [
            "",
            "{",
            "nul",
            "{\"a\":1,}",
            "{\"topic\":\"a\",\"data\":[1,]}",
            "{\"data\":\"a\nb\"}",
            "\u{feff}{}",
        ] {
            location(body);
        }
        for body in ["[]", "\"topic\"", "1", "null"] {
            location(body);
        }
        let refused = json("[1]").unwrap_err().to_string();
        assert!(
            refused.contains("expected an object with a `topic` at line 1 column"),
            "{refused}"
        );
        let echoed = json(format!("\"{}\"", "x".repeat(100_000))).unwrap_err().to_string();
        assert!(echoed.len() < 200, "{echoed}");
    }

    #[test]
    fn an_unpaired_surrogate_is_refused() {
        assert_eq!(data(r#""\ud83d\ude00""#), "😀");
        for field in ["topic", "data", "id", "type", "retry"] {
            let refused = json(format!(r#"{{"{field}":"\ud83d"}}"#));
            assert_eq!(refused, Err(PublishError::LoneSurrogate { field }));
        }
        assert_eq!(topics(r#"["\udc00"]"#), Err(PublishError::LoneSurrogate { field: "topic" }));
    }

    /// Ensures that no body overflows the stack. Scenario: 100,000 nested arrays or objects in
    /// `data`, in an unknown field and in `topic`, closed or not, on a thread whose stack is too
    /// small for one frame per level.
    #[test]
    fn nesting_does_not_consume_stack() {
        let deep = || {
            let arrays = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
            let objects = format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
            for value in [&arrays, &objects] {
                assert_eq!(&data(value), value);
                assert!(json(format!("{{\"x\":{value}}}")).is_err());
                assert!(json(format!("{{\"topic\":[\"*\",{value}]}}")).is_err());
                assert_eq!(topics(value), Err(wrong_topic()));
                assert!(json(value).is_err());
                assert!(json(format!("{{\"data\":{}", &value[..value.len() / 2])).is_err());
            }
        };
        std::thread::Builder::new().stack_size(256 * 1024).spawn(deep).unwrap().join().unwrap();
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[ \t\"\\\\a\u{0}\u{2028}é]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::hash_map("[ \"\\\\a]{0,4}", inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn compaction_keeps_the_value_and_leaves_no_whitespace(value in any_json()) {
            let pretty = serde_json::to_string_pretty(&value).unwrap();
            let compacted = compact(&pretty);
            prop_assert_eq!(serde_json::from_str::<Value>(&compacted).unwrap(), value.clone());
            prop_assert_eq!(&compacted, &serde_json::to_string(&value).unwrap());
            if !value.is_string() {
                prop_assert_eq!(data(&pretty), compacted);
            }
        }
    }
}
