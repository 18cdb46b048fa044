//! What a client can do at a node's address, whether the node runs in this process or in another.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::client::Connection;
use super::eventually;
use super::message::{Request, Response};
use super::stream::Stream;
use super::subscriber::StreamRequest;

/// The address of a node.
#[derive(Clone, Copy)]
pub struct Endpoint {
    addr: SocketAddr,
}

impl Endpoint {
    pub fn new(addr: SocketAddr) -> Self {
        Self { addr }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Opens a connection.
    pub async fn connect(&self) -> Connection {
        Connection::open(self.addr).await
    }

    /// The response to one request on a connection of its own.
    pub async fn request(&self, request: Request) -> Response {
        self.connect().await.request(&request).await
    }

    /// Opens a connection that lets the node send a few kilobytes at a time.
    pub async fn connect_trickling(&self) -> Connection {
        Connection::trickling(self.addr).await
    }

    /// Publishes plain data to one topic on a connection of its own; returns the event's id.
    pub async fn publish(&self, topic: &str, data: &str) -> String {
        self.connect().await.publish(topic, data).await
    }

    /// Sends only the head of a publish. When this returns, the node is reading the body.
    pub async fn begin_publish(&self, topic: &str, body: &str) -> Connection {
        let mut publisher = self.connect().await;
        let request = Request::publish(&format!("topic={topic}"), body);
        publisher.send(&request.header("Expect", "100-continue").head()).await;
        assert_eq!(publisher.head().await.status, 100);
        publisher
    }

    /// Sends a publish but for the last byte of its body, to a node with this many `queue_bytes`.
    /// When this returns, the node has reserved space for what was sent. The node must not have a
    /// `body_rate_min`, or it ends the publish after 5 s.
    pub async fn hold_publish(&self, topic: &str, body: &str, queue_bytes: usize) -> Connection {
        let mut publisher = self.begin_publish(topic, body).await;
        let sent = &body.as_bytes()[..body.len() - 1];
        publisher.send(sent).await;
        // Too large only beside the other; without a topic, it is never published.
        let probe = Request::publish("", "x".repeat(queue_bytes - sent.len() + 1));
        let mut connection = self.connect().await;
        eventually("a spent budget", async || {
            let status = connection.request(&probe).await.status;
            assert!(matches!(status, 400 | 503), "{status}");
            status == 503
        })
        .await;
        publisher
    }

    /// A stream to be opened; `query` is the part of the target after the `?`.
    pub fn stream(&self, query: &str) -> StreamRequest {
        StreamRequest::new(self.addr, query)
    }

    /// Opens a stream.
    pub async fn subscribe(&self, query: &str) -> Stream {
        self.stream(query).open().await
    }

    /// Opens `count` streams.
    pub async fn subscribe_many(&self, query: &str, count: usize) -> Vec<Stream> {
        let mut streams = Vec::with_capacity(count);
        for _ in 0..count {
            streams.push(self.subscribe(query).await);
        }
        streams
    }

    /// Opens a stream that resumes after the event with this id.
    pub async fn resume(&self, query: &str, last_event_id: &str) -> Stream {
        self.stream(query).after(last_event_id).open().await
    }

    /// Sends bytes on a connection of their own; returns what is received until the node closes
    /// or aborts (RST) it.
    pub async fn exchange(&self, bytes: &[u8]) -> String {
        let mut socket = TcpStream::connect(self.addr).await.expect("the node listens");
        let (mut reader, mut writer) = socket.split();
        let mut received = Vec::new();
        // The node may close the connection before it has read everything.
        let (_, _) = tokio::join!(writer.write_all(bytes), reader.read_to_end(&mut received));
        String::from_utf8(received).expect("a response is UTF-8")
    }

    /// The health document. The request's connection is counted in it.
    pub async fn health(&self) -> Value {
        self.request(Request::get("/healthz").header("Connection", "close")).await.json()
    }

    /// A number of the health document, by its JSON pointer.
    pub async fn health_number(&self, pointer: &str) -> u64 {
        let health = self.health().await;
        let number = health.pointer(pointer).and_then(Value::as_u64);
        number.unwrap_or_else(|| panic!("no {pointer} in {health}"))
    }

    /// Waits until the health document meets a condition; returns it. It is requested on one
    /// connection, which is counted.
    pub async fn health_until(&self, condition: impl Fn(&Value) -> bool) -> Value {
        self.poll_health("the health document", condition).await
    }

    /// Waits until a number of the health document, by its JSON pointer, is `expected`.
    pub async fn health_reaches(&self, pointer: &str, expected: u64) {
        let what = format!("{pointer} at {expected}");
        self.poll_health(&what, |health| health.pointer(pointer) == Some(&expected.into())).await;
    }

    async fn poll_health(&self, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
        let mut connection = self.connect().await;
        let mut health = Value::Null;
        eventually(what, async || {
            health = connection.request(&Request::get("/healthz")).await.json();
            condition(&health)
        })
        .await;
        health
    }

    /// Waits until connections are refused.
    pub async fn refuses_connections(&self) {
        let refused = async || TcpStream::connect(self.addr).await.is_err();
        eventually("a refused connection", refused).await;
    }
}
