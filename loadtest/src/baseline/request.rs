//! Just enough HTTP/1.1 to tell a subscriber from a publisher.

use crate::http;

/// The largest request the baseline reads.
pub(super) const REQUEST_BYTES_MAX: usize = 64 * 1024;

/// What a connection asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// Hold a stream of these topics.
    Subscribe(Vec<Vec<u8>>),
    /// Deliver `data` to `topic`.
    Publish { topic: Vec<u8>, data: Vec<u8> },
    /// Say that the server is up.
    Health,
    /// Nothing the baseline knows.
    Other,
}

/// The first request in `bytes` and its length, or `None` while it is incomplete.
pub(super) fn parse(bytes: &[u8]) -> Option<(Request, usize)> {
    let head_len = http::head_len(bytes)?;
    let head = &bytes[..head_len];
    let mut words = head.split(|&b| b == b' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (path, query) = match memchr::memchr(b'?', target) {
        Some(at) => (&target[..at], &target[at + 1..]),
        None => (target, &[][..]),
    };
    let body_len = http::header(head, "content-length").and_then(http::number).unwrap_or(0);
    let end = head_len.saturating_add(body_len);
    let body = bytes.get(head_len..end)?;
    let request = match method {
        b"GET" if path == b"/healthz" => Request::Health,
        b"GET" => Request::Subscribe(fields(query, b"topic")),
        b"POST" | b"PUT" => publish(query, body),
        _ => Request::Other,
    };
    Some((request, end))
}

fn publish(query: &[u8], body: &[u8]) -> Request {
    let mut topics = fields(body, b"topic");
    topics.extend(fields(query, b"topic"));
    let data = fields(body, b"data").into_iter().next().unwrap_or_else(|| body.to_vec());
    Request::Publish { topic: topics.into_iter().next().unwrap_or_default(), data }
}

/// Every value of `name` in a form or query string.
fn fields(form: &[u8], name: &[u8]) -> Vec<Vec<u8>> {
    form.split(|&b| b == b'&')
        .filter_map(|pair| pair.strip_prefix(name)?.strip_prefix(b"="))
        .map(percent_decoded)
        .collect()
}

fn percent_decoded(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len());
    let mut at = 0;
    while at < raw.len() {
        let hex = |offset: usize| raw.get(at + offset).and_then(|&b| char::from(b).to_digit(16));
        match (raw[at], hex(1), hex(2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 2;
            }
            (b'+', ..) => out.push(b' '),
            (byte, ..) => out.push(byte),
        }
        at += 1;
    }
    out
}

/// An event as one chunk: `data:` and `id:`.
pub(super) fn chunk(data: &[u8], id: u64) -> Vec<u8> {
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
    fn a_subscribe_names_every_topic_of_its_query() {
        let raw = b"GET /events?topic=a%2Fb&topic=c HTTP/1.1\r\nHost: x\r\n\r\n";
        let (request, len) = parse(raw).expect("a whole request");
        assert_eq!(request, Request::Subscribe(vec![b"a/b".to_vec(), b"c".to_vec()]));
        assert_eq!(len, raw.len());
    }

    #[test]
    fn a_publish_waits_for_its_body() {
        let raw = b"POST /events HTTP/1.1\r\nContent-Length: 16\r\n\r\ntopic=a&data=x+y";
        assert!(parse(&raw[..raw.len() - 1]).is_none());
        let (request, _) = parse(raw).expect("a whole request");
        assert_eq!(request, Request::Publish { topic: b"a".to_vec(), data: b"x y".to_vec() });
    }

    #[test]
    fn a_chunk_states_its_own_length() {
        assert_eq!(chunk(b"x", 7), b"f\r\ndata: x\nid: 7\n\n\r\n");
    }
}
