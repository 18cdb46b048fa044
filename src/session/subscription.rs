//! A session's subscription to one ring, and where it is given up.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use crate::ring::RingWaker;

/// A session's place among a shard's subscribers of one ring.
pub(crate) struct Subscription {
    /// The shard's waker for the ring.
    pub(crate) waker: Arc<RingWaker>,
    /// The session's index in the shard's list of subscribers, which keeps it up to date.
    pub(crate) index: Rc<Cell<u32>>,
}

/// The shard's lists of subscribers, as a session that ends needs them.
pub(crate) trait Unsubscribe {
    fn unsubscribe(&self, subscription: &Subscription);
}
