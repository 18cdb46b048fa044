//! The highest seq published to all rings. A session with several selectors needs it to read their
//! rings in one order.
//!
//! # Ordering
//!
//! | word | writer | readers | what becomes visible |
//! |---|---|---|---|
//! | `Watermark` | sequencer, Release | sessions, Acquire | the epochs up to it, in every ring |
//!
//! Model: `two_rings_are_read_in_one_order`.
//!
//! A batch goes to its rings one after the other. A session that read them meanwhile could see the
//! later event of one ring and not yet the earlier one of another. So it reads the watermark first
//! and takes nothing over it; everything up to it is in every ring already.
#![forbid(unsafe_code)]

use crate::event::Seq;
use crate::sync::{AtomicU64, Ordering};

/// The last seq whose batch is in all of its rings.
#[derive(Debug)]
pub struct Watermark(AtomicU64);

impl Watermark {
    /// Before the first event.
    pub fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Says that every ring has its events up to `seq`. Sequencer only, after the last ring of a
    /// batch.
    pub fn raise(&self, seq: Seq) {
        // Ordering: Release: the tails of this batch's rings before it. Pairs with Acquire in
        // `reached`. Model: two_rings_are_read_in_one_order.
        self.0.store(seq.0, Ordering::Release);
    }

    /// The seq up to which every ring is complete.
    pub fn reached(&self) -> Seq {
        // Ordering: Acquire: the tails that were raised before. Pairs with Release in `raise`.
        // Model: two_rings_are_read_in_one_order.
        Seq(self.0.load(Ordering::Acquire))
    }
}

impl Default for Watermark {
    fn default() -> Self {
        Self::new()
    }
}
