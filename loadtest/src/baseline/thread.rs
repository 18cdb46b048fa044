//! A baseline thread: accepts connections, reads requests, and sends every event to its streams.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::net::{SendFlags, SocketFlags, accept_with, recv, send};
use socket2::Socket;

use super::listener;
use super::request::{self, REQUEST_BYTES_MAX, Request};
use super::send::{Io, Sender};
use super::shared::{EncodedEvent, Shared};
use crate::error::Error;

const HEAD: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n\
    Transfer-Encoding: chunked\r\n\r\n3\r\n:\n\n\r\n";
/// Connections accepted in a row before streams are read again.
const ACCEPT_BATCH: usize = 64;
/// The epoll token of the inbox; sockets have their descriptor number.
const INBOX: u64 = u64::MAX;
const LISTENER: u64 = u64::MAX - 1;

struct Connection {
    socket: OwnedFd,
    /// An incomplete request.
    partial: Vec<u8>,
    /// Indices in [`Thread::topics`].
    topics: Vec<usize>,
}

struct Thread<'a> {
    shared: &'a Shared,
    index: usize,
    epoll: OwnedFd,
    listener: Socket,
    sender: Sender,
    /// Indexed by descriptor: the thread has its own table, so the numbers are dense.
    connections: Vec<Option<Connection>>,
    /// The streams of each topic.
    topics: Vec<Vec<RawFd>>,
    topic_index: HashMap<Vec<u8>, usize>,
    broken: Vec<RawFd>,
}

pub(super) fn run(
    index: usize,
    address: SocketAddr,
    io: Io,
    shared: &Shared,
    ready: &SyncSender<Result<(), Error>>,
) {
    match Thread::open(index, address, io, shared) {
        Ok(mut thread) => {
            let _ = ready.send(Ok(()));
            thread.serve();
        }
        Err(error) => drop(ready.send(Err(error))),
    }
}

impl<'a> Thread<'a> {
    fn open(index: usize, address: SocketAddr, io: Io, shared: &'a Shared) -> Result<Self, Error> {
        let system =
            |what: &'static str| move |error: rustix::io::Errno| Error::system(what, error);
        // SAFETY: the only descriptors shared with other threads are the inboxes' eventfds, which
        // were opened before and are never closed; all others this thread opens itself.
        unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::FILES) }
            .map_err(system("unshare the descriptor table"))?;
        let listener = listener::bind(address)?;
        listener.listen(4096).map_err(|error| Error::system("listen", error))?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(system("open an epoll"))?;
        let poll = |fd: BorrowedFd<'_>, token| {
            epoll::add(&epoll, fd, EventData::new_u64(token), EventFlags::IN)
                .map_err(system("poll a descriptor"))
        };
        poll(listener.as_fd(), LISTENER)?;
        poll(shared.wake_fd(index), INBOX)?;
        Ok(Self {
            shared,
            index,
            epoll,
            listener,
            sender: Sender::open(io)?,
            connections: Vec::new(),
            topics: Vec::new(),
            topic_index: HashMap::new(),
            broken: Vec::new(),
        })
    }

    fn serve(&mut self) {
        let mut ready = Vec::with_capacity(1024);
        let mut buffer = vec![0; REQUEST_BYTES_MAX];
        loop {
            ready.clear();
            let waited = epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut ready), None);
            if waited.is_err() {
                continue;
            }
            for event in &ready {
                match event.data.u64() {
                    LISTENER => self.accept(),
                    INBOX => self.deliver_inbox(),
                    socket => self.read(socket as RawFd, &mut buffer),
                }
            }
        }
    }

    fn accept(&mut self) {
        for _ in 0..ACCEPT_BATCH {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let Ok(socket) = accept_with(&self.listener, flags) else { return };
            let number = socket.as_raw_fd();
            let events = EventFlags::IN | EventFlags::RDHUP;
            if epoll::add(&self.epoll, &socket, EventData::new_u64(number as u64), events).is_err()
            {
                continue;
            }
            let slot = number as usize;
            if self.connections.len() <= slot {
                self.connections.resize_with(slot + 1, || None);
            }
            self.connections[slot] =
                Some(Connection { socket, partial: Vec::new(), topics: Vec::new() });
        }
    }

    fn read(&mut self, number: RawFd, buffer: &mut [u8]) {
        let Some(connection) = self.connections[number as usize].as_mut() else { return };
        let flags = rustix::net::RecvFlags::empty();
        let len = match recv(&connection.socket, &mut *buffer, flags) {
            Ok((0, _)) => return self.close(number),
            Ok((len, _)) => len,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return,
            Err(_) => return self.close(number),
        };
        let mut bytes = std::mem::take(&mut connection.partial);
        bytes.extend_from_slice(&buffer[..len]);
        let mut used = 0;
        loop {
            match request::parse(&bytes[used..]) {
                Ok(Some((request, len))) => {
                    used += len;
                    self.serve_request(number, request);
                }
                Ok(None) => break,
                Err(_) => return self.close(number),
            }
        }
        bytes.drain(..used);
        if bytes.len() > REQUEST_BYTES_MAX {
            return self.close(number);
        }
        if let Some(connection) = self.connections[number as usize].as_mut()
            && !bytes.is_empty()
        {
            connection.partial = bytes;
        }
    }

    fn serve_request(&mut self, number: RawFd, request: Request) {
        match request {
            Request::Subscribe(topics) => self.subscribe(number, topics),
            Request::Publish { topic, data } => self.publish(number, topic, &data),
            Request::Health => {
                self.respond(number, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            }
            Request::Unsupported => self
                .respond(number, b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n"),
        }
    }

    fn respond(&mut self, number: RawFd, bytes: &[u8]) {
        let Some(connection) = self.connections[number as usize].as_ref() else { return };
        if send(&connection.socket, bytes, SendFlags::NOSIGNAL) != Ok(bytes.len()) {
            self.close(number);
        }
    }

    fn subscribe(&mut self, number: RawFd, topics: Vec<Vec<u8>>) {
        for topic in topics {
            let next = self.topics.len();
            let index = *self.topic_index.entry(topic).or_insert(next);
            if index == next {
                self.topics.push(Vec::new());
            }
            self.topics[index].push(number);
            if let Some(connection) = self.connections[number as usize].as_mut() {
                connection.topics.push(index);
            }
        }
        self.respond(number, HEAD);
    }

    /// Responds before it delivers: the publisher does not wait for the subscribers.
    fn publish(&mut self, number: RawFd, topic: Vec<u8>, data: &[u8]) {
        let id = self.shared.next_id();
        let event = Arc::new(EncodedEvent { topic, bytes: request::encode_chunk(data, id) });
        if !self.shared.push_to_others(self.index, &event) {
            return self
                .respond(number, b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
        }
        let id = id.to_string();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{id}", id.len());
        self.respond(number, answer.as_bytes());
        self.deliver(&event);
    }

    fn deliver_inbox(&mut self) {
        for event in self.shared.take(self.index) {
            self.deliver(&event);
        }
    }

    fn deliver(&mut self, event: &EncodedEvent) {
        let Some(&index) = self.topic_index.get(&event.topic) else { return };
        self.sender.send(&self.topics[index], &event.bytes, &mut self.broken);
        for number in std::mem::take(&mut self.broken) {
            self.close(number);
        }
    }

    fn close(&mut self, number: RawFd) {
        let Some(connection) = self.connections[number as usize].take() else { return };
        for index in connection.topics {
            let streams = &mut self.topics[index];
            if let Some(at) = streams.iter().position(|&stream| stream == number) {
                streams.swap_remove(at);
            }
        }
    }
}
