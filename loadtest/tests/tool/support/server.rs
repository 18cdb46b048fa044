//! An SSE server with a thread per connection and injectable faults.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

const HELD_BACK_MAX: Duration = Duration::from_millis(200);

/// The fault to inject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Every nth event is not sent.
    Loses(u64),
    /// Every nth event is sent twice.
    Repeats(u64),
    /// Every nth event is sent after its successor.
    Reorders(u64),
    /// One event is sent to streams of all topics.
    Misroutes,
    /// The server stalls for a second before this event.
    Stalls(u64),
    /// Every nth event, all streams are closed in the middle of it; later, if some have not
    /// reconnected yet.
    Cuts(u64),
    /// Every second subscription is refused.
    Refuses,
    /// Every nth publish is refused.
    RefusesPublish(u64),
    /// Every nth publish is held back until another connection's has been taken.
    Overtakes(u64),
    /// Every nth event is not sent; a `reset` is sent instead.
    Announces(u64),
    /// At every nth event, all streams are ended by a `lagged`; later, if some have not reconnected
    /// yet.
    Lags(u64),
}

/// The framing of a response's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// A chunk per event.
    Chunked,
    /// Chunks that end anywhere in an event.
    OddChunks,
    /// Until the connection closes; lines end in CR LF, and the data is wrapped in JSON.
    UntilClose,
}

struct State {
    fault: Fault,
    framing: Framing,
    events: Vec<(String, String)>,
    streams: Vec<(String, TcpStream)>,
    held_back: Option<(String, String)>,
    cuts_due: u64,
    /// Most streams open at once.
    streams_max: usize,
    subscriptions: u64,
    publishes: u64,
    /// Publishes that have been received, whether or not they are held back.
    held: u64,
}

/// Starts the server, which runs until the test process ends.
pub(crate) fn start(fault: Fault, framing: Framing) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let state = State {
        fault,
        framing,
        events: Vec::new(),
        streams: Vec::new(),
        held_back: None,
        cuts_due: 0,
        streams_max: 0,
        subscriptions: 0,
        publishes: 0,
        held: 0,
    };
    let state = Arc::new(Mutex::new(state));
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let state = Arc::clone(&state);
            thread::spawn(move || serve(connection, &state));
        }
    });
    address
}

fn serve(mut connection: TcpStream, state: &Mutex<State>) {
    connection.set_nodelay(true).expect("a socket");
    let mut bytes = Vec::new();
    loop {
        let Some((head, body)) = next_request(&mut connection, &mut bytes) else { return };
        if head.starts_with("GET") {
            lock(state).subscribe(&head, connection);
            return;
        }
        let mut state = hold_back(state);
        let answer = state.publish(&field(&body, "topic"), &field(&body, "data"));
        if connection.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("no thread panics while holding the lock")
}

/// Waits while the publish that comes next is to be overtaken: until another one has been taken,
/// at most for [`HELD_BACK_MAX`], because the last one has none behind it.
fn hold_back(state: &Mutex<State>) -> MutexGuard<'_, State> {
    let mut guard = lock(state);
    let Fault::Overtakes(every) = guard.fault else { return guard };
    guard.held += 1;
    if guard.held.is_multiple_of(every) {
        let (taken, until) = (guard.publishes, Instant::now() + HELD_BACK_MAX);
        while guard.publishes == taken && Instant::now() < until {
            drop(guard);
            thread::park_timeout(Duration::from_micros(100));
            guard = lock(state);
        }
    }
    guard
}

