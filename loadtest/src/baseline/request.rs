//! HTTP requests to the baseline: subscriptions and publishes.

use std::borrow::Cow;

use percent_encoding::percent_decode;

use crate::http::{self, Malformed};

/// The largest request accepted.
pub(super) const REQUEST_BYTES_MAX: usize = 64 * 1024;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// Open a stream of these topics.
    Subscribe(Vec<Vec<u8>>),
    Publish {
        topic: Vec<u8>,
        data: Vec<u8>,
    },
    Health,
    Unsupported,
}

/// Parses the request at the start of `bytes`; returns it with its length, or `Ok(None)` while it
/// is incomplete.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Request, usize)>, Malformed> {
    let Some(head) = http::parse_request(bytes)? else { return Ok(None) };
    let end = head.len.saturating_add(head.content_length);
    let Some(body) = bytes.get(head.len..end) else { return Ok(None) };
    let (path, query) = head.target.split_once('?').unwrap_or((head.target, ""));
    let request = match head.method {
        "GET" if path == "/healthz" => Request::Health,
        "GET" => Request::Subscribe(fields(query.as_bytes(), b"topic").collect()),
        "POST" | "PUT" => publish(query.as_bytes(), body),
        _ => Request::Unsupported,
    };
    Ok(Some((request, end)))
}

fn publish(query: &[u8], body: &[u8]) -> Request {
    let topic = fields(body, b"topic").chain(fields(query, b"topic")).next().unwrap_or_default();
    let data = fields(body, b"data").next().unwrap_or_else(|| body.to_vec());
    Request::Publish { topic, data }
}

/// The values of `name` in a form or query string.
fn fields<'a>(form: &'a [u8], name: &'a [u8]) -> impl Iterator<Item = Vec<u8>> + 'a {
    form.split(|&b| b == b'&')
        .filter_map(move |pair| pair.strip_prefix(name)?.strip_prefix(b"="))
        .map(decode)
}

fn decode(value: &[u8]) -> Vec<u8> {
    let spaces: Vec<u8> = value.iter().map(|&b| if b == b'+' { b' ' } else { b }).collect();
    Cow::from(percent_decode(&spaces)).into_owned()
}

/// Encodes an event as an HTTP chunk.
pub(super) fn encode_chunk(data: &[u8], id: u64) -> Vec<u8> {
    let mut event = Vec::with_capacity(data.len() + 40);
    for line in data.split(|&b| b == b'\n') {
        event.extend_from_slice(b"data: ");
        event.extend_from_slice(line);
        event.push(b'\n');
    }
    event.extend_from_slice(format!("id: {id}\n\n").as_bytes());
    let mut chunk = format!("{:x}\r\n", event.len()).into_bytes();
    chunk.extend_from_slice(&event);
    chunk.extend_from_slice(b"\r\n");
    chunk
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subscription_is_to_every_topic_of_its_query() {
        let raw = b"GET /events?topic=a%2Fb&topic=c HTTP/1.1\r\nHost: x\r\n\r\n";
        let (request, len) = parse(raw).expect("valid").expect("complete");
        assert_eq!(request, Request::Subscribe(vec![b"a/b".to_vec(), b"c".to_vec()]));
        assert_eq!(len, raw.len());
    }

    #[test]
    fn a_publish_waits_for_its_body() {
        let raw = b"POST /events HTTP/1.1\r\nContent-Length: 16\r\n\r\ntopic=a&data=x+y";
        assert_eq!(parse(&raw[..raw.len() - 1]), Ok(None));
        let (request, _) = parse(raw).expect("valid").expect("complete");
        assert_eq!(request, Request::Publish { topic: b"a".to_vec(), data: b"x y".to_vec() });
    }

    #[test]
    fn a_chunk_starts_with_its_length() {
        assert_eq!(encode_chunk(b"x", 7), b"f\r\ndata: x\nid: 7\n\n\r\n");
    }
}
