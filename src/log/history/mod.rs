//! The history: recent events, kept for replay. Pure: no I/O, no clock, no threads.
//!
//! It sits in a `RwLock<History>`. The sequencer is its one writer; shards read it in slices whose
//! bounds they choose ([`PageLimit`]), so that nobody holds the lock for long. No call does work in
//! proportion to the whole history.
//!
//! ```text
//! order   seq ──> event       1 ─ 2 ─ 3 ─ 4 ─ 5 ─ 6     every kept event, for `*` and for dropping the oldest
//! topics  topic ──> events    a:  1       4       6     one count each: an event in two topics stays
//!                             b:      2   4   5         while either keeps it
//! ids     custom id ──> seq   "x": 4                    only ids that publishers chose
//! ```
//!
//! A topic always loses its oldest event first, so one number says what is missing of it:
//! `dropped_through`, the highest seq it lost. Resuming after seq S is complete for a topic if and
//! only if S ≥ `dropped_through`. A topic with nothing kept costs nothing: its number then lives in
//! a table of fixed size (see the `topics` module), which may raise a false alarm but never hides a
//! loss.

mod indexes;
mod replay;
mod store;
mod striped_map;
mod topic_index;

#[cfg(test)]
mod tests;

pub use indexes::{EVENT_BYTES, ID_BYTES, PLACE_BYTES, TOPIC_BYTES};
pub use replay::{Gap, Page, PageLimit, Reason, Replay, Reset, Resume};
pub use store::{DROPS_PER_APPEND, Encoded, History, Retention, Stats};
