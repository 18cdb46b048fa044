//! Does this client take `text/event-stream`? `Accept` as in RFC 9110 §12.5.1, read so that no
//! client is lost to a comma: what can't be read is passed over, and a header without anything
//! readable counts as none.

use hyper::HeaderMap;
use hyper::header::ACCEPT;

use super::header::{parameter, split_unquoted};

/// How closely a media range names `text/event-stream`; the closest one decides.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Range {
    Elsewhere,
    Anything,
    AnyText,
    EventStream,
}

/// Whether an event stream may be the answer: the most specific range that covers it has a weight
/// above zero, or there is no `Accept` at all. Of several equally specific ones, one that takes it
/// is enough.
pub fn accepts_event_stream(headers: &HeaderMap) -> bool {
    ranges(headers).max().is_none_or(|(_, taken)| taken)
}

/// Whether the client names `text/event-stream` itself, as every `EventSource` does. Such a client
/// gives up for good on a status other than 200.
pub fn prefers_event_stream(headers: &HeaderMap) -> bool {
    ranges(headers).any(|range| range == (Range::EventStream, true))
}

/// Every readable range of every `Accept` line, and whether it is a match with a weight above zero.
fn ranges(headers: &HeaderMap) -> impl Iterator<Item = (Range, bool)> {
    let lines =
        headers.get_all(ACCEPT).iter().filter_map(|line| std::str::from_utf8(line.as_bytes()).ok());
    lines.flat_map(|line| split_unquoted(line, ',')).filter_map(|element| {
        let mut parts = split_unquoted(element, ';');
        let range = match parts.next()?.to_ascii_lowercase().as_str() {
            "text/event-stream" => Range::EventStream,
            "text/*" => Range::AnyText,
            // Java's HttpURLConnection sends a bare `*`.
            "*/*" | "*" => Range::Anything,
            other if other.contains('/') && !other.contains('"') => Range::Elsewhere,
            _ => return None,
        };
        let refused = parameter(parts, "q").is_some_and(is_zero);
        Some((range, range != Range::Elsewhere && !refused))
    })
}

/// A weight is only ever asked whether it is zero; one that can't be read is not.
fn is_zero(weight: &str) -> bool {
    weight.contains('0') && weight.bytes().all(|b| matches!(b, b'0' | b'.'))
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn headers(lines: &[&[u8]]) -> HeaderMap {
        lines.iter().map(|line| (ACCEPT, HeaderValue::from_bytes(line).unwrap())).collect()
    }

    fn accepts(line: &str) -> bool {
        accepts_event_stream(&headers(&[line.as_bytes()]))
    }

    #[test]
    fn no_accept_header_takes_anything_and_prefers_nothing() {
        assert!(accepts_event_stream(&HeaderMap::new()));
        assert!(!prefers_event_stream(&HeaderMap::new()));
    }

    #[test]
    fn a_range_that_covers_event_streams_is_enough() {
        for line in [
            "text/event-stream",
            "TEXT/Event-Stream; charset=utf-8",
            "application/json, text/event-stream;q=0.001",
            "text/*",
            "text/html, */*;q=0.8",
            "text/html, image/gif, *; q=.2",
            "application/json;profile=\"a, b;q=0\", text/event-stream",
        ] {
            assert!(accepts(line), "{line}");
        }
        for line in [
            "text/html",
            "application/json, text/html;q=0.9",
            "text/event-streams",
            "*/event-stream",
        ] {
            assert!(!accepts(line), "{line}");
        }
    }

    #[test]
    fn the_most_specific_range_decides() {
        assert!(!accepts("*/*, text/event-stream;q=0"));
        assert!(!accepts("text/event-stream ; Q=0.000 , text/*"));
        assert!(!accepts("*/*, text/*;q=0.0"));
        assert!(accepts("*/*;q=0, text/*;q=0, text/event-stream;q=0.1"));
        assert!(accepts("*/*;q=0, text/*"));
    }

    #[test]
    fn what_cannot_be_read_is_passed_over() {
        for line in [
            "",
            ",,;;=",
            "garbage",
            ";q=0",
            "text/event-stream;q=high",
            "text/event-stream;q=",
            "\"*/*, x",
        ] {
            assert!(accepts(line), "{line}");
        }
        assert!(!accepts("garbage, text/html"));
        assert!(accepts_event_stream(&headers(&[b"\xff", b"*/*"])));
    }

    #[test]
    fn several_lines_are_one_list() {
        assert!(accepts_event_stream(&headers(&[b"text/html", b"text/event-stream"])));
        assert!(!accepts_event_stream(&headers(&[b"*/*", b"text/event-stream;q=0"])));
    }

    #[test]
    fn only_an_explicit_event_stream_is_preferred() {
        for (line, preferred) in [
            ("text/event-stream", true),
            ("text/html, text/event-stream;q=0.5", true),
            ("text/event-stream;q=0", false),
            ("text/*", false),
            ("*/*", false),
        ] {
            assert_eq!(prefers_event_stream(&headers(&[line.as_bytes()])), preferred, "{line}");
        }
    }
}
