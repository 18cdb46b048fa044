//! A slab of a shard's connections, by key, and when the pump visited each last.

use std::cell::RefCell;
use std::rc::Rc;

use super::connection::Conn;
use super::segments::{SegmentedSlab, SegmentedVec};

/// Number of a round of the pump's [walks](super::subscribers), from 1.
pub(crate) type Round = u64;

#[derive(Default)]
pub(crate) struct Connections {
    conns: RefCell<SegmentedSlab<Rc<Conn>>>,
    /// The round of each connection's last visit, by key. Apart from the connections, because a
    /// walk looks at many that it then skips. Not reset when a key is reused: sessions that open
    /// later have read their rings up to the end, as if they had just been visited.
    visited: RefCell<SegmentedVec<Round>>,
}

impl Connections {
    /// Adds a connection and gives it its key.
    pub(crate) fn insert(&self, conn: &Rc<Conn>) {
        let mut conns = self.conns.borrow_mut();
        let key = conns.insert(Rc::clone(conn));
        let mut visited = self.visited.borrow_mut();
        while visited.len() <= key {
            visited.push(0);
        }
        conn.set_key(u32::try_from(key).expect("FANFARE_CONNECTIONS_MAX is under 2^32"));
    }

    pub(crate) fn remove(&self, conn: &Conn) {
        let mut conns = self.conns.borrow_mut();
        conns.remove(conn.key() as usize);
        if conns.len() == 0 {
            *self.visited.borrow_mut() = SegmentedVec::default();
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
            let key = key as usize;
            if let Some(last) = visited.get_mut(key).filter(|last| **last < since) {
                *last = now;
                out.extend(conns.get(key).cloned());
            }
        }
    }

    /// A list of subscribers has moved the entry of a session's cursor to `index`.
    pub(super) fn subscription_moved(&self, key: u32, cursor: u32, index: u32) {
        let conns = self.conns.borrow();
        let conn = conns.get(key as usize).expect("a subscribed connection is in the list");
        let stream = conn.stream().borrow();
        let stream = stream.as_ref().expect("a subscribed connection has a stream");
        stream.session.subscription_moved(cursor, index);
    }

    pub(crate) fn len(&self) -> usize {
        self.conns.borrow().len()
    }

    /// Keys that a full sweep visits.
    pub(crate) fn capacity(&self) -> usize {
        self.conns.borrow().key_end()
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
        let end = from.saturating_add(count).min(conns.key_end());
        for key in from..end {
            if let Some(conn) = conns.get(key) {
                visit(key, conn);
            }
        }
        if end == conns.key_end() { 0 } else { end }
    }

    /// Calls `visit` with every connection.
    pub(crate) fn for_each(&self, visit: impl FnMut(usize, &Rc<Conn>)) {
        self.sweep(0, usize::MAX, visit);
    }
}
