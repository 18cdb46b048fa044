//! Incremental decoder of a streaming HTTP/1.1 response: head, then a chunked or plain body.

use super::sse::{DecodeContext, Item, LINE_BYTES_MAX, SseDecoder};
use crate::http::{self, Framing, Malformed};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Head,
    ChunkSize,
    /// The rest of the line after a chunk's size.
    ChunkExtension,
    ChunkData,
    /// The line break after a chunk.
    ChunkEnd,
    /// A body with a Content-Length.
    Sized,
    UntilClose,
    Ended,
}

/// Around 80 bytes, one per stream.
#[derive(Default)]
pub(super) struct ResponseDecoder {
    /// Bytes left of the chunk or body; in [`Phase::ChunkSize`], the size read so far.
    left: u64,
    sse: SseDecoder,
    phase: Phase,
}

impl ResponseDecoder {
    /// Resets the decoder for a new response; the last id is kept.
    pub(super) fn restart(&mut self) {
        self.sse.restart();
        (self.left, self.phase) = (0, Phase::Head);
    }

    /// The id of the last complete event.
    pub(super) fn last_id(&self) -> Option<&[u8]> {
        self.sse.last_id()
    }

    /// Decodes `bytes` into `context.items`.
    pub(super) fn feed(
        &mut self,
        mut bytes: &[u8],
        context: &mut DecodeContext,
    ) -> Result<(), Malformed> {
        while let Some(&byte) = bytes.first() {
            match self.phase {
                Phase::Head => bytes = self.head(bytes, context)?,
                Phase::ChunkSize => {
                    bytes = &bytes[1..];
                    self.chunk_size(byte)?;
                }
                Phase::ChunkExtension => match memchr::memchr(b'\n', bytes) {
                    Some(at) => {
                        bytes = &bytes[at + 1..];
                        self.phase = if self.left == 0 { Phase::Ended } else { Phase::ChunkData };
                        if self.left == 0 {
                            context.items.push(Item::End);
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
                    self.sse.feed(body, context)?;
                    if self.left == 0 && self.phase == Phase::ChunkData {
                        self.phase = Phase::ChunkEnd;
                    } else if self.left == 0 {
                        self.phase = Phase::Ended;
                        context.items.push(Item::End);
                    }
                }
                Phase::UntilClose => {
                    self.sse.feed(bytes, context)?;
                    return Ok(());
                }
                Phase::Ended => return Ok(()),
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

    /// Decodes the head; returns the bytes behind it.
    fn head<'a>(
        &mut self,
        bytes: &'a [u8],
        context: &mut DecodeContext,
    ) -> Result<&'a [u8], Malformed> {
        let mut partial = self.sse.partial.take();
        let buffered = partial.as_ref().map_or(0, |partial| partial.len());
        let whole: &[u8] = match &mut partial {
            Some(partial) => {
                partial.extend_from_slice(bytes);
                partial
            }
            None => bytes,
        };
        let Some(head) = http::parse_response(whole)? else {
            if whole.len() > LINE_BYTES_MAX {
                return Err(Malformed);
            }
            self.sse.partial = Some(partial.unwrap_or_else(|| Box::new(bytes.to_vec())));
            return Ok(&[]);
        };
        let rest = &bytes[head.len - buffered..];
        if (100..200).contains(&head.status) {
            return Ok(rest);
        }
        self.phase = match head.framing {
            Framing::Chunked => Phase::ChunkSize,
            Framing::Length(0) => Phase::Ended,
            Framing::Length(length) => {
                self.left = length as u64;
                Phase::Sized
            }
            Framing::UntilClose => Phase::UntilClose,
        };
        context.items.push(Item::Head(head.status));
        if self.phase == Phase::Ended {
            context.items.push(Item::End);
        }
        Ok(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::stamp::{Stamp, data};

    const STAMP: Stamp = Stamp { topic: 0, publisher: 0, number: 5, due: 99 };

    fn chunked(events: &[&str]) -> Vec<u8> {
        let mut response = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for event in events {
            response.extend_from_slice(format!("{:x};x=y\r\n{event}\r\n", event.len()).as_bytes());
        }
        response.extend_from_slice(b"0\r\n\r\n");
        response
    }

    /// Decodes `response` in pieces of `step` bytes.
    fn decode(response: &[u8], step: usize, decoder: &mut ResponseDecoder) -> Vec<Item> {
        let mut context = DecodeContext::new(7, true, false);
        for piece in response.chunks(step) {
            decoder.feed(piece, &mut context).expect("well formed");
        }
        context.items
    }

    #[test]
    fn a_response_split_anywhere_decodes_the_same() {
        let event = format!("event: t\ndata: {}\nid: abc\n\n", data(7, STAMP, 90));
        let (head, tail) = event.split_at(40);
        let response =
            chunked(&[":\n\n", head, tail, "event: lagged\ndata: {}\n\n", "id: cut\ndata: x\n"]);
        for step in 1..response.len() {
            let mut decoder = ResponseDecoder::default();
            let expected = [Item::Head(200), Item::Event(STAMP), Item::Control(2), Item::End];
            assert_eq!(decode(&response, step, &mut decoder), expected, "in pieces of {step}");
            assert_eq!(
                decoder.last_id(),
                Some(&b"abc"[..]),
                "the id of an incomplete event is ignored"
            );
        }
    }

    #[test]
    fn bodies_with_and_without_a_length_are_decoded() {
        let event = format!("data:{}\r\n\r\n", data(7, STAMP, 60));
        let sized = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{event}", event.len());
        let expected = [Item::Head(200), Item::Event(STAMP), Item::End];
        assert_eq!(decode(sized.as_bytes(), 7, &mut ResponseDecoder::default()), expected);
        let open = format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n{event}");
        assert_eq!(decode(open.as_bytes(), 7, &mut ResponseDecoder::default()), expected[..2]);
    }

    #[test]
    fn invalid_http_is_malformed() {
        let mut context = DecodeContext::new(7, false, false);
        assert!(ResponseDecoder::default().feed(b"SSH-2.0-x\r\n\r\n", &mut context).is_err());
        let mut decoder = ResponseDecoder::default();
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        decoder.feed(head, &mut context).expect("a head");
        assert!(
            decoder.feed(b"3\r\n:\n\nxx", &mut context).is_err(),
            "no line break after a chunk"
        );
    }
}
