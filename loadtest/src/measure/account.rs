//! Delivery counts: expected, received, and what went wrong; and what became of the streams.

use serde::{Deserialize, Serialize};

/// Delivery counts of a set of streams.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Account {
    /// Deliveries due: received plus missing.
    pub(crate) expected: u64,
    /// Deliveries, duplicates excluded.
    pub(crate) received: u64,
    pub(crate) missing: u64,
    /// Part of `missing`: the server has told the stream that events are missing there.
    #[serde(default)]
    pub(crate) announced: u64,
    /// Duplicates.
    pub(crate) repeated: u64,
    /// Deliveries after one that the same connection of the publisher sent later, or, with several
    /// connections, after one with a higher id.
    pub(crate) out_of_order: u64,
    /// Deliveries to a stream that is not subscribed to the topic.
    pub(crate) misrouted: u64,
}

impl Account {
    /// Missing events the server has not announced.
    pub(crate) fn silent(&self) -> u64 {
        self.missing - self.announced
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.expected += other.expected;
        self.received += other.received;
        self.missing += other.missing;
        self.announced += other.announced;
        self.repeated += other.repeated;
        self.out_of_order += other.out_of_order;
        self.misrouted += other.misrouted;
    }
}

/// What became of the streams that had been opened when counting began. A stream may count several
/// times.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fates {
    pub(crate) watched: u64,
    /// Never lost their connection, except on purpose by the scenario.
    pub(crate) stayed: u64,
    /// Lost their connection, or were without one when counting began.
    pub(crate) ended: u64,
    /// Were open again at the end.
    pub(crate) reconnected: u64,
    /// Received `lagged`, or `reset`.
    pub(crate) lagged: u64,
    pub(crate) reset: u64,
    /// Miss events, all or some of them without an announcement.
    pub(crate) missing_silently: u64,
    /// Miss events, all of them announced.
    pub(crate) missing_announced: u64,
}

impl Fates {
    pub(crate) fn add(&mut self, other: &Self) {
        self.watched += other.watched;
        self.stayed += other.stayed;
        self.ended += other.ended;
        self.reconnected += other.reconnected;
        self.lagged += other.lagged;
        self.reset += other.reset;
        self.missing_silently += other.missing_silently;
        self.missing_announced += other.missing_announced;
    }
}
