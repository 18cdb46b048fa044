//! Subscribers: slow ones, and ones that reconnect and resume as an `EventSource` does.

use std::net::SocketAddr;

use super::client::Connection;
use super::message::Request;
use super::sse::Event;
use super::stream::Stream;
use super::within;

/// A stream to be opened, once or again.
#[derive(Clone)]
pub struct StreamRequest {
    addr: SocketAddr,
    request: Request,
    narrow: bool,
}

impl StreamRequest {
    /// Live events; `query` is the part of the target after the `?`.
    pub fn new(addr: SocketAddr, query: &str) -> Self {
        Self { addr, request: Request::subscribe(query), narrow: false }
    }

    /// Resumes after the event with this id.
    pub fn after(self, id: &str) -> Self {
        Self { request: self.request.header("Last-Event-ID", id), ..self }
    }

    /// Reads through a small receive buffer, so that the node soon notices when nothing is read.
    pub fn narrow(self) -> Self {
        Self { narrow: true, ..self }
    }

    /// Opens the stream.
    pub async fn open(&self) -> Stream {
        let connection = if self.narrow {
            Connection::narrow(self.addr).await
        } else {
            Connection::open(self.addr).await
        };
        Stream::open_on(connection, self.request.clone()).await
    }
}

/// A subscriber that reconnects when its stream ends, and resumes after the last event it received.
pub struct Subscriber {
    request: StreamRequest,
    stream: Stream,
    /// How many `lagged` events it received.
    pub lagged: usize,
}

impl Subscriber {
    /// Opens its first stream.
    pub async fn open(request: StreamRequest) -> Self {
        let stream = request.open().await;
        Self { request, stream, lagged: 0 }
    }

    /// The next event of a publisher.
    pub async fn event(&mut self) -> Event {
        loop {
            let next = within("an event or the end", self.stream.try_event()).await;
            if let Ok(event) = &next {
                assert_ne!(event.kind, "reset", "{event:?}");
                self.request = self.request.clone().after(&event.id);
            }
            match next {
                Ok(event) if event.kind == "lagged" => self.lagged += 1,
                Ok(event) => return event,
                Err(_) => self.stream = self.request.open().await,
            }
        }
    }
}
