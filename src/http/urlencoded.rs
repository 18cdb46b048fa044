//! Strict `application/x-www-form-urlencoded` parser for form bodies and queries.
//!
//! Follows the WHATWG URL standard (§5.1), as `form_urlencoded` does, except that invalid UTF-8 is
//! an error. The standard replaces it with U+FFFD, which would publish or subscribe to a topic
//! other than the one the client named.

use std::borrow::Cow;

use percent_encoding::percent_decode;

use super::excerpt::Excerpt;

/// A name or value is not UTF-8 after decoding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NotUtf8 {
    /// The field's name, decoded lossily.
    pub(crate) name: Excerpt,
}

/// Name and value of one field.
pub(crate) type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// Iterates over the fields of `input`, decoding each on demand.
pub(crate) fn pairs(input: &[u8]) -> impl Iterator<Item = Result<Pair<'_>, NotUtf8>> {
    input.split(|&b| b == b'&').filter(|field| !field.is_empty()).map(|field| {
        let (name, value) = match memchr::memchr(b'=', field) {
            Some(at) => (&field[..at], &field[at + 1..]),
            None => (field, &[][..]),
        };
        let not_utf8 = || NotUtf8 { name: Excerpt::of(&percent_decode(name).decode_utf8_lossy()) };
        Ok((decode(name).ok_or_else(not_utf8)?, decode(value).ok_or_else(not_utf8)?))
    })
}

fn decode(input: &[u8]) -> Option<Cow<'_, str>> {
    let bytes: Cow<'_, [u8]> = if memchr::memchr(b'+', input).is_some() {
        let spaced: Vec<u8> = input.iter().map(|&b| if b == b'+' { b' ' } else { b }).collect();
        Cow::Owned(percent_decode(&spaced).collect())
    } else {
        percent_decode(input).into()
    };
    match bytes {
        Cow::Borrowed(bytes) => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
        Cow::Owned(bytes) => String::from_utf8(bytes).ok().map(Cow::Owned),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_replacement_character_appears_only_if_it_was_sent() {
        let first = |input: &'static str| pairs(input.as_bytes()).next().unwrap();
        assert_eq!(first("a=%EF%BF%BD").unwrap().1, "\u{fffd}");
        for (input, name) in
            [("a=%FF", "a"), ("a=+%ff", "a"), ("b%C3=1", "b\u{fffd}"), ("a=%ed%a0%80", "a")]
        {
            assert_eq!(first(input), Err(NotUtf8 { name: Excerpt::of(name) }), "{input}");
        }
        assert!(pairs(b"a=\xff").next().unwrap().is_err());
    }

    #[test]
    fn an_invalid_percent_escape_is_kept_as_text() {
        let parsed: Vec<_> = pairs(b"100%=50%4&&x&=y").map(Result::unwrap).collect();
        let expected = [("100%", "50%4"), ("x", ""), ("", "y")];
        assert_eq!(parsed, expected.map(|(n, v)| (n.into(), v.into())));
    }

    proptest! {
        #[test]
        fn valid_utf_8_is_parsed_as_form_urlencoded_parses_it(
            input in "[a-c%+&=0-9A-F\u{80}-\u{800}]{0,40}",
        ) {
            let expected: Vec<_> = form_urlencoded::parse(input.as_bytes()).collect();
            match pairs(input.as_bytes()).collect::<Result<Vec<_>, _>>() {
                Ok(parsed) => prop_assert_eq!(parsed, expected),
                Err(_) => {
                    let replaced = |text: &str| text.contains('\u{fffd}');
                    prop_assert!(expected.iter().any(|(n, v)| replaced(n) || replaced(v)));
                }
            }
        }

        #[test]
        fn no_input_panics(input: Vec<u8>) {
            pairs(&input).for_each(drop);
        }
    }
}
