//! A shard's subscribers of each ring it reads: a map from selector to the connections whose
//! sessions read it.
//!
//! The first subscription to a selector subscribes the shard in the [`Registry`], the last one that
//! is given up unsubscribes it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use slab::Slab;

use super::connection::Conn;
use crate::event::Selector;
use crate::ring::{Mailbox, Registry, RingWaker, RingsFull};
use crate::session::{Subscription, Unsubscribe};

pub(crate) struct Subscribers {
    registry: Arc<Registry>,
    mailbox: Arc<Mailbox>,
    rings: RefCell<Rings>,
}

#[derive(Default)]
struct Rings {
    by_selector: HashMap<Selector, usize>,
    lists: Slab<List>,
}

/// The subscribers of one ring. Without gaps: a walk costs what there are, not what there were.
struct List {
    waker: Arc<RingWaker>,
    entries: Vec<Entry>,
}

struct Entry {
    conn: Rc<Conn>,
    /// The entry's index in its list, shared with the [`Subscription`]: the last entry moves to
    /// where one leaves.
    index: Rc<Cell<u32>>,
}

impl Subscribers {
    pub(super) fn new(registry: Arc<Registry>, mailbox: Arc<Mailbox>) -> Self {
        Self { registry, mailbox, rings: RefCell::default() }
    }

    /// Subscribes a connection: from here on the pump visits it when the selector's ring has a new
    /// epoch.
    pub(super) fn subscribe(
        &self,
        selector: &Selector,
        conn: &Rc<Conn>,
    ) -> Result<Subscription, RingsFull> {
        let rings = &mut *self.rings.borrow_mut();
        let key = match rings.by_selector.get(selector) {
            Some(&key) => key,
            None => {
                let vacant = rings.lists.vacant_entry();
                let key = vacant.key();
                let waker = self.registry.subscribe(selector, &self.mailbox, key)?;
                vacant.insert(List { waker, entries: Vec::new() });
                rings.by_selector.insert(selector.clone(), key);
                key
            }
        };
        let list = &mut rings.lists[key];
        let index = u32::try_from(list.entries.len()).expect("a shard has under 2^32 connections");
        let index = Rc::new(Cell::new(index));
        list.entries.push(Entry { conn: Rc::clone(conn), index: Rc::clone(&index) });
        Ok(Subscription { waker: Arc::clone(&list.waker), index })
    }

    /// Appends up to `limit` subscribers of a waker's ring to `out`. Visits entries downwards,
    /// starting below index `below`. Returns the next `below`, or `None` when done.
    ///
    /// Downwards, because subscribers may leave between two calls, and the last entry then moves to
    /// the free index. Going down, that entry was visited before and is visited twice. Going up, it
    /// would be missed. A subscriber that joins needs no visit: its cursor is at the ring's end.
    pub(crate) fn collect(
        &self,
        waker: &Arc<RingWaker>,
        below: usize,
        limit: usize,
        out: &mut Vec<Rc<Conn>>,
    ) -> Option<usize> {
        let rings = self.rings.borrow();
        // The key may belong to another ring since the waker was put into the mailbox.
        let list = rings.lists.get(waker.key).filter(|list| Arc::ptr_eq(&list.waker, waker))?;
        let end = below.min(list.entries.len());
        let start = end.saturating_sub(limit);
        out.extend(list.entries[start..end].iter().rev().map(|entry| Rc::clone(&entry.conn)));
        (start > 0).then_some(start)
    }
}

impl Unsubscribe for Subscribers {
    /// The last subscription to a ring that is given up unsubscribes the shard.
    fn unsubscribe(&self, subscription: &Subscription) {
        let rings = &mut *self.rings.borrow_mut();
        let key = subscription.waker.key;
        let entries = &mut rings.lists[key].entries;
        let index = subscription.index.get();
        entries.swap_remove(index as usize);
        if let Some(moved) = entries.get(index as usize) {
            moved.index.set(index);
        }
        if entries.len() * 4 < entries.capacity() {
            entries.shrink_to(entries.len() * 2);
        }
        if entries.is_empty() {
            rings.lists.remove(key);
            rings.by_selector.remove(&subscription.waker.selector);
            self.registry.unsubscribe(&subscription.waker);
            if rings.lists.is_empty() {
                *rings = Rings::default();
            } else if rings.by_selector.len() * 4 < rings.by_selector.capacity() {
                rings.by_selector.shrink_to(rings.by_selector.len() * 2);
            }
        }
    }
}

#[cfg(all(test, not(ring_loom)))]
mod tests {
    use super::*;
    use std::num::NonZeroUsize;

    fn subscribers() -> Subscribers {
        let registry = Arc::new(Registry::new(10, NonZeroUsize::new(8).unwrap()));
        Subscribers::new(registry, Arc::new(Mailbox::new(0)))
    }

    #[test]
    fn subscribers_come_in_parts_and_none_is_missed_when_others_leave() {
        let subscribers = subscribers();
        let conns: Vec<_> = (0..5).map(|_| Rc::new(Conn::for_test())).collect();
        let subscriptions: Vec<_> =
            conns.iter().map(|conn| subscribers.subscribe(&Selector::All, conn).unwrap()).collect();
        let position =
            |conn: &Rc<Conn>| conns.iter().position(|other| Rc::ptr_eq(other, conn)).unwrap();
        let mut seen = Vec::new();
        let next = subscribers.collect(&subscriptions[0].waker, usize::MAX, 2, &mut seen);
        assert_eq!((seen.iter().map(position).collect::<Vec<_>>(), next), (vec![4, 3], Some(3)));
        // The last one, already visited, moves to the index of one that is not.
        subscribers.unsubscribe(&subscriptions[1]);
        assert_eq!(subscribers.collect(&subscriptions[0].waker, next.unwrap(), 9, &mut seen), None);
        assert_eq!(seen.iter().map(position).collect::<Vec<_>>(), [4, 3, 2, 4, 0]);
        for subscription in
            [&subscriptions[4], &subscriptions[0], &subscriptions[3], &subscriptions[2]]
        {
            subscribers.unsubscribe(subscription);
        }
        assert!(subscribers.registry.topics() == 0);
    }

    #[test]
    fn the_last_to_leave_unsubscribes_the_shard_and_a_stale_waker_has_no_subscribers() {
        let subscribers = subscribers();
        let conn = Rc::new(Conn::for_test());
        let selector = Selector::parse("a").unwrap();
        let first = subscribers.subscribe(&selector, &conn).unwrap();
        let second = subscribers.subscribe(&selector, &conn).unwrap();
        subscribers.unsubscribe(&first);
        assert_eq!(subscribers.registry.topics(), 1);
        subscribers.unsubscribe(&second);
        assert_eq!(subscribers.registry.topics(), 0);
        let other = subscribers.subscribe(&Selector::parse("b").unwrap(), &conn).unwrap();
        assert_eq!(other.waker.key, first.waker.key, "the key is used again");
        let mut seen = Vec::new();
        assert_eq!(subscribers.collect(&first.waker, usize::MAX, 9, &mut seen), None);
        assert!(seen.is_empty());
    }
}
