//! Where a publish's response ends, and what it said. Pure.

use crate::http;

/// A whole response.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Response {
    pub(super) status: u16,
    /// Bytes of head and body.
    pub(super) len: usize,
    /// The connection can't take another request.
    pub(super) last: bool,
}

/// The first response in `bytes`: `Ok(None)` while it is incomplete, `Err` if it isn't HTTP/1.1.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<Response>, ()> {
    let Some(head_len) = http::head_len(bytes) else {
        return if bytes.len() > 64 * 1024 { Err(()) } else { Ok(None) };
    };
    let head = &bytes[..head_len];
    let status = http::status(head).ok_or(())?;
    let mut last =
        http::header(head, "connection").is_some_and(|value| http::has_token(value, "close"));
    let chunked =
        http::header(head, "transfer-encoding").is_some_and(|v| http::has_token(v, "chunked"));
    let length = http::header(head, "content-length").and_then(http::number);
    let body_len = match (status, chunked, length) {
        (100..200 | 204 | 304, ..) => Some(0),
        (_, true, _) => chunks_len(&bytes[head_len..])?,
        (_, _, Some(length)) => Some(length),
        // Until the connection ends, which is as good as never: ask no more of it.
        (_, _, None) => {
            last = true;
            Some(bytes.len() - head_len)
        }
    };
    let len = body_len.map(|body_len| head_len + body_len);
    Ok(len.filter(|&len| len <= bytes.len()).map(|len| Response { status, len, last }))
}

/// The length of a chunked body including its end, `None` while it is incomplete. Trailers are not
/// expected.
fn chunks_len(body: &[u8]) -> Result<Option<usize>, ()> {
    let mut at = 0;
    loop {
        let Some(line_len) = memchr::memchr(b'\n', &body[at..]) else { return Ok(None) };
        let line = body[at..at + line_len].trim_ascii();
        let digits = line.split(|&b| b == b';').next().unwrap_or_default();
        let digits = std::str::from_utf8(digits).map_err(|_| ())?;
        let size = usize::from_str_radix(digits.trim(), 16).map_err(|_| ())?;
        at = at.saturating_add(line_len + 1).saturating_add(size).saturating_add(2);
        if at > body.len() {
            return Ok(None);
        }
        if size == 0 {
            return Ok(Some(at));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_and_chunks_end_where_they_say() {
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
        for (bytes, status, last) in cases {
            let wanted = Response { status, len: bytes.len(), last };
            assert_eq!(parse(bytes), Ok(Some(wanted)));
            assert_eq!(parse(&bytes[..bytes.len() - 1]), Ok(None));
        }
    }

    #[test]
    fn what_is_not_http_is_refused() {
        assert_eq!(parse(b"hello\r\n\r\n"), Err(()));
    }
}
