//! Reader of a stream's bytes: HTTP/1.1 chunks, each with one Server-Sent Event or comments.
//!
//! Strict, and without any code of the encoder.

use memchr::memchr;

const CRLF: &[u8] = b"\r\n";

/// What one chunk holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    /// A heartbeat, or the preamble.
    Comment,
    Event {
        /// Empty for an event without a type.
        kind: &'a str,
        data: &'a str,
        id: Option<&'a str>,
    },
    /// The last chunk.
    End,
}

/// The first chunk of `bytes` and its length, or `None` if not all of it has come.
pub(super) fn first_frame(bytes: &[u8]) -> Result<Option<(Frame<'_>, usize)>, &'static str> {
    let Some(eol) = memchr(b'\r', bytes) else {
        let is_size = bytes.len() < 9 && bytes.iter().all(u8::is_ascii_hexdigit);
        return if is_size { Ok(None) } else { Err("no size of a chunk") };
    };
    let size = std::str::from_utf8(&bytes[..eol]).ok();
    let size = size.and_then(|size| usize::from_str_radix(size, 16).ok());
    let size = size.ok_or("a size of a chunk that is no number")?;
    let (start, end) = (eol + CRLF.len(), eol + CRLF.len() + size);
    let whole = end + CRLF.len();
    if bytes.len() < whole {
        return Ok(None);
    }
    if &bytes[eol..start] != CRLF || &bytes[end..whole] != CRLF {
        return Err("a chunk without its line ends");
    }
    if size == 0 {
        return Ok(Some((Frame::End, whole)));
    }
    let payload = std::str::from_utf8(&bytes[start..end]).map_err(|_| "not UTF-8")?;
    Ok(Some((frame(payload)?, whole)))
}

fn frame(payload: &str) -> Result<Frame<'_>, &'static str> {
    let (mut kind, mut data, mut id) = ("", None, None);
    let Some(lines) = payload.strip_suffix("\n\n") else {
        let comments = payload.split_terminator('\n');
        let mut comments = comments.filter(|line| !line.starts_with(':'));
        let fits = comments.all(|line| line.starts_with("retry: "));
        return if fits { Ok(Frame::Comment) } else { Err("an event without its empty line") };
    };
    for line in lines.split('\n') {
        match line.split_once(": ").ok_or("a line without a field")? {
            ("event", value) => kind = value,
            ("data", value) if data.is_none() => data = Some(value),
            ("id", value) => id = Some(value),
            ("retry", _) => {}
            _ => return Err("an unknown or repeated field"),
        }
    }
    Ok(Frame::Event { kind, data: data.ok_or("an event without data")?, id })
}
