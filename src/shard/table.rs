//! What lives on a shard: its connections, and for each ring it reads, the connections whose
//! sessions read it.
//!
//! On the shard's thread only. The rings here mirror the shard's wakers in the [`Registry`]: the
//! first session on a selector attaches, the last one detaches.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use slab::Slab;

use super::conn::Conn;
use crate::event::Selector;
use crate::ring::{Mailbox, Registry, RingWaker, RingsFull};

/// See the module.
pub struct Table {
    registry: Arc<Registry>,
    mailbox: Arc<Mailbox>,
    rings: RefCell<Rings>,
    conns: RefCell<Slab<Rc<Conn>>>,
}

#[derive(Default)]
struct Rings {
    by_selector: HashMap<Selector, usize>,
    slots: Slab<Readers>,
}

/// The readers of a ring, without gaps: going through them costs what there are, not what there
/// once were.
struct Readers {
    ring_waker: Arc<RingWaker>,
    readers: Vec<Reader>,
}

struct Reader {
    conn: Rc<Conn>,
    /// Its place in `readers`, which its subscription knows as well: the last one moves where one leaves.
    place: Rc<Cell<u32>>,
}

/// A session's place among the readers of a ring.
pub struct Subscription {
    /// The shard's ring_waker on the ring.
    pub ring_waker: Arc<RingWaker>,
    place: Rc<Cell<u32>>,
}

impl Table {
    /// An empty table for the shard at `mailbox`.
    pub fn new(registry: Arc<Registry>, mailbox: Arc<Mailbox>) -> Self {
        Self { registry, mailbox, rings: RefCell::default(), conns: RefCell::default() }
    }

    /// Seats a session: from here on its connection is woken when the selector's ring has something
    /// new.
    pub fn subscribe(
        &self,
        selector: &Selector,
        conn: &Rc<Conn>,
    ) -> Result<Subscription, RingsFull> {
        let rings = &mut *self.rings.borrow_mut();
        let slot = match rings.by_selector.get(selector) {
            Some(&slot) => slot,
            None => {
                let vacant = rings.slots.vacant_entry();
                let slot = vacant.key();
                let ring_waker = self.registry.subscribe(selector, &self.mailbox, slot)?;
                vacant.insert(Readers { ring_waker, readers: Vec::new() });
                rings.by_selector.insert(selector.clone(), slot);
                slot
            }
        };
        let readers = &mut rings.slots[slot];
        let place =
            u32::try_from(readers.readers.len()).expect("a shard has under 2^32 connections");
        let place = Rc::new(Cell::new(place));
        readers.readers.push(Reader { conn: Rc::clone(conn), place: Rc::clone(&place) });
        Ok(Subscription { ring_waker: Arc::clone(&readers.ring_waker), place })
    }

    /// Gives a subscription up. The last one to leave takes the shard's ring_waker off the ring.
    pub fn unsubscribe(&self, subscription: &Subscription) {
        let rings = &mut *self.rings.borrow_mut();
        let slot = subscription.ring_waker.key;
        let readers = &mut rings.slots[slot];
        let place = subscription.place.get();
        readers.readers.swap_remove(place as usize);
        if let Some(moved) = readers.readers.get(place as usize) {
            moved.place.set(place);
        }
        if readers.readers.len() * 4 < readers.readers.capacity() {
            readers.readers.shrink_to(readers.readers.len() * 2);
        }
        if readers.readers.is_empty() {
            rings.slots.remove(slot);
            rings.by_selector.remove(&subscription.ring_waker.selector);
            self.registry.unsubscribe(&subscription.ring_waker);
            if rings.slots.is_empty() {
                *rings = Rings::default();
            } else if rings.by_selector.len() * 4 < rings.by_selector.capacity() {
                rings.by_selector.shrink_to(rings.by_selector.len() * 2);
            }
        }
    }

