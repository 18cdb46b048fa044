//! What lives on a shard: its connections, and for each ring it reads, the connections whose sessions read it.
//!
//! On the shard's thread only. The rings here mirror the shard's marks in the [`Registry`]: the first session on a
//! selector attaches, the last one detaches.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use slab::Slab;

use super::conn::Conn;
use crate::event::Selector;
use crate::ring::{Desk, Mark, Registry, RingsFull};

/// See the module.
pub struct Table {
    registry: Arc<Registry>,
    desk: Arc<Desk>,
    rings: RefCell<Rings>,
    conns: RefCell<Slab<Rc<Conn>>>,
}

#[derive(Default)]
struct Rings {
    by_selector: HashMap<Selector, usize>,
    slots: Slab<Readers>,
}

struct Readers {
    mark: Arc<Mark>,
    conns: Slab<Rc<Conn>>,
}

/// A session's place among the readers of a ring.
pub struct Seat {
    /// The shard's mark on the ring.
    pub mark: Arc<Mark>,
    key: usize,
}

impl Table {
    /// An empty table for the shard at `desk`.
    pub fn new(registry: Arc<Registry>, desk: Arc<Desk>) -> Self {
        Self { registry, desk, rings: RefCell::default(), conns: RefCell::default() }
    }

    /// Seats a session: from here on its connection is woken when the selector's ring has something new.
    pub fn subscribe(&self, selector: &Selector, conn: &Rc<Conn>) -> Result<Seat, RingsFull> {
        let rings = &mut *self.rings.borrow_mut();
        let slot = match rings.by_selector.get(selector) {
            Some(&slot) => slot,
            None => {
                let vacant = rings.slots.vacant_entry();
                let slot = vacant.key();
                let mark = self.registry.attach(selector, &self.desk, slot)?;
                vacant.insert(Readers { mark, conns: Slab::new() });
                rings.by_selector.insert(selector.clone(), slot);
                slot
            }
        };
        let readers = &mut rings.slots[slot];
        let key = readers.conns.insert(Rc::clone(conn));
        Ok(Seat { mark: Arc::clone(&readers.mark), key })
    }

    /// Gives a seat up. The last one to leave takes the shard's mark off the ring.
    pub fn unsubscribe(&self, seat: &Seat) {
        let rings = &mut *self.rings.borrow_mut();
        let slot = seat.mark.key;
        let readers = &mut rings.slots[slot];
        readers.conns.remove(seat.key);
        if readers.conns.is_empty() {
            rings.slots.remove(slot);
            rings.by_selector.remove(&seat.mark.selector);
            self.registry.detach(&seat.mark);
            if rings.slots.is_empty() {
                *rings = Rings::default();
            }
        }
    }

    /// Wakes the readers behind a mark, from reader number `from` on, `budget` of them at most. Returns where to go
    /// on, if there are more; takes what it used off the budget.
    pub fn wake(&self, mark: &Arc<Mark>, from: usize, budget: &mut usize) -> Option<usize> {
        let rings = self.rings.borrow();
        // The key may have been given to another ring since the mark was posted.
        let readers = rings.slots.get(mark.key).filter(|readers| Arc::ptr_eq(&readers.mark, mark))?;
        let end = readers.conns.capacity();
        for at in from..end {
            if *budget == 0 {
                return Some(at);
            }
            if let Some(conn) = readers.conns.get(at) {
                conn.wake();
                *budget -= 1;
            }
        }
        None
    }

    /// Adds a connection; returns its key.
    pub fn admit(&self, conn: &Rc<Conn>) -> usize {
        self.conns.borrow_mut().insert(Rc::clone(conn))
    }

    /// Takes a connection off.
    pub fn dismiss(&self, key: usize) {
        let mut conns = self.conns.borrow_mut();
        conns.remove(key);
        if conns.is_empty() {
            conns.shrink_to_fit();
        }
    }

    /// Shows connections to `look`, `count` places from place `from` on; returns the place to go on at, 0 at the end.
    pub fn sweep(&self, from: usize, count: usize, mut look: impl FnMut(usize, &Conn)) -> usize {
        let conns = self.conns.borrow();
        let end = from.saturating_add(count).min(conns.capacity());
        for at in from..end {
            if let Some(conn) = conns.get(at) {
                look(at, conn);
            }
        }
        if end == conns.capacity() { 0 } else { end }
    }

    /// Shows every connection to `look`.
    pub fn each(&self, look: impl FnMut(usize, &Conn)) {
        self.sweep(0, usize::MAX, look);
    }

    /// Places a full sweep has to look at.
    pub fn places(&self) -> usize {
        self.conns.borrow().capacity()
    }

    /// Connections on this shard.
    pub fn connections(&self) -> usize {
        self.conns.borrow().len()
    }
}

#[cfg(all(test, not(ring_loom)))]
mod tests {
    use super::*;
    use std::num::NonZeroUsize;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn table() -> Table {
        let registry = Arc::new(Registry::new(10, NonZeroUsize::new(8).unwrap()));
        Table::new(registry, Arc::new(Desk::new(0)))
    }

    #[test]
    fn readers_are_woken_in_slices_and_each_once() {
        let table = table();
        let wakes: Vec<_> = (0..5).map(|_| Arc::new(Count::default())).collect();
        let conns: Vec<_> = wakes.iter().map(|_| Rc::new(Conn::default())).collect();
        let seats: Vec<_> = conns
            .iter()
            .zip(&wakes)
            .map(|(conn, wake)| {
                conn.register(&Waker::from(Arc::clone(wake)));
                table.subscribe(&Selector::All, conn).unwrap()
            })
            .collect();
        table.unsubscribe(&seats[1]);
        let (mut from, mut slices) = (Some(0), 0);
        while let Some(at) = from {
            from = table.wake(&seats[0].mark, at, &mut 2);
            slices += 1;
        }
        let counts: Vec<_> = wakes.iter().map(|wake| wake.0.load(Ordering::Relaxed)).collect();
        assert_eq!(counts, [1, 0, 1, 1, 1]);
        assert!(slices >= 2, "{slices}");
    }

    #[test]
    fn the_last_to_leave_takes_the_ring_along_and_a_stale_mark_wakes_nobody() {
        let table = table();
        let conn = Rc::new(Conn::default());
        let selector = Selector::parse("a").unwrap();
        let first = table.subscribe(&selector, &conn).unwrap();
        let second = table.subscribe(&selector, &conn).unwrap();
        table.unsubscribe(&first);
        assert_eq!(table.registry.len(), 1);
        table.unsubscribe(&second);
        assert_eq!(table.registry.len(), 0);
        let other = table.subscribe(&Selector::parse("b").unwrap(), &conn).unwrap();
        assert_eq!(other.mark.key, first.mark.key, "the key is used again");
        let mut budget = 9;
        assert_eq!(table.wake(&first.mark, 0, &mut budget), None);
        assert_eq!(budget, 9);
    }
}
