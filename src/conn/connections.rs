//! A slab of a shard's connections, by key, and when the pump visited each last.

use std::cell::RefCell;
use std::rc::Rc;

use slab::Slab;

use super::connection::Conn;

/// Number of a round of the pump's [walks](super::subscribers), from 1.
pub(crate) type Round = u64;

#[derive(Default)]
pub(crate) struct Connections {
    conns: RefCell<Slab<Rc<Conn>>>,
    /// The round of each connection's last visit, by key. Apart from the connections, because a
    /// walk looks at many that it then skips. Not reset when a key is reused: sessions that open
    /// later have read their rings up to the end, as if they had just been visited.
    visited: RefCell<Vec<Round>>,
}

impl Connections {
    /// Adds a connection and gives it its key.
    pub(crate) fn insert(&self, conn: &Rc<Conn>) {
        let mut conns = self.conns.borrow_mut();
        let key = conns.insert(Rc::clone(conn));
        let mut visited = self.visited.borrow_mut();
        if key >= visited.len() {
            visited.resize(conns.capacity(), 0);
        }
        conn.set_key(u32::try_from(key).expect("FANFARE_CONNECTIONS_MAX is under 2^32"));
    }

    pub(crate) fn remove(&self, conn: &Conn) {
        let mut conns = self.conns.borrow_mut();
        conns.remove(conn.key() as usize);
        if conns.is_empty() {
            conns.shrink_to_fit();
            *self.visited.borrow_mut() = Vec::new();
        }
    }

    pub(crate) fn get(&self, key: usize) -> Option<Rc<Conn>> {
        self.conns.borrow().get(key).cloned()
    }

    /// Appends the connections with these keys that were not visited in round `since` or later, and
    /// records that they are visited in round `now`.
    pub(super) fn collect_unvisited(
        &self,
        keys: impl Iterator<Item = u32>,
        since: Round,
        now: Round,
        out: &mut Vec<Rc<Conn>>,
    ) {
        let (conns, mut visited) = (self.conns.borrow(), self.visited.borrow_mut());
        for key in keys {
            let last = &mut visited[key as usize];
            if *last < since {
                *last = now;
                out.push(Rc::clone(&conns[key as usize]));
            }
        }
    }

    /// A list of subscribers has moved the entry of a session's cursor to `index`.
    pub(super) fn subscription_moved(&self, key: u32, cursor: u32, index: u32) {
        let conns = self.conns.borrow();
        let stream = conns[key as usize].stream().borrow();
        let stream = stream.as_ref().expect("a subscribed connection has a stream");
        stream.session.subscription_moved(cursor, index);
    }

    pub(crate) fn len(&self) -> usize {
        self.conns.borrow().len()
    }

    /// Keys that a full sweep visits.
    pub(crate) fn capacity(&self) -> usize {
        self.conns.borrow().capacity()
    }

    /// Visits the connections with keys in `from..from + count`. Returns the key to continue from,
    /// or 0 after the last.
    pub(crate) fn sweep(
        &self,
        from: usize,
        count: usize,
        mut visit: impl FnMut(usize, &Rc<Conn>),
    ) -> usize {
        let conns = self.conns.borrow();
        let end = from.saturating_add(count).min(conns.capacity());
        for key in from..end {
            if let Some(conn) = conns.get(key) {
                visit(key, conn);
            }
        }
        if end == conns.capacity() { 0 } else { end }
    }

    /// Calls `visit` with every connection.
    pub(crate) fn for_each(&self, visit: impl FnMut(usize, &Rc<Conn>)) {
        self.sweep(0, usize::MAX, visit);
    }
}
