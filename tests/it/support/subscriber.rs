//! Subscribers in numbers, slow ones, and ones that reconnect.

use std::net::SocketAddr;

use crate::support::{Connection, Event, Request, Stream, within};

/// A stream to ask for.
#[derive(Clone)]
pub struct Ask {
    addr: SocketAddr,
    topic: String,
    after: Option<String>,
    narrow: bool,
}

impl Ask {
    /// A topic, from now on.
    pub fn topic(addr: SocketAddr, topic: &str) -> Self {
        Self { addr, topic: topic.to_owned(), after: None, narrow: false }
    }

    /// After the event with this id.
    pub fn after(self, id: &str) -> Self {
        Self { after: Some(id.to_owned()), ..self }
    }

    /// With a small receive buffer, so that not reading is soon felt.
    pub fn narrow(self) -> Self {
        Self { narrow: true, ..self }
    }

    /// Opens it.
    pub async fn open(&self) -> Stream {
        let mut request = Request::subscribe(&format!("topic={}", self.topic));
        if let Some(id) = &self.after {
            request = request.header("Last-Event-ID", id);
        }
        let connection = if self.narrow {
            Connection::narrow(self.addr).await
        } else {
            Connection::open(self.addr).await
        };
        Stream::open_on(connection, request).await
    }
}

/// Opens as many streams of a topic.
pub async fn open_many(addr: SocketAddr, topic: &str, count: usize) -> Vec<Stream> {
    let mut streams = Vec::with_capacity(count);
    for _ in 0..count {
        streams.push(Ask::topic(addr, topic).open().await);
    }
    streams
}

/// A subscriber that reconnects when it was lagged out or cut off, and resumes after the last event
/// it had.
pub struct Follower {
    ask: Ask,
    stream: Stream,
    /// How often it was told that it lagged.
    pub lagged: usize,
}

impl Follower {
    /// Opens its first stream.
    pub async fn open(ask: Ask) -> Self {
        let stream = ask.open().await;
        Self { ask, stream, lagged: 0 }
    }

    /// The next event of a publisher.
    pub async fn event(&mut self) -> Event {
        loop {
            let next = within("an event or the end", self.stream.try_event()).await;
            if let Ok(event) = &next {
                assert_ne!(event.kind, "reset", "{event:?}");
                self.ask = self.ask.clone().after(&event.id);
            }
            match next {
                Ok(event) if event.kind == "lagged" => self.lagged += 1,
                Ok(event) => return event,
                Err(_) => self.stream = self.ask.open().await,
            }
        }
    }
}
