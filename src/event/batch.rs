//! A batch of encoded events: one contiguous, immutable buffer that all readers share.
//!
//! The sequencer takes the events that wait in its queue and encodes them back to back into one
//! buffer (I1). Rings, sessions and sockets hold slices of that buffer; nothing below the encoder
//! copies or formats an event again.

use std::ops::Range;

use bytes::Bytes;

use super::Seq;

/// All events of one sequencer batch: one buffer, encoded once (I1), in seq order without gaps.
#[derive(Debug)]
pub struct Batch {
    buffer: Bytes,
    /// Where each event's chunk ends in `buffer`; it starts where the one before ends.
    ends: Box<[u32]>,
    first: Seq,
}

impl Batch {
    /// A batch of the events from `first` on, whose chunks end at `ends`.
    pub fn new(buffer: Bytes, ends: Box<[u32]>, first: Seq) -> Self {
        debug_assert_eq!(ends.last().map_or(0, |&end| end as usize), buffer.len());
        Self { buffer, ends, first }
    }

    /// Number of events.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether it has no event; the sequencer publishes none such.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The seq of the first event.
    pub fn first(&self) -> Seq {
        self.first
    }

    /// Bytes of the buffer all slices share.
    pub fn bytes(&self) -> usize {
        self.buffer.len()
    }

    /// The chunks of neighbouring events, as they stand.
    pub fn slice(&self, events: Range<u32>) -> Bytes {
        self.buffer.slice(self.byte_range(events))
    }

    /// A copy of one event's chunk that does not keep the batch alive. A lone event owns its buffer
    /// as it is.
    pub fn copy_out(&self, event: u32) -> Bytes {
        match self.len() {
            1 => self.buffer.clone(),
            _ => Bytes::copy_from_slice(&self.buffer[self.byte_range(event..event + 1)]),
        }
    }

    /// Where neighbouring events stand in the buffer.
    fn byte_range(&self, events: Range<u32>) -> Range<usize> {
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

    /// The least index whose seq is over `seq`; past the end if there is none.
    pub(crate) fn index_after(&self, seq: Seq) -> u32 {
        let over = (seq.0 + 1).saturating_sub(self.first.0);
        u32::try_from(over).unwrap_or(u32::MAX)
    }
}
