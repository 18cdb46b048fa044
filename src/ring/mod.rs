//! Epoch rings: per selector, a single-writer ring buffer of recent epochs that sessions read
//! without a lock, and the wake-ups that tell shards to read.
//!
//! Files, in dependency order: `reclaim` (when what has left a ring is freed), `owners` (buffers
//! that a reader counts for itself), `reader` (a thread's right to look), `slot` (a pointer to what
//! is looked at), `epoch` (one batch's events in one ring), `epoch_ring` (the buffer), `watermark`
//! (the seq up to which all rings are complete), `wake` (a shard's mailbox of rings to read),
//! `registry` (which rings exist, and who reads them). `slot` and `epoch_ring` have unsafe code.

mod epoch;
mod epoch_ring;
#[cfg(all(test, ring_loom))]
mod model;
mod owners;
mod reader;
mod reclaim;
mod registry;
mod slot;
mod wake;
mod watermark;

pub use epoch::{Epoch, EventIndices, Slice};
pub use epoch_ring::{Read, Ring};
pub use reader::Reader;
pub(crate) use reclaim::SCAN_BYTES;
pub use registry::{Placed, Registry, RingsFull};
pub use wake::{Mailbox, PendingWakes, RingWaker};
pub use watermark::Watermark;
