//! Epoch rings: per selector, a single-writer ring buffer of recent epochs that sessions read
//! without a lock, and the wake-ups that tell shards to read.
//!
//! Files, in dependency order: `slot` (an atomically replaceable `Arc`), `epoch` (one batch's
//! events in one ring), `epoch_ring` (the buffer), `watermark` (the seq up to which all rings are
//! complete), `wake` (a shard's mailbox of rings to read), `registry` (which rings exist, and who
//! reads them).
#![cfg_attr(not(test), forbid(unsafe_code))]

mod epoch;
mod epoch_ring;
#[cfg(all(test, ring_loom))]
mod model;
mod registry;
mod slot;
mod wake;
mod watermark;

pub use epoch::{Epoch, EventIndices, Slice};
pub use epoch_ring::{Read, Ring};
pub use registry::{Registry, RingsFull};
pub use wake::{Mailbox, PendingWakes, RingWaker};
pub use watermark::Watermark;
