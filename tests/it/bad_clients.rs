//! Broken, hostile and abandoned clients: each is refused or closed, and no other stream notices.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::support::{Fanfare, Process, Stream, within};

const HEAD_TIMEOUT: Duration = Duration::from_millis(500);

/// Connections that send the same bytes at once.
const CLIENTS: usize = 20;

/// A node with ten streams that share its only shard with the bad clients, and short timeouts.
struct Bystanders {
    node: Process,
    streams: Vec<Stream>,
}

impl Bystanders {
    async fn new() -> Self {
        let node = Fanfare::new().set("FANFARE_SHARDS", "1").set("FANFARE_HEAD_TIMEOUT", "500ms");
        let node = node.set("FANFARE_HEARTBEAT", "500ms").start().await;
        let streams = node.subscribe_many("topic=news", 10).await;
        Self { node, streams }
    }

    /// Sends the bytes from many clients at once; returns the responses, read until the node closed
    /// the connections.
    async fn withstand(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            let (node, bytes) = (*self.node, bytes.to_vec());
            clients.spawn(async move { node.exchange(&bytes).await });
        }
        let responses = within("the end of every bad client", clients.join_all()).await;
        assert_eq!(responses.len(), CLIENTS);
        self.are_served().await;
        responses
    }

    async fn are_served(&mut self) {
        self.node.publish("news", "still served").await;
        for stream in &mut self.streams {
            assert_eq!(stream.event().await.data, "still served");
        }
        self.node.health_reaches("/streams", 10).await;
        self.node.health_reaches("/connections", 11).await;
    }
}

/// Asserts that each response has this status and announces the end of the connection.
fn assert_refused(responses: &[String], status: u16) {
    for response in responses {
        assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{response:?}");
        assert!(response.to_ascii_lowercase().contains("connection: close\r\n"), "{response:?}");
    }
}

#[tokio::test]
async fn garbage_is_refused() {
    let mut bystanders = Bystanders::new().await;
    assert_refused(&bystanders.withstand(b"\x00\xff\x13garbage\r\n\r\n").await, 400);
    assert_refused(&bystanders.withstand(b"GET /events?topic=news HTTP/9.9\r\n\r\n").await, 400);
    assert_refused(&bystanders.withstand(b"GET /events HTTP/1.1\r\nno colon\r\n\r\n").await, 400);
}

#[tokio::test]
async fn a_tls_client_hello_is_refused() {
    let hello = b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03\
        aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\x00\x00\x02\x13\x01";
    assert_refused(&Bystanders::new().await.withstand(hello).await, 400);
}

#[tokio::test]
async fn a_head_of_a_megabyte_is_refused() {
    let header = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(1 << 20));
    assert_refused(&Bystanders::new().await.withstand(header.as_bytes()).await, 431);
    let target = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(1 << 20));
    let responses = Bystanders::new().await.withstand(target.as_bytes()).await;
    assert!(responses.iter().all(|response| response.starts_with("HTTP/1.1 4")), "{responses:?}");
}

/// The timeout itself is under test, so time is measured: a connection that is closed at once would
/// not be one that timed out.
#[tokio::test]
async fn an_incomplete_head_is_closed_after_the_head_timeout() {
    let mut bystanders = Bystanders::new().await;
    for incomplete in [&b"GET /events?topic=news HTTP/1.1\r\nHost:"[..], b""] {
        let sent = Instant::now();
        bystanders.withstand(incomplete).await;
        assert!(sent.elapsed() >= HEAD_TIMEOUT, "closed after {:?}", sent.elapsed());
    }
}

/// Ensures that a body whose framing is broken is refused as such.
///
/// Scenario: a chunked publish has a chunk size that is not hexadecimal.
///
/// Cause: every failure to read a body was reported as text that is not UTF-8.
///
/// Fix: only the decoder reports an encoding; a failed read is a 400 without a type of its own.
#[tokio::test]
async fn a_body_that_breaks_its_framing_is_refused() {
    let chunked = b"POST /events?topic=news HTTP/1.1\r\nHost: x\r\n\
        Transfer-Encoding: chunked\r\n\r\nnot hex\r\n";
    for response in Bystanders::new().await.withstand(chunked).await {
        assert!(response.starts_with("HTTP/1.1 400 "), "{response:?}");
        assert!(response.contains("\"about:blank\""), "{response:?}");
    }
}

/// Bytes after the request of a stream stay unread in the socket. When the client closes behind
/// them, the node notices at its next write: a heartbeat at the latest.
#[tokio::test]
async fn a_subscriber_that_goes_on_sending_is_served() {
    let mut bystanders = Bystanders::new().await;
    let node = *bystanders.node;
    let requests = b"GET /events?topic=news HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1000);
    tokio::select! {
        response = node.exchange(&requests) => panic!("its stream ended: {response:?}"),
        () = node.health_reaches("/streams", 11) => {}
    }
    bystanders.are_served().await;
}
