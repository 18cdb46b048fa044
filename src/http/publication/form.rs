//! Reads the fields of an event from `application/x-www-form-urlencoded` text: a form body, or the
//! query if the body is the data.

use super::builder::PublicationBuilder;
use super::error::{FieldSource, PublishError};
use crate::http::urlencoded::{NotUtf8, pairs};

/// Reads every field of `input` into the builder.
pub(super) fn read(input: &[u8], builder: &mut PublicationBuilder<'_>) -> Result<(), PublishError> {
    let found_in = builder.found_in();
    for pair in pairs(input) {
        let (name, text) =
            pair.map_err(|NotUtf8 { name }| PublishError::FieldNotUtf8 { name, found_in })?;
        let field = builder.claim(&name).map_err(|error| explain(error, input))?;
        builder.set(field, text)?;
    }
    Ok(())
}

/// Detects JSON sent as a form: `curl -d` sends the form's Content-Type with any body.
fn explain(error: PublishError, input: &[u8]) -> PublishError {
    match error {
        PublishError::UnknownField { found_in: FieldSource::Form, .. }
            if input.trim_ascii_start().starts_with(b"{") =>
        {
            PublishError::JsonAsForm
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use proptest::prelude::*;

    use super::*;
    use crate::event::{EventId, Publication, Topic};
    use crate::http::excerpt::Excerpt;
    use crate::http::publication::builder::EventLimits;

    const LIMITS: EventLimits = EventLimits { topics: 3, topic_bytes: 64 };

    fn form(body: &str) -> Result<Publication, PublishError> {
        let mut builder = PublicationBuilder::new(FieldSource::Form, &LIMITS);
        read(body.as_bytes(), &mut builder)?;
        builder.finish()
    }

    #[test]
    fn every_field_of_a_form_is_parsed() {
        let event = form("topic=a+b&topic=%C3%A9&data=1%0A2%0D%0A%00&id=x%2Dy&type=news&retry=007")
            .unwrap();
        let expected = Publication {
            topics: ["a b", "é"].map(|name| Topic::new(name).unwrap()).into(),
            data: "1\n2\r\n\0".into(),
            id: Some(EventId::new("x-y").unwrap()),
            event_type: Some("news".into()),
            retry: Some(7),
        };
        assert_eq!(event, expected);
    }

    #[test]
    fn duplicate_topics_are_dropped_and_the_order_is_kept() {
        for (body, topics) in [
            ("topic=b&topic=a&topic=b", &["b", "a"][..]),
            ("topic=b&topic=b&topic=a", &["b", "a"]),
            ("topic=b&topic=b&topic=b", &["b"]),
            ("topic=c&topic=a&topic=b", &["c", "a", "b"]),
        ] {
            let event = form(body).unwrap();
            assert_eq!(event.topics.iter().map(Topic::as_str).collect::<Vec<_>>(), topics);
            assert_eq!(event.data, "");
        }
    }

    /// Ensures that an event with very many topics does not hold up the shard that parses it.
    ///
    /// Scenario: `FANFARE_EVENT_TOPICS_MAX` at its highest, and an event with that many topics.
    ///
    /// Cause: each topic was compared with all before it, which took seconds.
    ///
    /// Fix: a hash set. Eight times as many topics take about eight times as long, not sixty-four
    /// times. The fastest of several runs is taken: the machine may be busy.
    #[test]
    fn the_time_to_read_topics_is_proportional_to_their_number() {
        let limits = EventLimits { topics: 65_536, topic_bytes: 64 };
        let time_of = |topics: usize| {
            let body: Vec<_> = (0..topics).map(|n| format!("topic={n}")).collect();
            let body = body.join("&");
            let runs = (0..10).map(|_| {
                let started = Instant::now();
                let mut builder = PublicationBuilder::new(FieldSource::Form, &limits);
                read(body.as_bytes(), &mut builder).unwrap();
                assert_eq!(builder.finish().unwrap().topics.len(), topics);
                started.elapsed()
            });
            runs.min().unwrap()
        };
        let (few, many) = (time_of(2048), time_of(8 * 2048));
        assert!(many < 32 * few, "{few:?} and {many:?}");
    }

    /// Ensures that a body of nothing but one repeated topic is refused at the limit.
    ///
    /// Cause: duplicates did not count, so such a body was parsed to its end, whatever its size.
    #[test]
    fn duplicates_of_a_topic_count_towards_the_limit() {
        assert!(form("topic=a&topic=a&topic=a").is_ok());
        let refused = form(&"topic=a&".repeat(4)).unwrap_err();
        assert_eq!(refused, PublishError::TooManyTopics { limit: 3 });
        // Nothing after the limit is read: the unknown field would be an error of its own.
        assert_eq!(form(&("topic=a&".repeat(4) + "x=1")).unwrap_err(), refused);
    }

    #[test]
    fn the_error_of_an_unknown_field_lists_the_known_fields() {
        let refused = form("topic=a&Data=1").unwrap_err();
        assert_eq!(
            refused,
            PublishError::UnknownField { name: Excerpt::of("Data"), found_in: FieldSource::Form }
        );
        let message = "unknown field `Data` in the form; \
                       the fields are `topic`, `data`, `id`, `type`, `retry`";
        assert_eq!(refused.to_string(), message);
    }

    #[test]
    fn json_sent_as_a_form_is_detected() {
        assert_eq!(form(" {\"topic\": \"a=b\"}"), Err(PublishError::JsonAsForm));
    }

    #[test]
    fn repeated_fields_other_than_topic_are_refused() {
        for field in ["data", "id", "type", "retry"] {
            let refused = form(&format!("topic=a&{field}=1&{field}=1")).unwrap_err();
            assert_eq!(refused, PublishError::RepeatedField { field, found_in: FieldSource::Form });
        }
    }

    #[test]
    fn invalid_utf_8_is_refused_and_not_replaced() {
        for (body, name) in
            [("topic=a&data=%FF", "data"), ("topic=%C3%28", "topic"), ("%80=1", "\u{fffd}")]
        {
            let refused =
                PublishError::FieldNotUtf8 { name: Excerpt::of(name), found_in: FieldSource::Form };
            assert_eq!(form(body), Err(refused), "{body}");
        }
        assert_eq!(form("topic=a&data=%EF%BF%BD").unwrap().data, "\u{fffd}");
    }

    proptest! {
        #[test]
        fn any_text_survives_a_round_trip_through_a_form(
            topics in prop::collection::hash_set("[^\\pC*]{1,12}", 1..=3),
            data: String,
            event_type in "[^\\pC]{0,12}",
            retry: u64,
        ) {
            let mut body = form_urlencoded::Serializer::new(String::new());
            body.extend_pairs(topics.iter().map(|topic| ("topic", topic)));
            body.append_pair("data", &data).append_pair("type", &event_type);
            let event = form(&body.append_pair("retry", &retry.to_string()).finish()).unwrap();
            let parsed = event.topics.iter().map(Topic::as_str);
            prop_assert!(parsed.eq(topics.iter().map(String::as_str)));
            prop_assert_eq!(event.data, data);
            prop_assert_eq!(event.event_type.as_deref().unwrap_or_default(), event_type);
            prop_assert_eq!(event.retry, Some(retry));
        }
    }
}
