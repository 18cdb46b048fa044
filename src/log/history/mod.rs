//! In-memory event store with keyset pagination: recent events, retained for replay.
//!
//! A pure data structure: no I/O, no clock, no threads. [`Log`](super::Log) keeps it in a
//! `RwLock`. The sequencer is its only writer; shards read it in pages whose size they bound
//! ([`PageLimit`]), so that no reader holds the lock for long. No call does work in proportion to
//! the number of stored events.
//!
//! Events are stored once and indexed three times:
//!
//! ```text
//! by seq    B-tree        1 ─ 2 ─ 3 ─ 4 ─ 5 ─ 6   every stored event: serves `*`, finds the oldest
//! by topic  hash map of   a:  1       4       6   an event with two topics is stored until both
//!           queues        b:      2   4   5       queues have evicted it
//! by id     hash map      "x": 4                  only ids chosen by publishers
//! ```
//!
//! # Completeness of a replay
//!
//! A topic always evicts its oldest event first, so one number describes what it has lost:
//! `evicted_through`, the highest seq it has evicted. A replay after seq S is complete for a topic
//! if and only if S ≥ `evicted_through`. A topic without stored events has no entry: its number
//! moves to the loss table (`losses`), whose size is bounded. It may report a loss that did not
//! happen, of a topic that expired long ago, but never hides one.
//!
//! `*` covers events that leave out of seq order; `evictions` answers for it. A replay that begins
//! incomplete (after a reset, or from the earliest event) remembers what had been evicted by then:
//! only what is evicted later is a [`Gap`].
//!
//! # Files, in dependency order
//!
//! | file | content |
//! |---|---|
//! | `striped_map` | hash map whose stripes grow one at a time |
//! | `evictions` | the highest seq evicted since an eviction |
//! | `indexes` | the stored event and its memory cost; index by seq, index by publisher's id |
//! | `losses` | what topics without stored events have lost |
//! | `topic_index` | index by topic |
//! | `store` | [`History`]: append, retention limits, eviction |
//! | `gap` | what a replay has lost |
//! | `replay` | resume positions, pages |

mod evictions;
mod gap;
mod indexes;
mod losses;
mod replay;
mod store;
mod striped_map;
mod topic_index;

#[cfg(test)]
mod tests;

pub use gap::{Gap, Replay};
pub use replay::{Page, PageLimit, Reason, Reset, Resume};
pub use store::{EVICTIONS_PER_APPEND, Encoded, History, Retention, Stats};
