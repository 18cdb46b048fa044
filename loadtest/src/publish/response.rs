//! Parses the response to a publish.

use crate::http::{self, Framing, Malformed};

/// The largest head accepted.
const HEAD_BYTES_MAX: usize = 64 * 1024;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Response {
    pub(super) status: u16,
    /// Bytes of head and body.
    pub(super) len: usize,
    /// The connection can't be used for another request.
    pub(super) close: bool,
}

/// Parses the response at the start of `bytes`; `Ok(None)` while it is incomplete.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<Response>, Malformed> {
    let Some(head) = http::parse_response(bytes)? else {
        return if bytes.len() > HEAD_BYTES_MAX { Err(Malformed) } else { Ok(None) };
    };
    let mut close = head.close;
    let body_len = match (head.status, head.framing) {
        (100..200 | 204 | 304, _) => Some(0),
        (_, Framing::Chunked) => http::chunked_len(&bytes[head.len..])?,
        (_, Framing::Length(length)) => Some(length),
        // Reading until the end would take as long as the server likes: close instead.
        (_, Framing::UntilClose) => {
            close = true;
            Some(bytes.len() - head.len)
        }
    };
    let len = body_len.map(|body_len| head.len.saturating_add(body_len));
    Ok(len.filter(|&len| len <= bytes.len()).map(|len| Response {
        status: head.status,
        len,
        close,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_end_where_their_framing_says() {
        let cases: [(&[u8], u16, bool); 4] = [
            (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", 200, false),
            (
                b"HTTP/1.1 202 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
                202,
                false,
            ),
            (b"HTTP/1.1 204 No\r\n\r\n", 204, false),
            (b"HTTP/1.1 503 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", 503, true),
        ];
        for (bytes, status, close) in cases {
            let expected = Response { status, len: bytes.len(), close };
            assert_eq!(parse(bytes), Ok(Some(expected)));
            assert_eq!(parse(&bytes[..bytes.len() - 1]), Ok(None));
        }
    }

    #[test]
    fn malformed_responses_are_errors() {
        assert_eq!(parse(b"hello\r\n\r\n"), Err(Malformed));
    }
}
