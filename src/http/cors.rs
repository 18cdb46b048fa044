//! CORS (WHATWG Fetch) and same-origin checks.
//!
//! Browsers send a simple `POST` without a preflight, so a page of any origin could publish to a
//! node on the visitor's loopback or intranet (CSRF); [`publish_allowed`] prevents this. Browsers
//! don't let a page read responses of another origin unless [`apply`] adds the headers that allow
//! it.

use std::net::IpAddr;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, ALLOW, HOST, HeaderMap, HeaderValue, VARY,
};
use hyper::{Response, StatusCode, Uri};

use crate::config::CorsOrigins;

/// The methods of `/events`, for `Allow` and `Access-Control-Allow-Methods`.
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, OPTIONS");

/// `EventSource` replacements resume with `last-event-id`; publishers send the others. A `*` would
/// not cover `authorization`.
const REQUEST_HEADERS: HeaderValue = HeaderValue::from_static(
    "last-event-id, content-type, content-encoding, cache-control, authorization",
);

/// One day, in seconds. Browsers cap it (Chromium at two hours).
const MAX_AGE: HeaderValue = HeaderValue::from_static("86400");

/// `null`, the origin of every sandboxed frame and local file, is never matched against the list.
fn is_allowed(origins: &CorsOrigins, origin: &HeaderValue) -> bool {
    let listed = |origin: &str| origin != "null" && origins.allows(origin);
    *origins == CorsOrigins::Any || origin.to_str().is_ok_and(listed)
}

/// Adds the CORS headers that let a page of an allowed origin read the response. Needed on error
/// responses too: without them the page can't read the problem document.
pub(crate) fn apply(headers: &mut HeaderMap, origin: Option<&HeaderValue>, origins: &CorsOrigins) {
    if matches!(origins, CorsOrigins::List(_)) {
        // Also without an `Origin`: a shared cache must not serve this response to another origin.
        headers.append(VARY, HeaderValue::from_static("Origin"));
    }
    let Some(origin) = origin.filter(|origin| is_allowed(origins, origin)) else { return };
    if *origins == CorsOrigins::Any {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    } else {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
}

/// Answers `OPTIONS /events`: 204, with the preflight headers if the origin is allowed.
pub(crate) fn preflight(
    origin: Option<&HeaderValue>,
    origins: &CorsOrigins,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ALLOW, METHODS);
    apply(headers, origin, origins);
    if headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS);
        headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    }
    response
}

/// Whether the origin of a `POST` permits it to publish: there is none (not a browser), it is the
/// node's own, or it is allowed. `host` is the request's authority ([`requested_host`]).
///
/// The scheme is not compared: behind a proxy that terminates TLS, the node doesn't know its own.
///
/// With DNS rebinding, a page makes its own host name resolve to the loopback address, and its
/// origin then equals the host. So unless the node is `open` (`FANFARE_ALLOW_ANONYMOUS_PUBLISH`),
/// only IP addresses and `localhost` count as the node's own origin.
pub(crate) fn publish_allowed(
    origin: Option<&HeaderValue>,
    host: Option<&str>,
    origins: &CorsOrigins,
    open: bool,
) -> bool {
    let Some(origin) = origin else { return true };
    let own = match (origin.to_str(), host) {
        (Ok(origin), Some(host)) => is_origin_of(origin, host) && (open || is_rebinding_safe(host)),
        _ => false,
    };
    own || is_allowed(origins, origin)
}

/// Returns the authority of a request: that of an absolute-form target, which overrides `Host`
/// (RFC 9112 §3.2.2), or else that of `Host`.
pub(crate) fn requested_host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let authority = uri.authority().map(|authority| authority.as_str());
    authority.or_else(|| headers.get(HOST)?.to_str().ok())
}

fn is_origin_of(origin: &str, host: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else { return false };
    let default_port = match scheme {
        "http" => "80",
        "https" => "443",
        _ => return false,
    };
    let (origin_name, origin_port) = split_port(authority, default_port);
    let (host_name, host_port) = split_port(host, default_port);
    origin_name.eq_ignore_ascii_case(host_name) && origin_port == host_port
}

/// Whether DNS can't change the address of a host: it is an IP address or `localhost`
/// (RFC 6761 §6.3).
///
/// The unspecified address names no host (RFC 1122 §3.2.1.3). Connecting to it reaches this one,
/// past the checks that browsers have for loopback addresses.
fn is_rebinding_safe(host: &str) -> bool {
    let (name, _) = split_port(host, "");
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    let names_a_host = |address: IpAddr| !address.to_canonical().is_unspecified();
    address.parse().is_ok_and(names_a_host) || name.eq_ignore_ascii_case("localhost")
}

