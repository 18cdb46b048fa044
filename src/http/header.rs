//! Header fields with a single value, field lists, and parameters with quoted strings (RFC 9110
//! §5.5, §5.6).

use hyper::HeaderMap;
use hyper::header::{AsHeaderName, HeaderValue};

/// Returns the value of a field that has one by definition. Of several lines the last counts, as of
/// repeated query parameters.
pub(crate) fn last(headers: &HeaderMap, name: impl AsHeaderName) -> Option<&HeaderValue> {
    headers.get_all(name).iter().next_back()
}

/// Splits `text` at separators outside quoted strings, and trims the parts.
pub(crate) fn split_unquoted(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    let parts = text.split(move |c| {
        let outside = !quoted;
        match c {
            _ if escaped => escaped = false,
            '"' => quoted = !quoted,
            '\\' => escaped = quoted,
            _ => {}
        }
        outside && c == separator
    });
    parts.map(str::trim)
}

/// Returns the value, without its quotes, of the first parameter called `name`, compared without
/// regard to case.
pub(crate) fn parameter<'a>(
    mut parameters: impl Iterator<Item = &'a str>,
    name: &str,
) -> Option<&'a str> {
    parameters.find_map(|parameter| {
        let (key, value) = parameter.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"'))
    })
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderName;

    use super::*;

    #[test]
    fn of_several_lines_the_last_counts() {
        let lines = [("origin", "a"), ("host", "x"), ("origin", "b")];
        let headers =
            HeaderMap::from_iter(lines.map(|(name, value)| {
                (HeaderName::from_static(name), HeaderValue::from_static(value))
            }));
        assert_eq!(last(&headers, "origin").unwrap(), "b");
        assert_eq!(last(&headers, "host").unwrap(), "x");
        assert_eq!(last(&headers, "accept"), None);
    }

    #[test]
    fn a_separator_inside_quotes_does_not_split() {
        let split = |text| split_unquoted(text, ',').collect::<Vec<_>>();
        assert_eq!(split("a, b ,c"), ["a", "b", "c"]);
        assert_eq!(split(r#"a;x="1,2", b"#), [r#"a;x="1,2""#, "b"]);
        assert_eq!(split(r#"a;x="\",", b"#), [r#"a;x="\",""#, "b"]);
        assert_eq!(split(r#"a;x="unclosed, b"#), [r#"a;x="unclosed, b"#]);
        assert_eq!(split(",,"), ["", "", ""]);
    }

    #[test]
    fn parameter_names_are_case_insensitive() {
        let find = |text| parameter(split_unquoted(text, ';'), "charset");
        assert_eq!(find("text/plain; Charset=\"UTF-8\""), Some("UTF-8"));
        assert_eq!(find("text/plain; x=\"; charset=latin1\"; charset = utf-8"), Some("utf-8"));
        assert_eq!(find("text/plain; charset"), None);
    }
}
