//! Batch of encoded events: one contiguous, immutable, reference-counted buffer.
//!
//! The sequencer encodes the events of a batch back to back into one buffer (I1). Rings, sessions
//! and sockets share slices of it; nothing below the encoder copies or formats an event again.

use std::ops::Range;

use bytes::Bytes;

use super::chunks::Chunks;
use super::id::Seq;

/// The encoded events of one batch, in seq order without gaps.
#[derive(Debug)]
pub struct Batch {
    buffer: Bytes,
    /// End offset of each event's chunk in `buffer`; a chunk starts where the previous one ends.
    ends: Box<[u32]>,
    first: Seq,
}

#[expect(clippy::len_without_is_empty, reason = "a batch is never empty")]
impl Batch {
    /// A batch whose first event has seq `first` and whose chunks end at the offsets `ends`.
    pub fn new(buffer: Bytes, ends: Box<[u32]>, first: Seq) -> Self {
        debug_assert_eq!(ends.last().map_or(0, |&end| end as usize), buffer.len());
        Self { buffer, ends, first }
    }

    /// Number of events.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// The seq of the first event.
    pub fn first(&self) -> Seq {
        self.first
    }

    /// Size of the buffer in bytes.
    pub fn bytes(&self) -> usize {
        self.buffer.len()
    }

    /// The chunks of consecutive events, without copying.
    pub fn slice(&self, events: Range<u32>) -> Chunks {
        Chunks::of(&self.buffer, self.byte_range(events))
    }

    /// A copy of one event's chunk that doesn't keep the batch's buffer alive. A batch of one event
    /// shares its buffer instead, which holds nothing else.
    pub(crate) fn copy_out(&self, event: u32) -> Bytes {
        match self.len() {
            1 => self.buffer.clone(),
            _ => Bytes::copy_from_slice(&self.buffer[self.byte_range(event..event + 1)]),
        }
    }

    /// The encoded events.
    pub(crate) fn buffer(&self) -> &Bytes {
        &self.buffer
    }

    /// Where the chunks of consecutive events are in the buffer.
    pub(crate) fn byte_range(&self, events: Range<u32>) -> Range<usize> {
        let start = match events.start {
            0 => 0,
            index => self.ends[index as usize - 1],
        };
        let end = self.ends[events.end as usize - 1];
        start as usize..end as usize
    }

    pub(crate) fn seq(&self, index: u32) -> Seq {
        Seq(self.first.0 + u64::from(index))
    }

    /// The lowest index whose seq is greater than `seq`; past the end if there is none.
    pub(crate) fn index_after(&self, seq: Seq) -> u32 {
        let index = (seq.0 + 1).saturating_sub(self.first.0);
        u32::try_from(index).unwrap_or(u32::MAX)
    }
}
