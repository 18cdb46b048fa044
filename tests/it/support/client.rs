//! A small HTTP/1.1 client that takes nothing for granted: what RFC 9112 does not allow is a panic.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::within;

/// A request to be sent whole.
#[derive(Clone)]
pub struct Request {
    method: &'static str,
    target: String,
    version: &'static str,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    pub fn new(method: &'static str, target: &str) -> Self {
        let (target, headers) =
            (target.to_owned(), vec![("Host".to_owned(), "node.test".to_owned())]);
        Self { method, target, version: "HTTP/1.1", headers, body: Vec::new() }
    }

    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// What an `EventSource` sends.
    pub fn subscribe(query: &str) -> Self {
        let target =
            if query.is_empty() { "/events".to_owned() } else { format!("/events?{query}") };
        Self::get(&target).header("Accept", "text/event-stream")
    }

    /// Plain data, with the other fields in the query.
    pub fn publish(query: &str, data: impl Into<Vec<u8>>) -> Self {
        Self::new("POST", &format!("/events?{query}"))
            .body(data)
            .header("Content-Type", "text/plain")
    }

    pub fn form(fields: &[(&str, &str)]) -> Self {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let content_type = "application/x-www-form-urlencoded";
        Self::new("POST", "/events").body(body).header("Content-Type", content_type)
    }

    pub fn json(body: impl Into<Vec<u8>>) -> Self {
        Self::new("POST", "/events").body(body).header("Content-Type", "application/json")
    }

    /// As an HTTP/1.0 client sends it.
    pub fn http_1_0(mut self) -> Self {
        self.version = "HTTP/1.0";
        self
    }

    /// Sets a header; one of that name is replaced.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets the body and its length.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        let length = self.body.len().to_string();
        self.header("Content-Length", &length)
    }

    /// Only the head, for a body that is sent by hand.
    pub fn head(&self) -> Vec<u8> {
        let mut out = format!("{} {} {}\r\n", self.method, self.target, self.version);
        for (name, value) in &self.headers {
            out.push_str(&format!("{name}: {value}\r\n"));
        }
        out.push_str("\r\n");
        out.into_bytes()
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        [self.head(), self.body.clone()].concat()
    }
}

