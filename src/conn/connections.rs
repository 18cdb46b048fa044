//! A slab of a shard's connections, by key.

use std::cell::RefCell;
use std::rc::Rc;

use slab::Slab;

use super::connection::Conn;

#[derive(Default)]
pub(crate) struct Connections(RefCell<Slab<Rc<Conn>>>);

impl Connections {
    /// Adds a connection and gives it its key.
    pub(crate) fn insert(&self, conn: &Rc<Conn>) {
        let key = self.0.borrow_mut().insert(Rc::clone(conn));
        conn.set_key(u32::try_from(key).expect("FANFARE_CONNECTIONS_MAX is under 2^32"));
    }

    pub(crate) fn remove(&self, conn: &Conn) {
        let mut conns = self.0.borrow_mut();
        conns.remove(conn.key() as usize);
        if conns.is_empty() {
            conns.shrink_to_fit();
        }
    }

    pub(crate) fn get(&self, key: usize) -> Option<Rc<Conn>> {
        self.0.borrow().get(key).cloned()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.borrow().len()
    }

    /// Keys that a full sweep visits.
    pub(crate) fn capacity(&self) -> usize {
        self.0.borrow().capacity()
    }

    /// Visits the connections with keys in `from..from + count`. Returns the key to continue from,
    /// or 0 after the last.
    pub(crate) fn sweep(
        &self,
        from: usize,
        count: usize,
        mut visit: impl FnMut(usize, &Rc<Conn>),
    ) -> usize {
        let conns = self.0.borrow();
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
