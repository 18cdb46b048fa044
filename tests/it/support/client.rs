//! A strict HTTP/1.1 client connection: requests out, responses and their framed bodies in.

use std::net::SocketAddr;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{interval, timeout};

use super::message::{Framing, Request, Response};
use super::within;

/// Requests that [`Connection::publish_pipelined`] sends before it reads their responses: so few
/// that neither side's buffers can fill up.
const PIPELINED: usize = 100;

/// The connection ended where it should not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut;

/// Receive buffer of a narrow connection. In a much smaller one the loopback device's large
/// segments leave no window to advertise, and the node's kernel sends a few bytes with every
/// window probe: a stream then takes minutes to read.
const NARROW_BYTES: u32 = 32 * 1024;

/// Receive buffer of a trickling connection; the kernel doubles it.
const TRICKLE_BYTES: u32 = 8 * 1024;

/// Reads per second of [`Connection::trickle`].
const TRICKLE_READS: usize = 10;

/// A socket that has accepted nothing for this long is full: on loopback what can be taken is taken
/// within a millisecond.
const FULL_AFTER: Duration = Duration::from_millis(500);

/// A connection to a node.
pub struct Connection {
    socket: TcpStream,
    /// Read and not yet used.
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects.
    pub async fn open(addr: SocketAddr) -> Self {
        Self::of(TcpSocket::new_v4().unwrap(), addr).await
    }

    /// A connection with a small receive buffer, which soon stops the sender.
    pub async fn narrow(addr: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(NARROW_BYTES).unwrap();
        Self::of(socket, addr).await
    }

    /// A connection with a receive buffer of about 8 KiB, which lets the sender go on a few
    /// kilobytes at a time.
    pub async fn trickling(addr: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(TRICKLE_BYTES).unwrap();
        Self::of(socket, addr).await
    }

    async fn of(socket: TcpSocket, addr: SocketAddr) -> Self {
        let socket = within("a connection", socket.connect(addr)).await.expect("the node listens");
        socket.set_nodelay(true).unwrap();
        Self { socket, buffer: Vec::new() }
    }

    /// Aborts the connection (RST), as the kernel does for a client that has crashed.
    pub fn crash(self) {
        SockRef::from(&self.socket).set_linger(Some(Duration::ZERO)).unwrap();
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        within("the node takes what is sent", self.socket.write_all(bytes))
            .await
            .expect("the node reads");
    }

    /// Sends until the node stops reading, which may be before all is sent.
    pub async fn send_until_closed(&mut self, bytes: &[u8]) {
        // A failed write is no failure here: the response is read afterwards.
        let _ = within("the node takes what is sent", self.socket.write_all(bytes)).await;
    }

    /// Sends until the kernel takes nothing more for a while, with a small send buffer of its own.
    /// Returns how many bytes it took.
    pub async fn send_until_full(&mut self) -> usize {
        SockRef::from(&self.socket).set_send_buffer_size(4096).unwrap();
        let mut sent = 0;
        while timeout(FULL_AFTER, self.socket.writable()).await.is_ok() {
            sent += self.socket.try_write(&[b'x'; 4096]).unwrap_or(0);
        }
        sent
    }

    /// Sends a request and reads its response.
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

    /// Publishes events, each a topic and its data, many before the first response is read.
    pub async fn publish_pipelined(&mut self, events: impl Iterator<Item = (String, String)>) {
        let requests: Vec<_> = events
            .map(|(topic, data)| Request::publish(&format!("topic={topic}"), data).to_bytes())
            .collect();
        for batch in requests.chunks(PIPELINED) {
            self.send(&batch.concat()).await;
            for _ in batch {
                let response = self.response("POST").await;
                assert_eq!(response.status, 200, "{response:?}");
            }
        }
    }

    /// The next complete response; `method` is that of its request.
    pub async fn response(&mut self, method: &str) -> Response {
        let mut response = self.head().await;
        let mut framing = response.framing(method);
        while let Some(piece) = self.piece(&mut framing).await.expect("a response is not cut off") {
            response.body.extend(piece);
        }
        response
    }

    /// The head of the next response, without its body.
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
        Response::parse_head(&head)
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

    /// The part of the body that is in the buffer; `None` if more has to be read.
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

    /// Reads more; false if the connection was closed or aborted (RST).
    async fn fill(&mut self, what: &str) -> bool {
        let read = within(what, self.socket.read_buf(&mut self.buffer)).await;
        read.is_ok_and(|bytes| bytes > 0)
    }

    /// Waits until there are bytes to read, and leaves them in the kernel's buffer.
    pub async fn readable(&mut self) {
        let peeked = within("bytes to read", self.socket.peek(&mut [0])).await;
        assert!(peeked.is_ok_and(|bytes| bytes > 0), "the connection is open");
    }

    /// Reads `rate` bytes per second, evenly, until the connection ends.
    pub async fn trickle(&mut self, rate: usize) {
        let mut reads = interval(Duration::from_secs(1) / TRICKLE_READS as u32);
        let mut bytes = vec![0; rate / TRICKLE_READS];
        loop {
            reads.tick().await;
            let read = within("a few bytes or the end", self.socket.read(&mut bytes)).await;
            if !read.is_ok_and(|read| read > 0) {
                return;
            }
        }
    }

    /// Waits for the end of the connection; no byte may come before it.
    pub async fn closed(&mut self) {
        let ended = !self.fill("the end of the connection").await;
        assert!(ended && self.buffer.is_empty(), "{:?}", String::from_utf8_lossy(&self.buffer));
    }
}