/// An answer.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    /// The value of a header that is there at most once.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} is there twice: {self:?}");
        value
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a body of text is UTF-8")
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a body of JSON is JSON")
    }

    /// The problem document of a refusal (RFC 9457), which says everything a person and a program
    /// need.
    pub fn problem(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("Content-Type"), Some("application/problem+json"));
        assert_eq!(self.header("Cache-Control"), Some("no-store"));
        let document = self.json();
        assert_eq!(document["status"], status);
        assert!(["type", "title"].iter().all(|name| document[name].is_string()), "{document}");
        assert!(document["detail"].as_str().is_some_and(|detail| detail.len() > 10), "{document}");
        document
    }

    /// Whether the node says that it closes the connection.
    pub fn closes(&self) -> bool {
        self.header("Connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    /// How the body is told from what comes after it (RFC 9112 §6.3).
    pub fn framing(&self, method: &str) -> Framing {
        let length =
            self.header("Content-Length").map(|length| length.parse().expect("a length is digits"));
        let chunked =
            self.header("Transfer-Encoding").map(|coding| assert_eq!(coding, "chunked")).is_some();
        assert!(!(chunked && length.is_some()), "a length beside chunks: {self:?}");
        let none = method == "HEAD" || self.status == 204 || self.status < 200;
        match length {
            _ if none => Framing::Length(0),
            Some(length) => Framing::Length(length),
            None if chunked => Framing::Chunked { left: None },
            None => Framing::UntilClose,
        }
    }
}

/// What is left of a body.
#[derive(Clone, Copy, Debug)]
pub enum Framing {
    Length(usize),
    /// Inside a chunk, what is left of it.
    Chunked {
        left: Option<usize>,
    },
    UntilClose,
    /// It has ended where it should.
    Complete,
}

/// The connection ended where it should not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut;

/// Receive buffer of a narrow connection. In a much smaller one the loopback device's large
/// segments leave no window to announce, and the node's kernel sends a few bytes with every probe:
/// a stream then takes minutes to read.
const NARROW_BYTES: u32 = 32 * 1024;

/// A connection to a node.
pub struct Connection {
    socket: TcpStream,
    /// Read and not yet used.
    buffer: Vec<u8>,
}

impl Connection {
    pub async fn open(addr: SocketAddr) -> Self {
        Self::of(TcpSocket::new_v4().unwrap(), addr).await
    }

    /// One whose receive buffer is soon full.
    pub async fn narrow(addr: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(NARROW_BYTES).unwrap();
        Self::of(socket, addr).await
    }

    async fn of(socket: TcpSocket, addr: SocketAddr) -> Self {
        let socket = within("a connection", socket.connect(addr)).await.expect("the node listens");
        socket.set_nodelay(true).unwrap();
        Self { socket, buffer: Vec::new() }
    }

    /// Leaves as a client that has crashed does: with a reset.
    pub fn crash(self) {
        SockRef::from(&self.socket).set_linger(Some(Duration::ZERO)).unwrap();
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        within("the node takes what is sent", self.socket.write_all(bytes))
            .await
            .expect("the node reads");
    }

    /// Sends for as long as the node takes it, which may be less than all.
    pub async fn send_what_is_taken(&mut self, bytes: &[u8]) {
        // What the node has to say about it is read afterwards.
        let _ = within("the node takes what is sent", self.socket.write_all(bytes)).await;
    }

    /// Sends a request and reads its answer.
    pub async fn request(&mut self, request: &Request) -> Response {
        self.send(&request.to_bytes()).await;
        self.response(request.method).await
    }

    /// Publishes plain data to one topic; the event's id.
    pub async fn publish(&mut self, topic: &str, data: &str) -> String {
        let topic: String = form_urlencoded::byte_serialize(topic.as_bytes()).collect();
        self.publish_request(&Request::publish(&format!("topic={topic}"), data)).await
    }

    /// Publishes; the event's id.
    pub async fn publish_request(&mut self, request: &Request) -> String {
        let response = self.request(request).await;
        assert_eq!(response.status, 200, "{}", response.text());
        assert_eq!(response.header("Content-Type"), Some("text/plain; charset=utf-8"));
        response.text().to_owned()
    }

    /// The next whole answer; `method` is what was asked with.
    pub async fn response(&mut self, method: &str) -> Response {
        let mut response = self.head().await;
        let mut framing = response.framing(method);
        while let Some(piece) = self.piece(&mut framing).await.expect("an answer is not cut off") {
            response.body.extend(piece);
        }
        response
    }

    /// The next head, without a body.
    pub async fn head(&mut self) -> Response {
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            assert!(
                self.fill("a head").await,
                "the connection ended before a head: {:?}",
                self.buffer
            );
        };
        let head: Vec<u8> = self.buffer.drain(..end).collect();
        parse_head(&head)
    }

    /// The next piece of a body, or `None` at its end.
    pub async fn piece(&mut self, framing: &mut Framing) -> Result<Option<Vec<u8>>, Cut> {
        loop {
            if let Some(progress) = self.take_piece(framing) {
                return Ok(progress);
            }
            if !self.fill("more of a body").await {
                return match framing {
                    Framing::UntilClose => Ok(None),
                    _ => Err(Cut),
                };
            }
        }
    }

    /// What of the body is in the buffer; `None` if that is not enough to tell.
    fn take_piece(&mut self, framing: &mut Framing) -> Option<Option<Vec<u8>>> {
        match framing {
            Framing::Complete | Framing::Length(0) => Some(None),
            Framing::Chunked { left: Some(0) } => {
                let end = self.take(2)?;
                assert_eq!(end, b"\r\n", "a chunk ends where its size says");
                *framing = Framing::Chunked { left: None };
                self.take_piece(framing)
            }
            Framing::Chunked { left: None } => {
                match self.take_chunk_size()? {
                    0 => *framing = Framing::Complete,
                    size => *framing = Framing::Chunked { left: Some(size) },
                }
                self.take_piece(framing)
            }
            Framing::UntilClose => self.take(self.buffer.len().max(1)).map(Some),
            Framing::Length(left) | Framing::Chunked { left: Some(left) } => {
                let piece = self.take((*left).min(self.buffer.len().max(1)))?;
                *left -= piece.len();
                Some(Some(piece))
            }
        }
    }

    /// RFC 9112 §7.1, without the extensions and trailers a node never sends.
    fn take_chunk_size(&mut self) -> Option<usize> {
        let line = self.buffer.windows(2).position(|window| window == b"\r\n")?;
        let digits = std::str::from_utf8(&self.buffer[..line]).expect("a chunk size is ASCII");
        assert!(
            !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit()),
            "chunk size {digits:?}"
        );
        let size = usize::from_str_radix(digits, 16).unwrap();
        let end = if size == 0 { line + 4 } else { line + 2 };
        let taken = self.take(end)?;
        assert!(taken.ends_with(b"\r\n"), "no trailers");
        Some(size)
    }

    fn take(&mut self, count: usize) -> Option<Vec<u8>> {
        (self.buffer.len() >= count).then(|| self.buffer.drain(..count).collect())
    }

    /// Reads more; false at the end of the connection. A reset is an end.
    async fn fill(&mut self, what: &str) -> bool {
        let read = within(what, self.socket.read_buf(&mut self.buffer)).await;
        read.is_ok_and(|bytes| bytes > 0)
    }

    /// Waits for the end of the connection, before which there must be nothing.
    pub async fn closed(&mut self) {
        let ended = !self.fill("the end of the connection").await;
        assert!(ended && self.buffer.is_empty(), "{:?}", String::from_utf8_lossy(&self.buffer));
    }
}

fn parse_head(head: &[u8]) -> Response {
    let head = std::str::from_utf8(head).expect("a head is ASCII");
    let mut lines =
        head.strip_suffix("\r\n\r\n").expect("a head ends with an empty line").split("\r\n");
    let status = lines.next().unwrap();
    let (version, status) = status.split_once(' ').expect("a status line has two spaces");
    assert!(matches!(version, "HTTP/1.1" | "HTTP/1.0"), "{version}");
    let (status, _) = status.split_once(' ').expect("a status line has two spaces");
    assert!(status.len() == 3 && status.bytes().all(|b| b.is_ascii_digit()), "{status}");
    let headers = lines.map(|line| {
        let (name, value) = line.split_once(':').expect("a header has a colon");
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        assert!(!name.is_empty() && name.bytes().all(token), "{line:?}");
        assert!(!value.bytes().any(|b| b.is_ascii_control() && b != b'\t'), "{line:?}");
        (name.to_owned(), value.trim_matches([' ', '\t']).to_owned())
    });
    Response { status: status.parse().unwrap(), headers: headers.collect(), body: Vec::new() }
}
