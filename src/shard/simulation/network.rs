//! How clients connect, read and go away.

use std::hash::Hasher;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::task::Waker;

use socket2::SockRef;
use tokio::time::Instant;

use super::client::{Connection, Told};
use super::finding::Kind;
use super::plan::pick;
use super::world::{MILLIS, World};
use crate::conn::Conn;
use crate::event::Position;
use crate::log::history::{PageLimit, Reason};
use crate::shard::writer::write_now;

/// A page of all that is stored.
const WHOLE: PageLimit = PageLimit { events: usize::MAX, bytes: usize::MAX };

impl World {
    pub(super) fn connect_due(&mut self) {
        let now = Instant::now();
        for client in 0..self.clients.len() {
            let waits = self.clients[client].connection.is_none();
            if waits && self.clients[client].connects_at <= now {
                self.connect(client);
            }
        }
    }

    /// Connects a client, as if it had been detached from hyper at once.
    fn connect(&mut self, client: usize) {
        let position = self.position(client);
        let index = self.rng.usize(..self.shards.len());
        let shard = Rc::clone(&self.shards[index]);
        let (near, peer) = UnixStream::pair().expect("a pair of sockets");
        let buffer = pick(&mut self.rng, &[4 * 1024, 16 * 1024, 64 * 1024]);
        SockRef::from(&near).set_send_buffer_size(buffer).expect("a buffer can be set");
        near.set_nonblocking(true).expect("a socket can be non-blocking");
        peer.set_nonblocking(true).expect("a socket can be non-blocking");
        let permit = self.core.connections.try_permit().expect("room for a connection");
        let conn = Rc::new(Conn::new(near.into(), permit, shard.now()));
        shard.handle.connections.insert(&conn);
        shard.epoll.add(&conn).expect("a socket can be watched");
        let (told, reset) = self.told(client, &position);
        let selectors = &self.clients[client].selectors;
        let Ok(body) = shard.handle.open_stream(&conn, selectors, &position, true) else {
            self.note(|| format!("client {client} is refused"));
            shard.close(&conn);
            return self.disconnect(client);
        };
        self.note(|| format!("client {client} opens at {position:?}, reset {reset:?}"));
        conn.lifecycle.detached();
        drop(body);
        self.watch.borrow_mut().open(client, index, conn.key());
        self.clients[client].connection = Some(Connection {
            peer,
            conn: Rc::downgrade(&conn),
            buffer: Vec::new(),
            opened: Instant::now(),
            live: position == Position::Live,
            reset,
            told,
            farewell: false,
            complete: false,
        });
        self.watch.borrow_mut().opening = true;
        write_now(&shard, &conn);
        self.watch.borrow_mut().opening = false;
    }

    /// Where a client wants its stream to start: its last id, or what it chooses without one.
    fn position(&mut self, client: usize) -> Position {
        let client = &mut self.clients[client];
        if client.last_id.is_none() {
            client.position = self.model.last;
            match self.rng.u8(..16) {
                0..=1 => {
                    client.position = 0;
                    return Position::Earliest;
                }
                2..=7 => {
                    client.position = self.rng.u64(..=self.model.last);
                    client.last_id = Some(self.model.node_id(client.position));
                }
                8 => client.last_id = Some("unknown".into()),
                _ => {}
            }
        }
        client.last_id.as_deref().map_or(Position::Live, |id| Position::After(id.into()))
    }

    /// What a stream from `position` will be told is missing, and the reason of its reset.
    fn told(&self, client: usize, position: &Position) -> (Told, Option<&'static str>) {
        let (log, selectors) = (&self.core.log, &self.clients[client].selectors);
        let stored = |position: &Position| {
            log.try_resume(position, selectors, WHOLE, Waker::noop()).expect("nobody has the log")
        };
        let reset = stored(position).0.reset.map(|reset| reset.reason);
        let mut told = Told::default();
        if reset.is_some() || *position == Position::Earliest {
            told.through = self.model.last;
        }
        if reset == Some(Reason::Expired) || *position == Position::Earliest {
            let (_, events, page) = stored(&Position::Earliest);
            assert!(!page.more, "the page has no limit");
            told.stored = events.iter().map(|(seq, _)| seq.0).collect();
        }
        (told, reset.map(Reason::as_str))
    }

    pub(super) fn disconnect(&mut self, client: usize) {
        let client = &mut self.clients[client];
        client.connection = None;
        let longest = pick(&mut self.rng, &[200, 2_000, 20_000]);
        client.connects_at = Instant::now() + self.rng.u32(..longest) * MILLIS;
    }

    /// Clients read: all there is, a part, or nothing for a while. Returns the number of bytes.
    pub(super) fn read(&mut self) -> usize {
        let (now, mut bytes) = (Instant::now(), 0);
        for index in 0..self.clients.len() {
            let client = &mut self.clients[index];
            if client.connection.is_none() || client.idle_until > now {
                continue;
            }
            if client.pace.is_some() && self.rng.u8(..24) == 0 {
                client.idle_until = now + pick(&mut self.rng, &[200u32, 10_000]) * MILLIS;
                continue;
            }
            let limit = client.pace.unwrap_or(u64::MAX);
            bytes += self.read_from(index, limit);
        }
        bytes
    }

    fn read_from(&mut self, index: usize, limit: u64) -> usize {
        let client = &mut self.clients[index];
        let Some(connection) = &mut client.connection else { return 0 };
        let Some(bytes) = connection.receive(limit) else {
            let (farewell, complete) = (connection.farewell, connection.complete);
            self.note(|| format!("client {index} is at its end; farewell: {farewell}"));
            self.check(complete == farewell, Kind::Framing, || {
                format!("client {index} is at its end; farewell: {farewell}, whole: {complete}")
            });
            self.disconnect(index);
            return 0;
        };
        if bytes > 0 {
            let mut watch = self.watch.borrow_mut();
            watch.tick();
            if let Some(conn) = connection.conn.upgrade() {
                watch.read(index, &conn);
            }
            self.digest.write_usize(index);
            self.digest.write(&connection.buffer[connection.buffer.len() - bytes..]);
            self.delivered += client.take(&self.model, &mut watch.findings);
        }
        bytes
    }
}
