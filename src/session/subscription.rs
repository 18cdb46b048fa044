//! A session's subscription to one ring, and where it is given up.

use std::sync::Arc;

use crate::ring::RingWaker;

/// A session's place among a shard's subscribers of one ring.
pub(crate) struct Subscription {
    /// The shard's waker for the ring.
    pub(crate) waker: Arc<RingWaker>,
    /// The session's index in the shard's list of subscribers. The list calls
    /// [`Session::subscription_moved`](super::Session::subscription_moved) when it changes.
    pub(crate) index: u32,
}

/// The shard's lists of subscribers, as a session that ends needs them.
pub(crate) trait Unsubscribe {
    /// Removes the entry at `index` from the subscribers of the waker's ring.
    fn unsubscribe(&self, waker: &Arc<RingWaker>, index: u32);
}
