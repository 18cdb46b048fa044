//! Content negotiation of `text/event-stream` by `Accept` (RFC 9110 §12.5.1).
//!
//! Lenient: malformed media ranges are ignored, and a header without a valid one counts as absent,
//! so that a syntax error doesn't lock a client out.

use hyper::HeaderMap;
use hyper::header::ACCEPT;

use super::header::{parameter, split_unquoted};

/// Specificity of a media range for `text/event-stream`, ascending.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum MediaRange {
    Other,
    Anything,
    AnyText,
    EventStream,
}

/// Whether the client accepts an event stream: it sent no `Accept`, or the most specific range that
/// matches has a weight above zero. Of equally specific ranges, one with such a weight is enough.
pub(crate) fn accepts_event_stream(headers: &HeaderMap) -> bool {
    // All that an `EventSource` sends; nothing is more specific. Parsing it took a tenth of the
    // instructions of opening a stream.
    headers.get_all(ACCEPT).iter().any(|line| line == "text/event-stream")
        || ranges(headers).max().is_none_or(|(_, accepted)| accepted)
}

/// Whether the client names `text/event-stream` explicitly, as every `EventSource` does. An
/// `EventSource` doesn't reconnect after a status other than 200 (WHATWG HTML §9.2.3).
pub(crate) fn prefers_event_stream(headers: &HeaderMap) -> bool {
    ranges(headers).any(|range| range == (MediaRange::EventStream, true))
}

/// Yields the valid media ranges of all `Accept` lines, each with whether it matches with a weight
/// above zero.
fn ranges(headers: &HeaderMap) -> impl Iterator<Item = (MediaRange, bool)> {
    let lines =
        headers.get_all(ACCEPT).iter().filter_map(|line| std::str::from_utf8(line.as_bytes()).ok());
    lines.flat_map(|line| split_unquoted(line, ',')).filter_map(|element| {
        let mut parts = split_unquoted(element, ';');
        let range = match parts.next()?.to_ascii_lowercase().as_str() {
            "text/event-stream" => MediaRange::EventStream,
            "text/*" => MediaRange::AnyText,
            // Java's HttpURLConnection sends a bare `*`.
            "*/*" | "*" => MediaRange::Anything,
            other if other.contains('/') && !other.contains('"') => MediaRange::Other,
            _ => return None,
        };
        let refused = parameter(parts, "q").is_some_and(is_zero);
        Some((range, range != MediaRange::Other && !refused))
    })
}

/// Whether a weight is zero; a malformed one isn't. Other values make no difference.
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
    fn without_an_accept_header_everything_is_accepted_and_nothing_preferred() {
        assert!(accepts_event_stream(&HeaderMap::new()));
        assert!(!prefers_event_stream(&HeaderMap::new()));
    }

    #[test]
    fn one_matching_range_is_enough() {
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
    fn malformed_ranges_are_ignored() {
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
    fn several_header_lines_form_one_list() {
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