    /// Adds readers behind a ring_waker to `out`, `most` of them at most, from the one below place
    /// `below` down. Returns the place to go on below, if there are more.
    ///
    /// Downwards, because between two calls readers may leave: the last one, which has been looked
    /// at, then moves down and is looked at twice. Upwards it would be missed. One that joins needs
    /// no look: it has read its ring's end.
    pub fn readers(
        &self,
        ring_waker: &Arc<RingWaker>,
        below: usize,
        most: usize,
        out: &mut Vec<Rc<Conn>>,
    ) -> Option<usize> {
        let rings = self.rings.borrow();
        // The key may have been given to another ring since the ring_waker was posted.
        let readers = rings
            .slots
            .get(ring_waker.key)
            .filter(|readers| Arc::ptr_eq(&readers.ring_waker, ring_waker))?;
        let end = below.min(readers.readers.len());
        let start = end.saturating_sub(most);
        out.extend(readers.readers[start..end].iter().rev().map(|reader| Rc::clone(&reader.conn)));
        (start > 0).then_some(start)
    }

    /// The connection with this key.
    pub fn conn(&self, key: usize) -> Option<Rc<Conn>> {
        self.conns.borrow().get(key).cloned()
    }

    /// Adds a connection and gives it its key.
    pub fn admit(&self, conn: &Rc<Conn>) {
        let key = self.conns.borrow_mut().insert(Rc::clone(conn));
        conn.set_key(u32::try_from(key).expect("FANFARE_CONNECTIONS_MAX is under 2^32"));
    }

    /// Takes a connection off.
    pub fn dismiss(&self, conn: &Conn) {
        let mut conns = self.conns.borrow_mut();
        conns.remove(conn.key() as usize);
        if conns.is_empty() {
            conns.shrink_to_fit();
        }
    }

    /// Shows connections to `look`, `count` places from place `from` on; returns the place to go on
    /// at, 0 at the end.
    pub fn sweep(
        &self,
        from: usize,
        count: usize,
        mut look: impl FnMut(usize, &Rc<Conn>),
    ) -> usize {
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
    pub fn each(&self, look: impl FnMut(usize, &Rc<Conn>)) {
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

    fn table() -> Table {
        let registry = Arc::new(Registry::new(10, NonZeroUsize::new(8).unwrap()));
        Table::new(registry, Arc::new(Mailbox::new(0)))
    }

    #[test]
    fn readers_come_in_slices_and_none_is_missed_when_others_leave_meanwhile() {
        let table = table();
        let conns: Vec<_> = (0..5).map(|_| Rc::new(Conn::for_test())).collect();
        let subscriptions: Vec<_> =
            conns.iter().map(|conn| table.subscribe(&Selector::All, conn).unwrap()).collect();
        let place =
            |conn: &Rc<Conn>| conns.iter().position(|other| Rc::ptr_eq(other, conn)).unwrap();
        let mut seen = Vec::new();
        let next = table.readers(&subscriptions[0].ring_waker, usize::MAX, 2, &mut seen);
        assert_eq!((seen.iter().map(place).collect::<Vec<_>>(), next), (vec![4, 3], Some(3)));
        // The last, which has been seen, takes the place of one that has not.
        table.unsubscribe(&subscriptions[1]);
        assert_eq!(table.readers(&subscriptions[0].ring_waker, next.unwrap(), 9, &mut seen), None);
        assert_eq!(seen.iter().map(place).collect::<Vec<_>>(), [4, 3, 2, 4, 0]);
        for subscription in
            [&subscriptions[4], &subscriptions[0], &subscriptions[3], &subscriptions[2]]
        {
            table.unsubscribe(subscription);
        }
        assert!(table.registry.is_empty());
    }

    #[test]
    fn the_last_to_leave_takes_the_ring_along_and_a_stale_mark_has_no_readers() {
        let table = table();
        let conn = Rc::new(Conn::for_test());
        let selector = Selector::parse("a").unwrap();
        let first = table.subscribe(&selector, &conn).unwrap();
        let second = table.subscribe(&selector, &conn).unwrap();
        table.unsubscribe(&first);
        assert_eq!(table.registry.len(), 1);
        table.unsubscribe(&second);
        assert_eq!(table.registry.len(), 0);
        let other = table.subscribe(&Selector::parse("b").unwrap(), &conn).unwrap();
        assert_eq!(other.ring_waker.key, first.ring_waker.key, "the key is used again");
        let mut seen = Vec::new();
        assert_eq!(table.readers(&first.ring_waker, usize::MAX, 9, &mut seen), None);
        assert!(seen.is_empty());
    }
}
