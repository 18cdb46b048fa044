//! The few facts the tool needs of an HTTP/1.1 head, for both ends of the wire. Pure.

/// The length of the head including its empty line, or `None` while it is incomplete.
pub fn head_len(bytes: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, b"\r\n\r\n").map(|at| at + 4)
}

/// The first value of header `name`, without surrounding blanks.
pub fn header<'a>(head: &'a [u8], name: &str) -> Option<&'a [u8]> {
    head.split(|&b| b == b'\n').skip(1).find_map(|line| {
        let (key, value) = line.split_at_checked(name.len())?;
        let value = value.strip_prefix(b":")?;
        key.eq_ignore_ascii_case(name.as_bytes()).then(|| value.trim_ascii())
    })
}

/// True if a comma-separated header value holds `token`, whatever its case.
pub fn has_token(value: &[u8], token: &str) -> bool {
    value.split(|&b| b == b',').any(|word| word.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// A decimal number.
pub fn number(value: &[u8]) -> Option<usize> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// The status of a response head, such as 200.
pub fn status(head: &[u8]) -> Option<u16> {
    let rest = head.strip_prefix(b"HTTP/1.")?;
    number(rest.get(2..5)?).map(|status| status as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] =
        b"HTTP/1.1 503 Busy\r\ncontent-LENGTH:  12 \r\nConnection: x, Close\r\n\r\nbody";

    #[test]
    fn a_head_is_read_whatever_its_case() {
        assert_eq!(status(HEAD), Some(503));
        assert_eq!(header(HEAD, "Content-Length").and_then(number), Some(12));
        assert!(has_token(header(HEAD, "connection").expect("it is there"), "close"));
        assert_eq!(head_len(HEAD), Some(HEAD.len() - 4));
    }

    #[test]
    fn what_is_missing_is_none() {
        assert_eq!(header(HEAD, "x-none"), None);
        assert_eq!(status(b"HTTP/2 200"), None);
        assert_eq!(head_len(b"HTTP/1.1 200 OK\r\n"), None);
    }
}
