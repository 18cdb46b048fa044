//! A shard's subscribers of each ring it reads: a map from selector to the connections whose
//! sessions read it, and how far the pump's walk over them has come.
//!
//! The first subscription to a selector subscribes the shard in the [`Registry`], the last one that
//! is given up unsubscribes it.
//!
//! The tables grow in parts: one that moves all its entries at once would hold up the shard. A hash
//! table of 200,000 topics takes 1.6 ms to grow, one of a million 15 ms. In 256 tables, it is 0.03
//! and 0.8 ms.
//!
//! # Walks and rounds
//!
//! A *walk* visits all subscribers of one ring, in parts. The pump takes the wakers of several
//! rings at once; those taken together belong to one *round*. A visit to a stream reads all of its
//! rings, so a stream is visited once per round, however many of its rings belong to it: each
//! connection has the number of the round of its last visit, and a walk skips the connections that
//! were visited in its own round or later.
//!
//! A ring that is woken while it is being walked is walked again afterwards, in the later round.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::connection::Conn;
use super::connections::{Connections, Round};
use super::segments::{SegmentedSlab, SegmentedVec};
use crate::event::{Selector, Topic, TopicMap};
use crate::ring::{Mailbox, Registry, RingWaker, RingsFull};
use crate::session::{Subscription, Unsubscribe};

pub(crate) struct Subscribers {
    registry: Arc<Registry>,
    mailbox: Arc<Mailbox>,
    connections: Rc<Connections>,
    rings: RefCell<Rings>,
}

/// Hash tables by topic, each of which grows by itself.
const STRIPES: usize = 256;

/// A table of this capacity or less isn't shrunk.
const SHRINK_ABOVE: usize = 32;

struct Rings {
    /// The key of each list.
    by_topic: Box<[TopicMap<usize>]>,
    /// The key of the list of `*`.
    all: Option<usize>,
    lists: SegmentedSlab<List>,
}

/// The subscribers of one ring. Dense, so that a walk takes time in proportion to the current
/// subscribers, not to the most there have been.
struct List {
    waker: Arc<RingWaker>,
    entries: SegmentedVec<Entry>,
    walk: Option<Walk>,
}

/// One cursor of one connection's session.
#[derive(Clone, Copy)]
struct Entry {
    conn: u32,
    cursor: u32,
}

/// How far a list has been walked.
struct Walk {
    round: Round,
    /// Entries at and above this index have been visited. Downwards, because subscribers may leave
    /// meanwhile, and the last entry then moves to the free index. Going down, that entry was
    /// visited before and is visited twice. Going up, it would be missed. A subscriber that joins
    /// needs no visit: its cursor is at the ring's end.
    below: Option<usize>,
    /// The rounds of the first and the last wake-up since the walk began.
    again: Option<(Round, Round)>,
}

/// What [`Subscribers::collect`] leaves of a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// Subscribers not yet visited.
    More,
    /// Nothing, but the ring was woken after the walk had begun, in that round for the first time,
    /// and is walked again.
    Again(Round),
    /// Nothing.
    Done,
}

impl Default for Rings {
    fn default() -> Self {
        let by_topic = (0..STRIPES).map(|_| TopicMap::default()).collect();
        Self { by_topic, all: None, lists: SegmentedSlab::default() }
    }
}

impl Rings {
    /// The list of a waker. Its key may belong to another ring since the waker was put into the
    /// mailbox.
    fn list(&mut self, waker: &Arc<RingWaker>) -> Option<&mut List> {
        self.lists.get_mut(waker.key).filter(|list| Arc::ptr_eq(&list.waker, waker))
    }

    fn key(&self, selector: &Selector) -> Option<usize> {
        match selector {
            Selector::All => self.all,
            Selector::Topic(topic) => self.by_topic[stripe(topic)].get(topic).copied(),
        }
    }

    fn set_key(&mut self, selector: &Selector, key: usize) {
        match selector {
            Selector::All => self.all = Some(key),
            Selector::Topic(topic) => {
                self.by_topic[stripe(topic)].insert(topic.clone(), key);
            }
        }
    }

    fn remove_key(&mut self, selector: &Selector) {
        match selector {
            Selector::All => self.all = None,
            Selector::Topic(topic) => {
                let keys = &mut self.by_topic[stripe(topic)];
                keys.remove(topic);
                if keys.is_empty() {
                    *keys = TopicMap::default();
                } else if keys.capacity() > SHRINK_ABOVE && keys.len() * 4 < keys.capacity() {
                    keys.shrink_to(keys.len() * 2);
                }
            }
        }
    }
}

