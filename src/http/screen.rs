//! Checks that HTTP demands of every request and hyper leaves to the service: `Host` (RFC 9112
//! §3.2) and `Transfer-Encoding` (§6.1).
//!
//! A proxy in front that understands such a request differently would forward the end of its body
//! as the next request (request smuggling), or look up another host than the node.

use std::net::Ipv6Addr;

use hyper::header::{HOST, HeaderMap, TRANSFER_ENCODING};
use hyper::{Request, Version};

use super::header::split_unquoted;
use super::problem::Problem;

/// Checks the head of a request before it is routed.
///
/// # Errors
///
/// 400 or 501; after one about the body's framing the connection can't be used again.
pub(super) fn screen<B>(request: &Request<B>) -> Result<(), Problem> {
    check_transfer_encoding(request.headers())?;
    check_host(request.version(), request.headers())
}

/// hyper takes a body for chunked if `chunked` is the last coding of the last line, whatever is
/// before it, and refuses all other requests with this field. Here `chunked` must be all there is.
fn check_transfer_encoding(headers: &HeaderMap) -> Result<(), Problem> {
    let mut chunked = 0;
    for line in headers.get_all(TRANSFER_ENCODING) {
        let line = line.to_str().map_err(|_| Problem::unknown_transfer_coding())?;
        for coding in split_unquoted(line, ',').filter(|coding| !coding.is_empty()) {
            if !coding.eq_ignore_ascii_case("chunked") {
                return Err(Problem::unknown_transfer_coding());
            }
            chunked += 1;
        }
    }
    if chunked > 1 { Err(Problem::repeated_chunked()) } else { Ok(()) }
}

fn check_host(version: Version, headers: &HeaderMap) -> Result<(), Problem> {
    let mut lines = headers.get_all(HOST).iter();
    match (lines.next(), lines.next()) {
        (None, _) if version == Version::HTTP_11 => Err(Problem::bad_host("has no Host header")),
        (_, Some(_)) => Err(Problem::bad_host("has more than one Host header")),
        (Some(host), None) if !is_host(host.as_bytes()) => {
            Err(Problem::bad_host("has a Host header that is not a host and port"))
        }
        _ => Ok(()),
    }
}

/// `uri-host [ ":" port ]`, where the host may be empty (RFC 9110 §7.2, RFC 3986 §3.2.2).
fn is_host(value: &[u8]) -> bool {
    let (is_valid, port) = match value.strip_prefix(b"[") {
        Some(rest) => {
            let Some(end) = memchr::memchr(b']', rest) else { return false };
            (is_ip_literal(&rest[..end]), &rest[end + 1..])
        }
        None => {
            let end = memchr::memchr(b':', value).unwrap_or(value.len());
            (is_registered_name(&value[..end]), &value[end..])
        }
    };
    let is_port = match port {
        [] => true,
        [b':', digits @ ..] => digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    is_valid && is_port
}

/// The inside of the brackets: an IPv6 address, or a version not yet known (`IPvFuture`).
fn is_ip_literal(literal: &[u8]) -> bool {
    let Ok(literal) = std::str::from_utf8(literal) else { return false };
    let future = literal.strip_prefix(['v', 'V']).and_then(|rest| rest.split_once('.'));
    future.map_or_else(
        || literal.parse::<Ipv6Addr>().is_ok(),
        |(version, address)| {
            !version.is_empty()
                && version.bytes().all(|b| b.is_ascii_hexdigit())
                && !address.is_empty()
                && address.bytes().all(|b| b == b':' || is_name_byte(b))
        },
    )
}

/// `reg-name`, which includes IPv4 addresses.
fn is_registered_name(name: &[u8]) -> bool {
    let mut rest = name;
    loop {
        match rest {
            [] => return true,
            [byte, tail @ ..] if is_name_byte(*byte) => rest = tail,
            [b'%', high, low, tail @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                rest = tail;
            }
            _ => return false,
        }
    }
}

/// `unreserved / sub-delims` (RFC 3986 §2).
fn is_name_byte(byte: u8) -> bool {
    matches!(byte,
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9'
        | b'-' | b'.' | b'_' | b'~'
        | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=')
}

#[cfg(test)]
mod tests {
    use hyper::StatusCode;
    use hyper::header::HeaderValue;

    use super::*;

    fn screened(version: Version, headers: &[(&str, &[u8])]) -> Option<(StatusCode, bool)> {
        let mut request = Request::builder().version(version);
        for &(name, value) in headers {
            request = request.header(name, HeaderValue::from_bytes(value).unwrap());
        }
        let refused = screen(&request.body(()).unwrap());
        refused.err().map(|problem| (problem.status, problem.close))
    }

    fn with_host(host: &[u8]) -> Option<(StatusCode, bool)> {
        screened(Version::HTTP_11, &[("host", host)])
    }

    const BAD_HOST: Option<(StatusCode, bool)> = Some((StatusCode::BAD_REQUEST, false));

    #[test]
    fn exactly_one_host_is_required_and_none_in_http_1_0() {
        assert_eq!(screened(Version::HTTP_11, &[]), BAD_HOST);
        assert_eq!(screened(Version::HTTP_10, &[]), None);
        for version in [Version::HTTP_10, Version::HTTP_11] {
            assert_eq!(screened(version, &[("host", b"a")]), None);
            assert_eq!(screened(version, &[("host", b"a"), ("host", b"a")]), BAD_HOST);
        }
    }

    #[test]
    fn a_host_is_a_name_or_an_address_with_or_without_a_port() {
        for host in [
            "",
            "a",
            "node_1.example:8080",
            "127.0.0.1:80",
            "a:",
            "[::1]",
            "[::1]:80",
            "[v1.a:b]",
            "%C3%A9",
            "!$&'()*+,;=~",
        ] {
            assert_eq!(with_host(host.as_bytes()), None, "{host}");
        }
        for host in [
            "a b",
            "a,b c",
            "a/b",
            "a?b",
            "a#b",
            "user@a",
            "a:b",
            "a:80:80",
            "::1",
            "[::1",
            "[::1]80",
            "[::1]x:80",
            "[::1%25lo]",
            "[a]",
            "[v.a]",
            "[vg.a]",
            "[v1.]",
            "%C3%",
            "%zz",
            "http://a",
            "\"a\"",
            "\\",
            "é",
        ] {
            assert_eq!(with_host(host.as_bytes()), BAD_HOST, "{host}");
        }
        assert_eq!(with_host(b"\xff"), BAD_HOST);
    }

    #[test]
    fn the_only_transfer_coding_is_chunked_applied_once() {
        let coded = |lines: &[&str]| {
            let lines = lines.iter().map(|line| ("transfer-encoding", line.as_bytes()));
            let headers: Vec<_> = lines.chain([("host", &b"a"[..])]).collect();
            screened(Version::HTTP_11, &headers)
        };
        for lines in [&[][..], &["chunked"], &["Chunked ,"], &["", "chunked"]] {
            assert_eq!(coded(lines), None, "{lines:?}");
        }
        let twice = Some((StatusCode::BAD_REQUEST, true));
        for lines in [&["chunked, chunked"][..], &["chunked", "chunked"]] {
            assert_eq!(coded(lines), twice, "{lines:?}");
        }
        let unknown = Some((StatusCode::NOT_IMPLEMENTED, true));
        for lines in [
            &["gzip, chunked"][..],
            &["gzip", "chunked"],
            &["identity, chunked"],
            &["chunked;x=1, chunked"],
            &["\"a, chunked", "chunked"],
            &["é", "chunked"],
        ] {
            assert_eq!(coded(lines), unknown, "{lines:?}");
        }
    }
}
