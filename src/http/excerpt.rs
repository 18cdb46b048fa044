//! Truncated and escaped client input for error messages and logs.

/// Longest excerpt before escaping, bytes. Holds the names and values of ordinary requests, and
/// enough of the start of a large body sent by mistake to recognise it.
const EXCERPT_BYTES_MAX: usize = 80;

/// The start of a client's input, with control characters escaped so that a log entry stays on one
/// line. Ends with `…` if it was truncated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Excerpt(Box<str>);

impl Excerpt {
    /// Takes the start of `text`, cut at a character boundary.
    pub(crate) fn of(text: &str) -> Self {
        let kept = &text[..text.floor_char_boundary(EXCERPT_BYTES_MAX)];
        let mut shown = String::with_capacity(kept.len() + 3);
        for c in kept.chars() {
            if c.is_control() { shown.extend(c.escape_default()) } else { shown.push(c) }
        }
        if kept.len() < text.len() {
            shown.push('…');
        }
        Self(shown.into())
    }
}

impl std::fmt::Display for Excerpt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_truncated_and_escaped() {
        assert_eq!(Excerpt::of("topics[]").to_string(), "topics[]");
        assert_eq!(Excerpt::of("a\nb\0").to_string(), "a\\nb\\u{0}");
        assert_eq!(Excerpt::of(&"é".repeat(1000)).to_string(), format!("{}…", "é".repeat(40)));
        let at_the_limit = "x".repeat(EXCERPT_BYTES_MAX);
        assert_eq!(Excerpt::of(&at_the_limit).to_string(), at_the_limit);
    }
}
