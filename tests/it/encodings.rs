//! `Content-Encoding` of a publish: gzip and zstd bodies are decoded within the limits, any other
//! coding is refused.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::support::{Request, TestNode};

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn zstd(body: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(zstd_safe::compress_bound(body.len()));
    zstd_safe::compress(&mut encoded, body, 3).unwrap();
    encoded
}

/// The body in each coding, under the name of it.
fn encoded(body: &[u8]) -> [(&'static str, Vec<u8>); 3] {
    [("gzip", gzip(body)), ("X-GZIP", gzip(body)), ("zstd", zstd(body))]
}

fn plain(coding: &str, body: Vec<u8>) -> Request {
    Request::publish("topic=a", body).header("Content-Encoding", coding)
}

/// Ensures that the content coding of a body is removed.
///
/// Cause: `Content-Encoding` was ignored, and the encoded bytes were parsed as the event.
#[tokio::test]
async fn encoded_bodies_are_published_as_decoded_ones() {
    let node = TestNode::start();
    let mut stream = node.subscribe("topic=a").await;
    let mut publisher = node.connect().await;
    let data = "é ".repeat(1000);
    for (coding, body) in encoded(data.as_bytes()) {
        let id = publisher.publish_request(&plain(coding, body)).await;
        let event = stream.event().await;
        assert_eq!((event.data, event.id), (data.clone(), id), "{coding}");
    }
    for (coding, body) in encoded(br#"{"topic":"a","data":"json"}"#) {
        let request = Request::json(body).header("Content-Encoding", coding);
        publisher.publish_request(&request).await;
        assert_eq!(stream.event().await.data, "json", "{coding}");
    }
    for (coding, body) in encoded(b"topic=a&data=form") {
        let request = Request::form(&[]).body(body).header("Content-Encoding", coding);
        publisher.publish_request(&request).await;
        assert_eq!(stream.event().await.data, "form", "{coding}");
    }
}

#[tokio::test]
async fn an_encoded_body_may_come_in_chunks() {
    let node = TestNode::start();
    let mut stream = node.subscribe("topic=a").await;
    let mut publisher = node.connect().await;
    for (coding, body) in encoded(b"in chunks") {
        let request = Request::new("POST", "/events?topic=a").header("Content-Encoding", coding);
        let head = request.header("Transfer-Encoding", "chunked").head();
        let chunks = body.iter().flat_map(|&byte| [&b"1\r\n"[..], &[byte, b'\r', b'\n']].concat());
        let sent = [head, chunks.collect(), b"0\r\n\r\n".to_vec()].concat();
        publisher.send(&sent).await;
        assert_eq!(publisher.response("POST").await.status, 200, "{coding}");
        assert_eq!(stream.event().await.data, "in chunks");
    }
}

#[tokio::test]
async fn any_other_coding_is_refused_with_those_that_are_accepted() {
    let node = TestNode::start();
    let mut publisher = node.connect().await;
    for coding in ["br", "deflate", "compress", "identity", "gzip, gzip", "zstd, gzip", "aes128gcm"]
    {
        let response = publisher.request(&plain(coding, gzip(b"x"))).await;
        response.problem(415);
        assert_eq!(response.header("Accept-Encoding"), Some("gzip, zstd"), "{coding}");
        assert!(!response.closes(), "{coding}");
    }
    let twice = plain("gzip", gzip(b"x")).another_header("Content-Encoding", "gzip");
    publisher.request(&twice).await.problem(415);
    // Not for another reason (RFC 9110 §12.5.3).
    let charset = Request::publish("topic=a", "x").header("Content-Type", "text/plain;charset=x");
    let response = publisher.request(&charset).await;
    response.problem(415);
    assert_eq!(response.header("Accept-Encoding"), None);
    publisher.publish("a", "still usable").await;
}

#[tokio::test]
async fn an_unknown_coding_is_refused_before_the_body_is_sent() {
    let node = TestNode::start();
    let mut publisher = node.connect().await;
    publisher.send(&plain("br", vec![0; 1000]).header("Expect", "100-continue").head()).await;
    publisher.response("POST").await.problem(415);
    publisher.closed().await;
}

#[tokio::test]
async fn a_body_that_is_not_in_its_coding_is_refused() {
    let node = TestNode::start();
    let mut stream = node.subscribe("").await;
    let mut publisher = node.connect().await;
    for (coding, body) in encoded(&b"some data".repeat(100)) {
        for broken in [b"some data".to_vec(), vec![], body[..body.len() - 1].to_vec()] {
            let problem = publisher.request(&plain(coding, broken)).await.problem(400);
            assert_eq!(problem["type"], "urn:fanfare:problem:bad-encoding", "{coding}");
        }
    }
    let id = publisher.publish("a", "good").await;
    assert_eq!(stream.event().await.id, id);
}

/// The limit applies after decoding, however small the encoded body is.
#[tokio::test]
async fn a_body_that_decodes_to_more_than_the_limit_is_refused() {
    let limit = 100_000;
    let node = TestNode::with(|config| config.event_bytes_max = limit);
    let mut stream = node.subscribe("topic=a").await;
    let mut publisher = node.connect().await;
    for size in [limit + 1, 50 << 20] {
        for (coding, body) in encoded(&vec![b'x'; size]) {
            assert!(body.len() < limit, "{coding}");
            publisher.request(&plain(coding, body)).await.problem(413);
        }
    }
    let data = "x".repeat(limit);
    for (coding, body) in encoded(data.as_bytes()) {
        publisher.publish_request(&plain(coding, body)).await;
        assert_eq!(stream.event().await.data, data, "{coding}");
    }
}

/// What a body decodes to is reserved like the body itself, so that small bodies can't make the
/// node use more memory than `FANFARE_QUEUE_BYTES`.
#[tokio::test]
async fn a_decoded_body_takes_part_of_the_byte_budget() {
    let node = TestNode::with(|config| {
        (config.event_bytes_max, config.queue_bytes) = (40_000, 60_000);
        config.body_rate_min = 0;
    });
    let held = "x".repeat(30_000);
    let mut first = node.hold_publish("a", &held, 60_000).await;
    let mut second = node.connect().await;
    for (coding, body) in encoded(&vec![b'y'; 35_000]) {
        let response = second.request(&plain(coding, body)).await;
        response.problem(503);
        assert_eq!(response.header("Retry-After"), Some("1"), "{coding}");
    }
    first.send(b"x").await;
    assert_eq!(first.response("POST").await.status, 200);
    for (coding, body) in encoded(&vec![b'y'; 35_000]) {
        assert_eq!(second.request(&plain(coding, body)).await.status, 200, "{coding}");
    }
}
