//! HTTP/1.1 message heads, parsed with `httparse`, for the publisher, the streams and the baseline.

use httparse::{EMPTY_HEADER, Header, Status};

/// Headers accepted in one head.
const HEADERS_MAX: usize = 100;

/// Not an HTTP/1.1 head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ResponseHead {
    /// Length including the empty line.
    pub(crate) len: usize,
    pub(crate) status: u16,
    pub(crate) framing: Framing,
    /// `Connection: close`.
    pub(crate) close: bool,
}

/// How the body is delimited, as far as the headers say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Chunked,
    Length(usize),
    UntilClose,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RequestHead<'a> {
    /// Length including the empty line.
    pub(crate) len: usize,
    pub(crate) method: &'a str,
    pub(crate) target: &'a str,
    pub(crate) content_length: usize,
}

/// Parses the response head at the start of `bytes`; `Ok(None)` while it is incomplete.
pub(crate) fn parse_response(bytes: &[u8]) -> Result<Option<ResponseHead>, Malformed> {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let Status::Complete(len) = response.parse(bytes).map_err(|_| Malformed)? else {
        return Ok(None);
    };
    let headers = &*response.headers;
    let framing = if has_token(headers, "transfer-encoding", "chunked") {
        Framing::Chunked
    } else {
        content_length(headers).map_or(Framing::UntilClose, Framing::Length)
    };
    let close = has_token(headers, "connection", "close");
    let status = response.code.ok_or(Malformed)?;
    Ok(Some(ResponseHead { len, status, framing, close }))
}

/// Parses the request head at the start of `bytes`; `Ok(None)` while it is incomplete.
pub(crate) fn parse_request(bytes: &[u8]) -> Result<Option<RequestHead<'_>>, Malformed> {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let Status::Complete(len) = request.parse(bytes).map_err(|_| Malformed)? else {
        return Ok(None);
    };
    let content_length = content_length(request.headers).unwrap_or(0);
    let (method, target) = request.method.zip(request.path).ok_or(Malformed)?;
    Ok(Some(RequestHead { len, method, target, content_length }))
}

/// The length of the chunked body at the start of `body`; `Ok(None)` while it is incomplete.
/// Trailers are not supported.
pub(crate) fn chunked_len(body: &[u8]) -> Result<Option<usize>, Malformed> {
    let mut end = 0usize;
    while let Some(rest) = body.get(end..) {
        match httparse::parse_chunk_size(rest) {
            Ok(Status::Complete((line_len, size))) => {
                let size = usize::try_from(size).map_err(|_| Malformed)?;
                end = end.saturating_add(line_len).saturating_add(size).saturating_add(2);
                if size == 0 {
                    return Ok(Some(end));
                }
            }
            Ok(Status::Partial) => return Ok(None),
            Err(_) => return Err(Malformed),
        }
    }
    Ok(None)
}

fn value<'a>(headers: &[Header<'a>], name: &str) -> Option<&'a [u8]> {
    headers.iter().find(|header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
}

fn content_length(headers: &[Header<'_>]) -> Option<usize> {
    std::str::from_utf8(value(headers, "content-length")?).ok()?.trim().parse().ok()
}

/// True if the comma-separated value of header `name` contains `token`, ignoring case.
fn has_token(headers: &[Header<'_>], name: &str, token: &str) -> bool {
    value(headers, name).is_some_and(|value| {
        value
            .split(|&b| b == b',')
            .any(|word| word.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_names_and_tokens_ignore_case() {
        let head = b"HTTP/1.1 503 Busy\r\ncontent-LENGTH:  12 \r\nConnection: x, Close\r\n\r\nbody";
        let expected = ResponseHead {
            len: head.len() - 4,
            status: 503,
            framing: Framing::Length(12),
            close: true,
        };
        assert_eq!(parse_response(head), Ok(Some(expected)));
    }

    #[test]
    fn chunked_takes_precedence_over_a_length() {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n";
        let head = parse_response(head).expect("valid").expect("complete");
        assert_eq!((head.framing, head.close), (Framing::Chunked, false));
    }

    #[test]
    fn incomplete_and_malformed_heads_are_told_apart() {
        assert_eq!(parse_response(b"HTTP/1.1 200 OK\r\n"), Ok(None));
        assert_eq!(parse_response(b"HTTP/2 200\r\n\r\n"), Err(Malformed));
        assert_eq!(parse_request(b"GET / HTTP/1.1\r\nHost: a"), Ok(None));
        assert_eq!(parse_request(b"hello\r\n\r\n"), Err(Malformed));
    }
}
