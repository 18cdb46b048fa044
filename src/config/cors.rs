//! The CORS allow-list of origins, `FANFARE_CORS_ORIGINS`.
//!
//! Parsed once at start and matched against the `Origin` header of every request that has one.
//! Pure.

use std::fmt;

/// The origins whose pages may use this node through CORS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CorsOrigins {
    /// Only the node's own origin, to which CORS does not apply.
    None,
    /// Every origin (`*`).
    Any,
    /// These origins in the form that browsers send: lower case, without a path and without the
    /// default port of the scheme.
    List(Box<[String]>),
}

impl CorsOrigins {
    /// Whether a page of `origin`, the value of an `Origin` header, may use this node.
    pub(crate) fn allows(&self, origin: &str) -> bool {
        match self {
            Self::None => false,
            Self::Any => true,
            Self::List(origins) => {
                origins.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin))
            }
        }
    }

    /// Parses origins separated by commas; an empty text is [`CorsOrigins::None`].
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        match text.trim() {
            "" => return Ok(Self::None),
            "*" => return Ok(Self::Any),
            _ => {}
        }
        let mut origins = Vec::new();
        for origin in text.split(',').map(str::trim) {
            let origin = parse_origin(origin)?;
            if !origins.contains(&origin) {
                origins.push(origin);
            }
        }
        Ok(Self::List(origins.into()))
    }
}

impl fmt::Display for CorsOrigins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::Any => f.write_str("*"),
            Self::List(origins) => f.write_str(&origins.join(",")),
        }
    }
}

/// Normalizes an origin to the form that browsers send (RFC 6454, section 6.2; WHATWG URL, section
/// 4.7).
fn parse_origin(text: &str) -> Result<String, String> {
    let wrong = |what: &str| {
        format!(
            "`{text}` {what}; write scheme://host or scheme://host:port, such as \
             https://app.example.com"
        )
    };
    match text {
        "" => {
            return Err("an origin in the list is empty; separate origins by single commas".into());
        }
        "*" => return Err("`*` allows every origin, so it must stand alone".into()),
        _ => {}
    }
    let lower = text.to_ascii_lowercase();
    let (scheme, authority) = lower.split_once("://").ok_or_else(|| wrong("isn't an origin"))?;
    if !scheme.starts_with(|c: char| c.is_ascii_lowercase())
        || !scheme.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '+' | '-' | '.'))
    {
        return Err(wrong("has an invalid scheme"));
    }
    if authority.contains(['/', '?', '#']) {
        return Err(wrong("has a path, but an origin ends after host and port, without a `/`"));
    }
    let (host, port) = split_port(authority).ok_or_else(|| wrong("has an invalid port"))?;
    if !is_host(host) {
        return Err(wrong(
            "has an invalid host (wildcards aren't supported; write non-ASCII names in xn-- form)",
        ));
    }
    // Browsers omit the default port of the scheme, so an origin with it would never match.
    Ok(match (scheme, port) {
        (_, None) | ("http", Some(80)) | ("https", Some(443)) => format!("{scheme}://{host}"),
        (_, Some(port)) => format!("{scheme}://{host}:{port}"),
    })
}

/// Splits off the port, if there is one; `None` if it is invalid.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    match authority.rsplit_once(':') {
        // The last colon of `[::1]` is inside the address.
        Some((host, port)) if !port.ends_with(']') => {
            let plain = port.starts_with(|c: char| c.is_ascii_digit());
            Some((host, Some(port.parse().ok().filter(|port| plain && *port != 0)?)))
        }
        _ => Some((authority, None)),
    }
}

fn is_host(host: &str) -> bool {
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '-' | '.' | '_'))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(origins: &[&str]) -> CorsOrigins {
        CorsOrigins::List(origins.iter().map(|origin| (*origin).to_owned()).collect())
    }

    #[test]
    fn origins_are_normalized_to_what_browsers_send() {
        for (text, origins) in [
            ("", CorsOrigins::None),
            (" ", CorsOrigins::None),
            ("*", CorsOrigins::Any),
            ("https://a.example", list(&["https://a.example"])),
            ("HTTPS://A.Example", list(&["https://a.example"])),
            (
                "https://a.example:443,http://b.example:80",
                list(&["https://a.example", "http://b.example"]),
            ),
            ("http://a.example:443", list(&["http://a.example:443"])),
            (
                "http://localhost:3000, http://[::1]:3000",
                list(&["http://localhost:3000", "http://[::1]:3000"]),
            ),
            ("http://[::1]", list(&["http://[::1]"])),
            ("https://a.example,https://A.example:443", list(&["https://a.example"])),
            ("chrome-extension://abcdef", list(&["chrome-extension://abcdef"])),
        ] {
            assert_eq!(CorsOrigins::parse(text), Ok(origins), "{text}");
        }
    }

    #[test]
    fn a_wrong_origin_is_refused_with_the_reason() {
        for (text, what) in [
            ("a.example", "`a.example` isn't an origin"),
            ("null", "`null` isn't an origin"),
            (
                "https://a.example/",
                "has a path, but an origin ends after host and port, without a `/`",
            ),
            ("https://a.example/x", "has a path"),
            ("https://a.example?x", "has a path"),
            ("https://a.example#x", "has a path"),
            ("https://a.example:x", "has an invalid port"),
            ("https://a.example:", "has an invalid port"),
            ("https://a.example:+1", "has an invalid port"),
            ("https://a.example:0", "has an invalid port"),
            ("https://a.example:65536", "has an invalid port"),
            ("https://", "has an invalid host"),
            ("https://:80", "has an invalid host"),
            ("https://*.example", "has an invalid host (wildcards"),
            ("https://bücher.example", "in xn-- form"),
            ("https://user@a.example", "has an invalid host"),
            ("https://[::1", "has an invalid host"),
            ("https://[1]", "has an invalid host"),
            ("://a.example", "has an invalid scheme"),
            ("1://a.example", "has an invalid scheme"),
            ("ht tp://a.example", "has an invalid scheme"),
            ("https://a.example,", "an origin in the list is empty"),
            (",", "an origin in the list is empty"),
            ("*,https://a.example", "`*` allows every origin, so it must stand alone"),
        ] {
            let error = CorsOrigins::parse(text).unwrap_err();
            assert!(error.contains(what), "{text}: {error}");
        }
    }

    #[test]
    fn only_listed_origins_are_allowed() {
        let origins = list(&["https://a.example", "http://b.example:8080"]);
        assert!(origins.allows("https://a.example"));
        assert!(origins.allows("HTTPS://a.example"));
        assert!(origins.allows("http://b.example:8080"));
        for other in [
            "http://a.example",
            "https://a.example:8443",
            "https://a.example.evil.example",
            "null",
            "",
        ] {
            assert!(!origins.allows(other), "{other}");
            assert!(!CorsOrigins::None.allows(other), "{other}");
            assert!(CorsOrigins::Any.allows(other), "{other}");
        }
    }

    #[test]
    fn a_printed_list_reads_back() {
        for text in ["", "*", "https://a.example", "https://a.example,http://b.example:8080"] {
            assert_eq!(CorsOrigins::parse(text).unwrap().to_string(), text);
        }
    }
}
