//! Takes a response apart as it arrives: head, then chunks or a plain body. Pure; one [`Wire`] per
//! stream.

use super::sse::{Found, LINE_BYTES_MAX, Lines, Malformed, Parser};
use crate::http;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Head,
    /// In a chunk's length.
    ChunkSize,
    /// After the length, up to the line's end.
    ChunkExtension,
    /// In a chunk, or a body with a length.
    ChunkData,
    /// The line end after a chunk.
    ChunkEnd,
    /// A body with a length.
    Sized,
    /// A body that lasts as long as the connection.
    UntilClose,
    Over,
}

/// One stream's place in its response. Around 80 bytes.
#[derive(Default)]
pub struct Wire {
    /// Bytes left of the chunk or body; while its length is read, the length so far.
    left: u64,
    lines: Lines,
    phase: Phase,
}

impl Wire {
    /// Ready for a new response; the last id is kept.
    pub fn restart(&mut self) {
        self.lines.restart();
        (self.left, self.phase) = (0, Phase::Head);
    }

    /// The id of the last whole event.
    pub fn last_id(&self) -> Option<&[u8]> {
        self.lines.last_id()
    }

    /// Takes `bytes` apart into `parser.found`.
    pub fn feed(&mut self, mut bytes: &[u8], parser: &mut Parser) -> Result<(), Malformed> {
        while let Some(&byte) = bytes.first() {
            match self.phase {
                Phase::Head => bytes = self.head(bytes, parser)?,
                Phase::ChunkSize => {
                    bytes = &bytes[1..];
                    self.chunk_size(byte)?;
                }
                Phase::ChunkExtension => match memchr::memchr(b'\n', bytes) {
                    Some(at) => {
                        bytes = &bytes[at + 1..];
                        self.phase = if self.left == 0 { Phase::Over } else { Phase::ChunkData };
                        if self.left == 0 {
                            parser.found.push(Found::End);
                        }
                    }
                    None => return Ok(()),
                },
                Phase::ChunkEnd => {
                    bytes = &bytes[1..];
                    match byte {
                        b'\r' => {}
                        b'\n' => self.phase = Phase::ChunkSize,
                        _ => return Err(Malformed),
                    }
                }
                Phase::ChunkData | Phase::Sized => {
                    let len = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
                    let (body, rest) = bytes.split_at(len);
                    bytes = rest;
                    self.left -= len as u64;
                    self.lines.feed(body, parser)?;
                    if self.left == 0 && self.phase == Phase::ChunkData {
                        self.phase = Phase::ChunkEnd;
                    } else if self.left == 0 {
                        self.phase = Phase::Over;
                        parser.found.push(Found::End);
                    }
                }
                Phase::UntilClose => {
                    self.lines.feed(bytes, parser)?;
                    return Ok(());
                }
                Phase::Over => return Ok(()),
            }
        }
        Ok(())
    }

    fn chunk_size(&mut self, byte: u8) -> Result<(), Malformed> {
        match char::from(byte).to_digit(16) {
            Some(digit) => {
                self.left = self.left.checked_mul(16).ok_or(Malformed)? + u64::from(digit)
            }
            None if byte == b'\n' => return Err(Malformed),
            None => self.phase = Phase::ChunkExtension,
        }
        Ok(())
    }

    /// Returns what follows the head.
    fn head<'a>(&mut self, bytes: &'a [u8], parser: &mut Parser) -> Result<&'a [u8], Malformed> {
        let before = self.lines.partial.take();
        let had = before.as_ref().map_or(0, |before| before.len());
        let mut joined = before;
        let whole: &[u8] = match &mut joined {
            Some(joined) => {
                joined.extend_from_slice(bytes);
                joined
            }
            None => bytes,
        };
        let Some(len) = http::head_len(whole) else {
            if whole.len() > LINE_BYTES_MAX {
                return Err(Malformed);
            }
            self.lines.partial = Some(joined.unwrap_or_else(|| Box::new(bytes.to_vec())));
            return Ok(&[]);
        };
        let head = &whole[..len];
        let status = http::status(head).ok_or(Malformed)?;
        let rest = &bytes[len - had..];
        if (100..200).contains(&status) {
            return Ok(rest);
        }
        let length = http::header(head, "content-length").and_then(http::number);
        if http::header(head, "transfer-encoding")
            .is_some_and(|value| http::has_token(value, "chunked"))
        {
            self.phase = Phase::ChunkSize;
        } else if let Some(length) = length {
            self.left = length as u64;
            self.phase = if length == 0 { Phase::Over } else { Phase::Sized };
        } else {
            self.phase = Phase::UntilClose;
        }
        parser.found.push(Found::Head(status));
        if self.phase == Phase::Over {
            parser.found.push(Found::End);
        }
        Ok(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::stamp::{Stamp, data};

    const STAMP: Stamp = Stamp { topic: 0, number: 5, due: 99 };

    fn chunked(events: &[&str]) -> Vec<u8> {
        let mut response = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for event in events {
            response.extend_from_slice(format!("{:x};x=y\r\n{event}\r\n", event.len()).as_bytes());
        }
        response.extend_from_slice(b"0\r\n\r\n");
        response
    }

    /// Feeds `response` in pieces of `step` bytes.
    fn found(response: &[u8], step: usize, wire: &mut Wire) -> Vec<Found> {
        let mut parser = Parser::new(7, true);
        for piece in response.chunks(step) {
            wire.feed(piece, &mut parser).expect("well formed");
        }
        parser.found
    }

    #[test]
    fn a_response_cut_anywhere_says_the_same() {
        let event = format!("event: t\ndata: {}\nid: abc\n\n", data(7, STAMP, 90));
        let (head, tail) = event.split_at(40);
        let response =
            chunked(&[":\n\n", head, tail, "event: lagged\ndata: {}\n\n", "id: cut\ndata: x\n"]);
        for step in 1..response.len() {
            let mut wire = Wire::default();
            let wanted = [Found::Head(200), Found::Event(STAMP), Found::Control(2), Found::End];
            assert_eq!(found(&response, step, &mut wire), wanted, "in pieces of {step}");
            assert_eq!(
                wire.last_id(),
                Some(&b"abc"[..]),
                "the id of an event that was cut is not taken"
            );
        }
    }

    #[test]
    fn a_body_with_a_length_and_one_without_are_read() {
        let event = format!("data:{}\r\n\r\n", data(7, STAMP, 60));
        let sized = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{event}", event.len());
        let wanted = [Found::Head(200), Found::Event(STAMP), Found::End];
        assert_eq!(found(sized.as_bytes(), 7, &mut Wire::default()), wanted);
        let open = format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n{event}");
        assert_eq!(found(open.as_bytes(), 7, &mut Wire::default()), wanted[..2]);
    }

    #[test]
    fn what_is_not_http_is_malformed() {
        let mut parser = Parser::new(7, false);
        assert!(Wire::default().feed(b"SSH-2.0-x\r\n\r\n", &mut parser).is_err());
        let mut wire = Wire::default();
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        wire.feed(head, &mut parser).expect("a head");
        assert!(wire.feed(b"3\r\n:\n\nxx", &mut parser).is_err(), "no line end after a chunk");
    }
}