/// Splits an authority at its port. The colons of an IPv6 address are in brackets, so the text
/// after its last colon is not all digits.
fn split_port<'a>(authority: &'a str, default_port: &'a str) -> (&'a str, &'a str) {
    match authority.rsplit_once(':') {
        Some((name, "")) => (name, default_port),
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => (name, port),
        _ => (authority, default_port),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "https://app.example";

    /// `null` must not be allowed even if it is listed.
    fn listed() -> CorsOrigins {
        CorsOrigins::List([PAGE.to_owned(), "null".to_owned()].into())
    }

    fn applied(origin: Option<&str>, origins: &CorsOrigins) -> Vec<(String, String)> {
        let mut headers = HeaderMap::new();
        apply(&mut headers, origin.map(|o| HeaderValue::from_str(o).unwrap()).as_ref(), origins);
        headers.iter().map(|(n, v)| (n.to_string(), v.to_str().unwrap().to_owned())).collect()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect()
    }

    #[test]
    fn any_origin_is_answered_with_a_star_without_credentials() {
        let star = pairs(&[("access-control-allow-origin", "*")]);
        assert_eq!(applied(Some(PAGE), &CorsOrigins::Any), star);
        assert_eq!(applied(Some("null"), &CorsOrigins::Any), star);
        assert_eq!(applied(None, &CorsOrigins::Any), []);
    }

    #[test]
    fn a_listed_origin_is_echoed_and_every_response_varies_by_origin() {
        let echoed = [
            ("vary", "Origin"),
            ("access-control-allow-origin", PAGE),
            ("access-control-allow-credentials", "true"),
        ];
        assert_eq!(applied(Some(PAGE), &listed()), pairs(&echoed));
        for origin in
            [None, Some("https://evil.example"), Some("null"), Some("https://app.example.evil")]
        {
            assert_eq!(applied(origin, &listed()), pairs(&echoed[..1]), "{origin:?}");
        }
        assert_eq!(applied(Some(PAGE), &CorsOrigins::None), []);
    }

    #[test]
    fn an_existing_vary_header_is_kept() {
        let mut headers =
            HeaderMap::from_iter([(VARY, HeaderValue::from_static("Accept-Encoding"))]);
        apply(&mut headers, None, &listed());
        assert_eq!(headers.get_all(VARY).iter().collect::<Vec<_>>(), ["Accept-Encoding", "Origin"]);
    }

    #[test]
    fn a_preflight_of_an_allowed_origin_lists_methods_and_headers() {
        let origin = HeaderValue::from_static(PAGE);
        let response = preflight(Some(&origin), &listed());
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
        let headers = response.headers();
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_ORIGIN], PAGE);
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_METHODS], "GET, HEAD, POST, OPTIONS");
        assert_eq!(
            headers[ACCESS_CONTROL_ALLOW_HEADERS],
            "last-event-id, content-type, content-encoding, cache-control, authorization"
        );
        assert_eq!(headers[ACCESS_CONTROL_MAX_AGE], "86400");
    }

    #[test]
    fn a_preflight_of_another_origin_has_no_cors_headers() {
        let origin = HeaderValue::from_static("https://evil.example");
        for (origin, origins) in [(Some(&origin), &CorsOrigins::None), (None, &CorsOrigins::Any)] {
            let response = preflight(origin, origins);
            assert_eq!(response.status(), StatusCode::NO_CONTENT);
            assert_eq!(response.headers().keys().collect::<Vec<_>>(), [ALLOW]);
        }
    }

    #[test]
    fn a_page_may_publish_to_its_own_origin_or_if_its_origin_is_allowed() {
        let allowed = |origin: &str, host, origins: &CorsOrigins| {
            let origin = HeaderValue::from_bytes(origin.as_bytes()).unwrap();
            publish_allowed(Some(&origin), host, origins, true)
        };
        for (origin, host) in [
            ("http://localhost:3000", "localhost:3000"),
            ("http://LOCALHOST:3000", "localhost:3000"),
            ("https://push.example", "push.example"),
            ("https://push.example", "push.example:443"),
            ("http://push.example", "push.example:80"),
            ("http://push.example", "push.example:"),
            ("http://[::1]", "[::1]:80"),
            ("http://[::1]:3000", "[::1]:3000"),
        ] {
            assert!(allowed(origin, Some(host), &CorsOrigins::None), "{origin} {host}");
        }
        for (origin, host) in [
            ("http://evil.example", "localhost:3000"),
            ("http://localhost:3001", "localhost:3000"),
            ("http://localhost", "localhost:3000"),
            ("http://push.example", "push.example:443"),
            ("http://[::1]:3000", "[::1]:3001"),
            ("null", "null"),
            ("file://localhost", "localhost"),
            ("localhost:3000", "localhost:3000"),
            ("http://", "localhost"),
            ("", ""),
            ("http://é", "é"),
        ] {
            assert!(!allowed(origin, Some(host), &CorsOrigins::None), "{origin} {host}");
            assert!(!allowed(origin, Some(host), &listed()), "{origin} {host}");
            assert!(allowed(origin, Some(host), &CorsOrigins::Any), "{origin} {host}");
        }
        assert!(allowed(PAGE, Some("push.example"), &listed()));
        assert!(!allowed("http://localhost", None, &CorsOrigins::None));
        assert!(publish_allowed(None, Some("localhost"), &CorsOrigins::None, false));
        assert!(publish_allowed(None, None, &CorsOrigins::None, false));
    }

    #[test]
    fn a_host_name_subject_to_dns_rebinding_is_not_the_nodes_own() {
        let own = |host: &str| {
            let origin = HeaderValue::from_str(&format!("http://{host}")).unwrap();
            publish_allowed(Some(&origin), Some(host), &CorsOrigins::None, false)
        };
        for host in
            ["localhost:8080", "LocalHost", "127.0.0.1:8080", "127.0.0.1", "[::1]:8080", "[::1]"]
        {
            assert!(own(host), "{host}");
        }
        for host in [
            "evil.example:8080",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "0.0.0.0:8080",
            "[::]:8080",
            "[::ffff:0.0.0.0]",
            "",
        ] {
            assert!(!own(host), "{host}");
        }
    }

    #[test]
    fn an_absolute_form_target_overrides_the_host_header() {
        let headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static("b:2"))]);
        let (local, absolute) = ("/events".parse().unwrap(), "http://a:1/events".parse().unwrap());
        assert_eq!(requested_host(&local, &headers), Some("b:2"));
        assert_eq!(requested_host(&absolute, &headers), Some("a:1"));
        assert_eq!(requested_host(&local, &HeaderMap::new()), None);
    }
}
