//! Delivery counts: expected, received, and what went wrong.

use serde::{Deserialize, Serialize};

/// Delivery counts of a set of streams.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Account {
    /// Deliveries due: received plus missing.
    pub(crate) expected: u64,
    /// Deliveries, duplicates excluded.
    pub(crate) received: u64,
    pub(crate) missing: u64,
    /// Duplicates.
    pub(crate) repeated: u64,
    /// Deliveries after one with a higher number.
    pub(crate) out_of_order: u64,
    /// Deliveries to a stream that is not subscribed to the topic.
    pub(crate) misrouted: u64,
}

impl Account {
    pub(crate) fn add(&mut self, other: &Self) {
        self.expected += other.expected;
        self.received += other.received;
        self.missing += other.missing;
        self.repeated += other.repeated;
        self.out_of_order += other.out_of_order;
        self.misrouted += other.misrouted;
    }
}
