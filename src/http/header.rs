//! Header field lists and parameters with quoted strings (RFC 9110 §5.6).

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
    use super::*;

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
