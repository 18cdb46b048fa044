//! Which other origins a browser may read streams from: the value of `FANFARE_CORS_ORIGINS`.
//!
//! Read once at start; asked on every request that carries `Origin`. Pure.

use std::fmt;

/// The origins whose pages may use this node through CORS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CorsOrigins {
    /// None but the node's own, which needs no leave.
    None,
    /// Every origin (`*`).
    Any,
    /// These, in the form a browser sends: lower case, without a path and without the scheme's own
    /// port.
    List(Box<[String]>),
}

impl CorsOrigins {
    /// Whether a page of `origin`, as the `Origin` header names it, may use this node.
    pub fn allows(&self, origin: &str) -> bool {
        match self {
            Self::None => false,
            Self::Any => true,
            Self::List(origins) => {
                origins.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin))
            }
        }
    }

    /// Reads a list as a person writes it; nothing at all is [`CorsOrigins::None`].
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

/// The setting's text, as it is read.
impl fmt::Display for CorsOrigins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            Self::Any => f.write_str("*"),
            Self::List(origins) => f.write_str(&origins.join(",")),
        }
    }
}

/// One origin as a browser will send it (RFC 6454, section 6.2; WHATWG URL, section 4.7).
fn parse_origin(text: &str) -> Result<String, String> {
    let wrong = |what: &str| {
        format!(
            "`{text}` {what}; write scheme://host or scheme://host:port, such as https://app.example.com"
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
        return Err(wrong("has no proper scheme"));
    }
    if authority.contains(['/', '?', '#']) {
        return Err(wrong("has a path, which an origin hasn't, not even `/`"));
    }
    let (host, port) =
        split_port(authority).ok_or_else(|| wrong("has a port that isn't a number"))?;
    if !is_host(host) {
        return Err(wrong(
            "has no proper host (no wildcards; names beyond ASCII in their xn-- form)",
        ));
    }
    // Browsers leave out the scheme's own port, so an origin that spells it would never match.
    Ok(match (scheme, port) {
        (_, None) | ("http", Some(80)) | ("https", Some(443)) => format!("{scheme}://{host}"),
        (_, Some(port)) => format!("{scheme}://{host}:{port}"),
    })
}

/// The host and, if there is one, the port; `None` if what stands for a port isn't one.
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
    fn origins_are_kept_as_browsers_send_them() {
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
    fn a_wrong_origin_says_what_is_wrong_with_it() {
        for (text, what) in [
            ("a.example", "`a.example` isn't an origin"),
            ("null", "`null` isn't an origin"),
            ("https://a.example/", "has a path, which an origin hasn't, not even `/`"),
            ("https://a.example/x", "has a path"),
            ("https://a.example?x", "has a path"),
            ("https://a.example#x", "has a path"),
            ("https://a.example:x", "has a port that isn't a number"),
            ("https://a.example:", "has a port that isn't a number"),
            ("https://a.example:+1", "has a port that isn't a number"),
            ("https://a.example:0", "has a port that isn't a number"),
            ("https://a.example:65536", "has a port that isn't a number"),
            ("https://", "has no proper host"),
            ("https://:80", "has no proper host"),
            ("https://*.example", "has no proper host (no wildcards"),
            ("https://bücher.example", "in their xn-- form"),
            ("https://user@a.example", "has no proper host"),
            ("https://[::1", "has no proper host"),
            ("https://[1]", "has no proper host"),
            ("://a.example", "has no proper scheme"),
            ("1://a.example", "has no proper scheme"),
            ("ht tp://a.example", "has no proper scheme"),
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
    fn a_list_is_printed_as_it_is_read() {
        for text in ["", "*", "https://a.example", "https://a.example,http://b.example:8080"] {
            assert_eq!(CorsOrigins::parse(text).unwrap().to_string(), text);
        }
    }
}