/// The stripe of a topic, by other bits of its hash than those that the stripe's own table uses:
/// the lowest ones and the highest seven.
fn stripe(topic: &Topic) -> usize {
    (topic.hash_key() >> 40) as usize % STRIPES
}

impl Subscribers {
    pub(super) fn new(
        registry: Arc<Registry>,
        mailbox: Arc<Mailbox>,
        connections: Rc<Connections>,
    ) -> Self {
        Self { registry, mailbox, connections, rings: RefCell::default() }
    }

    /// Subscribes a connection's session with its cursor number `cursor`: from here on the pump
    /// visits it when the selector's ring has a new epoch.
    pub(super) fn subscribe(
        &self,
        selector: &Selector,
        conn: &Conn,
        cursor: u32,
    ) -> Result<Subscription, RingsFull> {
        let rings = &mut *self.rings.borrow_mut();
        let key = match rings.key(selector) {
            Some(key) => key,
            None => {
                let key = rings.lists.vacant_key();
                let waker = self.registry.subscribe(selector, &self.mailbox, key)?;
                let entries = SegmentedVec::default();
                rings.lists.insert(List { waker, entries, walk: None });
                rings.set_key(selector, key);
                key
            }
        };
        let list = rings.lists.get_mut(key).expect("a key leads to its list");
        let index = u32::try_from(list.entries.len()).expect("a shard has under 2^32 connections");
        list.entries.push(Entry { conn: conn.key(), cursor });
        Ok(Subscription { waker: Arc::clone(&list.waker), index })
    }

    /// Begins a walk over the subscribers of a ring that was woken in `round`, or records that the
    /// walk under way must be followed by another one. Returns the number of subscribers if the
    /// walk is new.
    pub(crate) fn begin_walk(&self, waker: &Arc<RingWaker>, round: Round) -> Option<usize> {
        let mut rings = self.rings.borrow_mut();
        let list = rings.list(waker)?;
        match &mut list.walk {
            None => {
                list.walk = Some(Walk { round, below: None, again: None });
                return Some(list.entries.len());
            }
            // Nobody has been visited yet.
            Some(walk) if walk.below.is_none() => walk.round = round,
            Some(walk) => walk.again = Some((walk.again.map_or(round, |(first, _)| first), round)),
        }
        None
    }

    /// Continues the walk over the subscribers of a waker's ring: looks at up to `limit` of them,
    /// and appends to `out` those that were not visited in the walk's round or later. They count as
    /// visited in round `now`, the current one. Returns what is left, and how many it looked at.
    pub(crate) fn collect(
        &self,
        waker: &Arc<RingWaker>,
        now: Round,
        limit: usize,
        out: &mut Vec<Rc<Conn>>,
    ) -> (Rest, usize) {
        let mut rings = self.rings.borrow_mut();
        let Some(list) = rings.list(waker) else { return (Rest::Done, 0) };
        let Some(walk) = &mut list.walk else { return (Rest::Done, 0) };
        let end = walk.below.unwrap_or(usize::MAX).min(list.entries.len());
        let start = end.saturating_sub(limit);
        let keys = list.entries.descending(start, end).map(|entry| entry.conn);
        self.connections.collect_unvisited(keys, walk.round, now, out);
        if start > 0 {
            walk.below = Some(start);
            return (Rest::More, end - start);
        }
        let again = walk.again;
        // Who was visited before the last wake-up has to be visited again.
        list.walk = again.map(|(_, last)| Walk { round: last, below: None, again: None });
        (again.map_or(Rest::Done, |(first, _)| Rest::Again(first)), end - start)
    }
}

impl Unsubscribe for Subscribers {
    /// The last subscription to a ring that is given up unsubscribes the shard.
    fn unsubscribe(&self, waker: &Arc<RingWaker>, index: u32) {
        let rings = &mut *self.rings.borrow_mut();
        let key = waker.key;
        let list = rings.lists.get_mut(key).expect("a list lives as long as its subscriptions");
        list.entries.swap_remove(index as usize);
        if let Some(&Entry { conn, cursor }) = list.entries.get(index as usize) {
            self.connections.subscription_moved(conn, cursor, index);
        }
        if list.entries.is_empty() {
            rings.lists.remove(key);
            rings.remove_key(&waker.selector);
            self.registry.unsubscribe(waker);
        }
    }
}