fn next_request(connection: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<(String, String)> {
    loop {
        let text = String::from_utf8_lossy(bytes).into_owned();
        if let Some((head, rest)) = text.split_once("\r\n\r\n") {
            let len = header(head, "content-length").and_then(|len| len.parse().ok()).unwrap_or(0);
            if rest.len() >= len {
                let request = (head.to_owned(), rest[..len].to_owned());
                bytes.drain(..head.len() + 4 + len);
                return Some(request);
            }
        }
        let mut chunk = [0; 4096];
        match connection.read(&mut chunk) {
            Ok(0) | Err(_) => return None,
            Ok(len) => bytes.extend_from_slice(&chunk[..len]),
        }
    }
}

impl State {
    fn subscribe(&mut self, head: &str, mut stream: TcpStream) {
        self.subscriptions += 1;
        if self.fault == Fault::Refuses && self.subscriptions.is_multiple_of(2) {
            let _ = stream.write_all(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
            return;
        }
        let query = head.split(' ').nth(1).and_then(|target| target.split_once('?'));
        let topic = query.map(|(_, query)| field(query, "topic")).unwrap_or_default();
        let framing = match self.framing {
            Framing::UntilClose => "",
            Framing::Chunked | Framing::OddChunks => "Transfer-Encoding: chunked\r\n",
        };
        let head_out =
            format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{framing}\r\n");
        let _ = stream.write_all(head_out.as_bytes());
        if let Some(last) = header(head, "last-event-id").and_then(|id| id.parse::<usize>().ok()) {
            for (id, (of, data)) in self.events.iter().enumerate().skip(last + 1) {
                if *of == topic {
                    let _ = stream.write_all(&frame(self.framing, id, data));
                }
            }
        }
        self.streams.push((topic, stream));
        self.streams_max = self.streams_max.max(self.streams.len());
    }

    fn publish(&mut self, topic: &str, data: &str) -> String {
        self.publishes += 1;
        let nth = |every: u64| self.publishes.is_multiple_of(every);
        let id = self.events.len();
        match self.fault {
            Fault::RefusesPublish(every) if nth(every) => {
                return "HTTP/1.1 503 Full\r\nContent-Length: 0\r\n\r\n".into();
            }
            Fault::Stalls(at) if self.publishes == at => {
                thread::park_timeout(Duration::from_secs(1))
            }
            _ => {}
        }
        self.events.push((topic.into(), data.into()));
        match self.fault {
            Fault::Loses(every) if nth(every) => {}
            Fault::Repeats(every) if nth(every) => {
                self.send(topic, id, data);
                self.send(topic, id, data);
            }
            Fault::Reorders(every) if nth(every) => {
                self.held_back = Some((topic.into(), data.into()))
            }
            Fault::Misroutes if self.publishes == 3 => {
                let topics: Vec<String> =
                    self.streams.iter().map(|(topic, _)| topic.clone()).collect();
                let distinct: std::collections::BTreeSet<String> = topics.into_iter().collect();
                distinct.iter().for_each(|topic| self.send(topic, id, data));
            }
            Fault::Cuts(every) => {
                self.cuts_due += u64::from(nth(every));
                if self.cuts_due > 0 && self.streams.len() == self.streams_max {
                    self.cuts_due -= 1;
                    self.cut(id, data);
                } else {
                    self.send(topic, id, data);
                }
            }
            Fault::Announces(every) if nth(every) => self.send_control(topic, id, "reset"),
            Fault::Lags(every) => {
                self.cuts_due += u64::from(nth(every));
                if self.cuts_due > 0 && self.streams.len() == self.streams_max {
                    self.cuts_due -= 1;
                    // The position before this event.
                    self.send_control(topic, id - 1, "lagged");
                    self.streams.clear();
                } else {
                    self.send(topic, id, data);
                }
            }
            _ => self.send(topic, id, data),
        }
        if !matches!(self.fault, Fault::Reorders(every) if self.publishes.is_multiple_of(every))
            && let Some((topic, data)) = self.held_back.take()
        {
            self.send(&topic, id, &data);
        }
        let id = id.to_string();
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{id}", id.len())
    }

    fn send(&mut self, topic: &str, id: usize, data: &str) {
        let bytes = frame(self.framing, id, data);
        self.streams.retain_mut(|(of, stream)| of != topic || stream.write_all(&bytes).is_ok());
    }

    /// Sends a control event, which has `id`.
    fn send_control(&mut self, topic: &str, id: usize, name: &str) {
        let event = format!("event: {name}\ndata: {{}}\nid: {id}\n\n");
        let chunk = format!("{:x}\r\n{event}\r\n", event.len());
        self.streams
            .retain_mut(|(of, stream)| of != topic || stream.write_all(chunk.as_bytes()).is_ok());
    }

    /// Sends half of the event and closes every stream.
    fn cut(&mut self, id: usize, data: &str) {
        let bytes = frame(self.framing, id, data);
        for (_, mut stream) in self.streams.drain(..) {
            let _ = stream.write_all(&bytes[..bytes.len() / 2]);
        }
    }
}

fn frame(framing: Framing, id: usize, data: &str) -> Vec<u8> {
    let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    match framing {
        Framing::Chunked => chunk(&format!("event: t\ndata: {data}\nid: {id}\n\n")),
        Framing::OddChunks => {
            let event = format!("id: {id}\ndata: {data}\n\n");
            let (begin, end) = event.split_at(event.len() / 3);
            chunk(begin) + &chunk(end)
        }
        Framing::UntilClose => format!("id: {id}\r\ndata: {{\"value\":\"{data}\"}}\r\n\r\n"),
    }
    .into_bytes()
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// A field of a form; the tool's values need no decoding.
fn field(form: &str, name: &str) -> String {
    let pairs = form.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .filter(|(key, _)| *key == name)
        .map(|(_, value)| value.to_owned())
        .next()
        .unwrap_or_default()
}
