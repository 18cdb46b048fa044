//! What header values have in common: lists and parameters, where a quoted string may hold the
//! separator (RFC 9110 §5.6).

/// The parts of `text` between separators that stand outside quoted strings, without outer
/// whitespace.
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

/// The value of the first parameter called `name`, without its quotes. Names have no case.
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
    use super::*;

    #[test]
    fn a_separator_inside_quotes_is_text() {
        let split = |text| split_unquoted(text, ',').collect::<Vec<_>>();
        assert_eq!(split("a, b ,c"), ["a", "b", "c"]);
        assert_eq!(split(r#"a;x="1,2", b"#), [r#"a;x="1,2""#, "b"]);
        assert_eq!(split(r#"a;x="\",", b"#), [r#"a;x="\",""#, "b"]);
        assert_eq!(split(r#"a;x="unclosed, b"#), [r#"a;x="unclosed, b"#]);
        assert_eq!(split(",,"), ["", "", ""]);
    }

    #[test]
    fn a_parameter_is_found_by_name_in_any_case() {
        let find = |text| parameter(split_unquoted(text, ';'), "charset");
        assert_eq!(find("text/plain; Charset=\"UTF-8\""), Some("UTF-8"));
        assert_eq!(find("text/plain; x=\"; charset=latin1\"; charset = utf-8"), Some("utf-8"));
        assert_eq!(find("text/plain; charset"), None);
    }
}