#[cfg(all(test, not(ring_loom)))]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::conn::ShardHandle;
    use crate::core::Core;
    use crate::event::Position;

    fn shard() -> ShardHandle {
        ShardHandle::new(Core::for_test(Config::default()), &Arc::new(Mailbox::new(0)))
    }

    fn streams(shard: &ShardHandle, topics: &[&str], count: usize) -> Vec<Rc<Conn>> {
        let selectors: Vec<_> =
            topics.iter().map(|topic| Selector::parse(topic).unwrap()).collect();
        let open = |_| {
            let conn = Rc::new(Conn::for_test());
            shard.connections.insert(&conn);
            let body = shard.open_stream(&conn, &selectors, &Position::Live, true).unwrap();
            conn.lifecycle.detached();
            drop(body);
            conn
        };
        (0..count).map(open).collect()
    }

    fn waker(shard: &ShardHandle, topic: &str) -> Arc<RingWaker> {
        let rings = shard.subscribers.rings.borrow();
        let key = rings.key(&Selector::parse(topic).unwrap()).unwrap();
        Arc::clone(&rings.lists.get(key).unwrap().waker)
    }

    /// Continues a walk; returns the positions of the connections it found in `conns`.
    fn collect(
        shard: &ShardHandle,
        waker: &Arc<RingWaker>,
        now: Round,
        limit: usize,
        conns: &[Rc<Conn>],
    ) -> (Vec<usize>, Rest) {
        let mut found = Vec::new();
        let (rest, _) = shard.subscribers.collect(waker, now, limit, &mut found);
        let position =
            |conn: &Rc<Conn>| conns.iter().position(|other| Rc::ptr_eq(other, conn)).unwrap();
        (found.iter().map(position).collect(), rest)
    }

    #[test]
    fn subscribers_come_in_parts_and_none_is_missed_when_others_leave() {
        let shard = shard();
        let conns = streams(&shard, &["a", "b"], 5);
        let a = waker(&shard, "a");
        assert_eq!(shard.subscribers.begin_walk(&a, 1), Some(5));
        assert_eq!(collect(&shard, &a, 1, 2, &conns), (vec![4, 3], Rest::More));
        // The last one, already visited, moves to the index of one that is not.
        conns[1].close_stream();
        assert_eq!(collect(&shard, &a, 1, 9, &conns), (vec![2, 0], Rest::Done));
        for conn in [&conns[4], &conns[0], &conns[3], &conns[2]] {
            conn.close_stream();
        }
        assert_eq!(shard.core.registry.topics(), 0);
    }

    #[test]
    fn a_stream_is_visited_once_a_round_whatever_the_number_of_its_rings() {
        let shard = shard();
        let conns = streams(&shard, &["a", "b"], 2);
        let (a, b) = (waker(&shard, "a"), waker(&shard, "b"));
        assert_eq!(shard.subscribers.begin_walk(&a, 1), Some(2));
        assert_eq!(shard.subscribers.begin_walk(&b, 1), Some(2));
        assert_eq!(collect(&shard, &a, 1, 9, &conns), (vec![1, 0], Rest::Done));
        assert_eq!(collect(&shard, &b, 1, 9, &conns), (vec![], Rest::Done));
        assert_eq!(shard.subscribers.begin_walk(&b, 2), Some(2));
        assert_eq!(collect(&shard, &b, 2, 9, &conns), (vec![1, 0], Rest::Done));
    }

    #[test]
    fn a_ring_woken_during_its_walk_is_walked_again_and_one_that_waits_is_not() {
        let shard = shard();
        let conns = streams(&shard, &["a"], 2);
        let a = waker(&shard, "a");
        assert_eq!(shard.subscribers.begin_walk(&a, 1), Some(2));
        assert_eq!(shard.subscribers.begin_walk(&a, 2), None);
        assert_eq!(collect(&shard, &a, 2, 1, &conns), (vec![1], Rest::More));
        assert_eq!(shard.subscribers.begin_walk(&a, 3), None);
        assert_eq!(shard.subscribers.begin_walk(&a, 4), None);
        assert_eq!(collect(&shard, &a, 4, 1, &conns), (vec![0], Rest::Again(3)));
        // Stream 0 was visited in round 4, after the last wake-up.
        assert_eq!(collect(&shard, &a, 4, 9, &conns), (vec![1], Rest::Done));
    }

    #[test]
    fn the_last_to_leave_unsubscribes_the_shard_and_a_stale_waker_has_no_subscribers() {
        let shard = shard();
        let conns = streams(&shard, &["a"], 2);
        let stale = waker(&shard, "a");
        conns[0].close_stream();
        assert_eq!(shard.core.registry.topics(), 1);
        conns[1].close_stream();
        assert_eq!(shard.core.registry.topics(), 0);
        let other = streams(&shard, &["b"], 1);
        assert_eq!(waker(&shard, "b").key, stale.key, "the key is used again");
        assert_eq!(shard.subscribers.begin_walk(&stale, 1), None);
        assert_eq!(collect(&shard, &stale, 1, 9, &other), (vec![], Rest::Done));
    }
}
