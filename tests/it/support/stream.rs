//! An event stream, read by a subscriber.

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::client::{Connection, Cut};
use super::message::{Framing, Request, Response};
use super::sse::{Event, Interpreter, Item};
use super::within;

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The response is complete and ends between events.
    Complete,
    /// The connection was closed inside the response.
    Cut,
}

/// A subscriber's open stream.
pub struct Stream {
    connection: Connection,
    framing: Framing,
    interpreter: Interpreter,
    items: VecDeque<Item>,
    /// The head of the response.
    pub head: Response,
    /// The reconnection time at its beginning.
    pub retry: u64,
}

impl Stream {
    /// Opens a stream and reads its first bytes, which prove that it is subscribed: events
    /// published from then on are delivered.
    pub async fn open(addr: SocketAddr, request: Request) -> Self {
        Self::open_on(Connection::open(addr).await, request).await
    }

    /// The same on an open connection.
    pub async fn open_on(mut connection: Connection, request: Request) -> Self {
        connection.send(&request.to_bytes()).await;
        let mut stream = Self::of(connection).await;
        let retry = stream.item().await;
        let Ok(Item::Retry(retry)) = retry else {
            panic!("a stream begins with its retry: {retry:?}")
        };
        stream.retry = retry;
        assert_eq!(
            stream.item().await,
            Ok(Item::Comment(String::new())),
            "and then with a comment"
        );
        stream
    }

    /// Sends the request and reads only the head, which must be that of a stream.
    pub async fn begin(addr: SocketAddr, request: Request) -> Self {
        let mut connection = Connection::open(addr).await;
        connection.send(&request.to_bytes()).await;
        Self::of(connection).await
    }

    /// Reads the head of the stream that was requested on this connection.
    pub async fn of(mut connection: Connection) -> Self {
        let head = connection.head().await;
        assert_eq!(head.status, 200, "{head:?}");
        assert_eq!(head.header("Content-Type"), Some("text/event-stream; charset=utf-8"));
        let (framing, interpreter) = (head.framing("GET"), Interpreter::default());
        Self { connection, framing, interpreter, items: VecDeque::new(), head, retry: 0 }
    }

    /// Sends until the kernel takes nothing more for a while; how many bytes it took.
    pub async fn send_until_full(&mut self) -> usize {
        self.connection.send_until_full().await
    }

    /// Aborts the connection (RST).
    pub fn crash(self) {
        self.connection.crash();
    }

    /// Waits until the node has written more, and reads none of it.
    pub async fn written(&mut self) {
        self.connection.readable().await;
    }

    /// The next item, or how the stream ended.
    pub async fn item(&mut self) -> Result<Item, Ending> {
        loop {
            if let Some(item) = self.items.pop_front() {
                return Ok(item);
            }
            match self.connection.piece(&mut self.framing).await {
                Ok(Some(piece)) => {
                    assert!(!piece.contains(&b'\r'), "lines end with LF alone");
                    self.items.extend(self.interpreter.read(&piece));
                }
                Ok(None) => {
                    assert!(self.interpreter.between_events(), "a response ends between events");
                    return Err(Ending::Complete);
                }
                Err(Cut) => return Err(Ending::Cut),
            }
        }
    }

    /// The next event, or how the stream ended.
    pub async fn try_event(&mut self) -> Result<Event, Ending> {
        loop {
            if let Item::Event(event) = self.item().await? {
                return Ok(event);
            }
        }
    }

    /// The next event.
    pub async fn event(&mut self) -> Event {
        let event = within("an event", self.try_event()).await.expect("the stream is still open");
        assert!(event.has_id || event.kind == "reset", "an event without an id: {event:?}");
        event
    }

    /// The data of the next `count` events.
    pub async fn data(&mut self, count: usize) -> Vec<String> {
        let mut data = Vec::with_capacity(count);
        for _ in 0..count {
            data.push(self.event().await.data);
        }
        data
    }

    /// The next event, which must be a `reset`, with its data parsed.
    pub async fn reset(&mut self) -> (serde_json::Value, Event) {
        let event = self.event().await;
        assert_eq!(event.kind, "reset", "{event:?}");
        (serde_json::from_str(&event.data).expect("a reset carries JSON"), event)
    }

    /// Waits for the end of the stream; no event may come before it.
    pub async fn end(&mut self) -> Ending {
        within("the end of the stream", self.try_event()).await.expect_err("no more events")
    }
}
