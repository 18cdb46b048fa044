//! LRU list of a shard's connections without a stream: those that send a request head or a body,
//! wait for a response, or are idle.
//!
//! They have a quota of their own, because hyper's buffers make them many times as large as a
//! stream, and because a client that connects and sends nothing would otherwise take the place of a
//! stream. A newcomer is not refused at the bound, since it may be about to open a stream: the
//! connection that has waited longest for a request is closed instead.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use super::connection::Conn;

/// The connections without a stream of one shard.
pub(crate) struct RequestConnections {
    max: usize,
    /// By the rank each had when it was last looked at. A request only changes the connection's own
    /// rank; its place in this map follows when it comes first.
    order: RefCell<BTreeMap<Rank, Rc<Place>>>,
    next: Cell<u64>,
}

/// Connections that wait for a request head come before those that are in a request; among each,
/// the one that has been so for longest is first. A number, which is cheap to compare: the highest
/// bit is set in a request, the others count changes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank(u64);

/// The bit of a [`Rank`] that is set in a request.
const IN_REQUEST: u64 = 1 << 63;

/// A connection's place in the list.
pub(crate) struct Place {
    list: Rc<RequestConnections>,
    conn: Rc<Conn>,
    rank: Cell<Rank>,
    /// The rank it is listed under; `None` after it has left.
    listed: Cell<Option<Rank>>,
    displaced: Cell<bool>,
}

impl RequestConnections {
    /// At most `max` connections.
    pub(super) fn new(max: usize) -> Self {
        Self { max, order: RefCell::default(), next: Cell::new(0) }
    }

    pub(crate) fn len(&self) -> usize {
        self.order.borrow().len()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len() >= self.max
    }

    pub(crate) fn max(&self) -> usize {
        self.max
    }

    /// Adds a connection that waits for its first request head.
    pub(crate) fn add(self: &Rc<Self>, conn: &Rc<Conn>) -> Rc<Place> {
        let rank = self.rank(false);
        let place = Rc::new(Place {
            list: Rc::clone(self),
            conn: Rc::clone(conn),
            rank: Cell::new(rank),
            listed: Cell::new(None),
            displaced: Cell::new(false),
        });
        self.enter(&mut self.order.borrow_mut(), Rc::clone(&place));
        place
    }

    /// Removes the first connection and wakes its task, which then ends; false if there is none.
    ///
    /// Looks at each connection at most once for each of its requests.
    pub(crate) fn displace(&self) -> bool {
        let mut order = self.order.borrow_mut();
        while let Some((listed, place)) = order.pop_first() {
            if place.rank.get() == listed {
                place.listed.set(None);
                place.displaced.set(true);
                place.conn.wake_task();
                return true;
            }
            self.enter(&mut order, place);
        }
        false
    }

    fn enter(&self, order: &mut BTreeMap<Rank, Rc<Place>>, place: Rc<Place>) {
        place.listed.set(Some(place.rank.get()));
        order.insert(place.rank.get(), place);
    }

    fn rank(&self, in_request: bool) -> Rank {
        let since = self.next.get();
        self.next.set(since + 1);
        Rank(since | if in_request { IN_REQUEST } else { 0 })
    }
}

impl Place {
    /// A request head is complete.
    pub(crate) fn begin_request(&self) {
        self.rank.set(self.list.rank(true));
    }

    /// The response is ready; the connection waits for the next request head.
    pub(crate) fn end_request(&self) {
        let rank = self.list.rank(false);
        self.rank.set(rank);
        // It was looked at during the request, and would stay behind all that wait.
        if let Some(listed) = self.listed.get().filter(|listed| *listed > rank) {
            let mut order = self.list.order.borrow_mut();
            let place = order.remove(&listed).expect("it is listed under this rank");
            self.list.enter(&mut order, place);
        }
    }

    /// The connection has a stream now, or has ended.
    pub(crate) fn leave(&self) {
        if let Some(listed) = self.listed.take() {
            self.list.order.borrow_mut().remove(&listed);
        }
    }

    /// Whether the connection has to end, because another one needed its place.
    pub(crate) fn is_displaced(&self) -> bool {
        self.displaced.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(max: usize) -> Rc<RequestConnections> {
        Rc::new(RequestConnections::new(max))
    }

    fn add(list: &Rc<RequestConnections>) -> Rc<Place> {
        list.add(&Rc::new(Conn::for_test()))
    }

    #[test]
    fn those_that_wait_for_a_head_are_displaced_before_those_in_a_request() {
        let list = list(5);
        let [busy, idle, new, newest, slow] = std::array::from_fn(|_| add(&list));
        assert!(list.is_full());
        slow.begin_request();
        busy.begin_request();
        idle.begin_request();
        idle.end_request();
        for displaced in [&new, &newest, &idle, &slow, &busy] {
            assert!(!displaced.is_displaced());
            assert!(list.displace());
            assert!(displaced.is_displaced());
        }
        assert!(!list.displace());
    }

    #[test]
    fn a_connection_that_was_looked_at_in_a_request_waits_again_afterwards() {
        let list = list(3);
        let [first, second, third] = std::array::from_fn(|_| add(&list));
        first.begin_request();
        second.begin_request();
        assert!(list.displace() && third.is_displaced());
        second.end_request();
        assert!(list.displace() && second.is_displaced());
        assert!(!first.is_displaced() && list.len() == 1);
    }

    #[test]
    fn a_stream_and_a_closed_connection_leave_the_list() {
        let list = list(2);
        let (stream, closed) = (add(&list), add(&list));
        closed.begin_request();
        stream.leave();
        assert_eq!(list.len(), 1);
        closed.leave();
        assert_eq!(list.len(), 0);
        stream.end_request();
        assert!(!list.displace() && !stream.is_displaced());
    }

    #[test]
    fn a_displaced_connection_does_not_return() {
        let list = list(1);
        let place = add(&list);
        list.displace();
        place.begin_request();
        place.end_request();
        place.leave();
        assert!(place.is_displaced() && list.len() == 0);
    }
}
