//! One ring's share of a batch: an immutable record that says which events of the [`Batch`] the
//! ring's selector covers.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;

use super::owners::Owners;
use super::reclaim::Footprint;
use crate::event::{Batch, Chunks, Seq};

/// Which events of a batch go to a ring, by index into the batch.
#[derive(Debug)]
pub enum EventIndices {
    /// Neighbouring events.
    Range(Range<u32>),
    /// Any events, ascending.
    List(Box<[u32]>),
}

impl EventIndices {
    /// Builds from ascending, distinct indices; at least one.
    pub fn of(indices: &[u32]) -> Self {
        let (first, last) = (indices[0], indices[indices.len() - 1]);
        if (last - first) as usize == indices.len() - 1 {
            Self::Range(first..last + 1)
        } else {
            Self::List(indices.into())
        }
    }

    /// Bytes of memory besides the value itself.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Range(_) => 0,
            Self::List(list) => size_of_val::<[u32]>(list),
        }
    }

    fn len(&self) -> u64 {
        match self {
            Self::Range(range) => u64::from(range.end - range.start),
            Self::List(list) => list.len() as u64,
        }
    }

    /// The first neighbouring events at or above index `from`.
    fn range_from(&self, from: u32) -> Option<Range<u32>> {
        match self {
            Self::Range(range) => {
                let start = range.start.max(from);
                (start < range.end).then_some(start..range.end)
            }
            Self::List(list) => {
                let list = &list[list.partition_point(|&index| index < from)..];
                let start = *list.first()?;
                let same =
                    list.iter().zip(start..).take_while(|(index, next)| *index == next).count();
                Some(start..start + same as u32)
            }
        }
    }

    fn last(&self) -> u32 {
        match self {
            Self::Range(range) => range.end - 1,
            Self::List(list) => list[list.len() - 1],
        }
    }
}

/// The events of one batch that were published to one ring. A ring's slot holds one epoch.
#[derive(Debug)]
pub(super) struct EpochData {
    /// Position in the ring, from 0.
    pub(super) number: u64,
    /// Events published to the ring up to and including this epoch.
    pub(super) counted: u64,
    batch: Arc<Batch>,
    indices: EventIndices,
}

/// An epoch that a [`Reader`](super::Reader) looks at.
pub struct Epoch<'a> {
    pub(super) data: &'a EpochData,
    pub(super) owners: Option<&'a RefCell<Owners>>,
}

/// Neighbouring events of an epoch. Their seqs have no gap, so a merge of rings never has to look
/// inside a slice.
#[derive(Debug, PartialEq, Eq)]
pub struct Slice {
    /// The encoded events.
    pub bytes: Chunks,
    /// The seq of the last event.
    pub last: Seq,
    /// Whether the slice ends with the epoch's last event.
    pub ends_epoch: bool,
}

impl EpochData {
    pub(super) fn new(
        number: u64,
        counted_before: u64,
        batch: Arc<Batch>,
        indices: EventIndices,
    ) -> Self {
        Self { number, counted: counted_before + indices.len(), batch, indices }
    }

    /// The seq of the first event of the whole batch.
    pub(super) fn batch_first(&self) -> Seq {
        self.batch.first()
    }

    fn range_after(&self, last: Seq) -> Option<Range<u32>> {
        self.indices.range_from(self.batch.index_after(last))
    }
}

impl Footprint for EpochData {
    fn footprint(&self) -> (usize, usize) {
        (self.batch.buffer().as_ptr().addr(), self.batch.bytes())
    }
}

impl Epoch<'_> {
    /// The seq of the first event of the whole batch.
    pub fn batch_first(&self) -> Seq {
        self.data.batch_first()
    }

    /// Events published to the ring up to and including this epoch.
    pub fn counted(&self) -> u64 {
        self.data.counted
    }

    /// The seq of the first event after `last`.
    pub fn next_after(&self, last: Seq) -> Option<Seq> {
        let range = self.data.range_after(last)?;
        Some(self.data.batch.seq(range.start))
    }

    /// The seq of the last event.
    pub fn last(&self) -> Seq {
        self.data.batch.seq(self.data.indices.last())
    }

    /// The next neighbouring events after `last`.
    pub fn slice_after(&self, last: Seq) -> Option<Slice> {
        let EpochData { number, batch, indices, .. } = self.data;
        let range = self.data.range_after(last)?;
        let (last, ends_epoch) = (range.end - 1, range.end - 1 == indices.last());
        let bytes = match self.owners {
            Some(owners) => owners.borrow_mut().slice(*number, batch, range),
            None => batch.slice(range),
        };
        Some(Slice { last: batch.seq(last), bytes, ends_epoch })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    /// A batch whose event `i` is the one byte `a + i`.
    pub(crate) fn letters(first: u64, n: u32) -> Arc<Batch> {
        let buffer: Vec<u8> = (0..n).map(|i| b'a' + (i % 26) as u8).collect();
        Arc::new(Batch::new(buffer.into(), (1..=n).collect(), Seq(first)))
    }

    fn epoch(data: &EpochData) -> Epoch<'_> {
        Epoch { data, owners: None }
    }

    #[test]
    fn neighbouring_events_are_one_slice() {
        let data = EpochData::new(0, 0, letters(10, 4), EventIndices::of(&[1, 2, 3]));
        let epoch = epoch(&data);
        let slice = |bytes: &'static str, ends_epoch| {
            Some(Slice { bytes: Bytes::from(bytes).into(), last: Seq(13), ends_epoch })
        };
        assert_eq!(epoch.slice_after(Seq(0)), slice("bcd", true));
        assert_eq!(epoch.slice_after(Seq(11)), slice("cd", true));
        assert_eq!(epoch.slice_after(Seq(13)), None);
        assert_eq!(epoch.next_after(Seq(0)), Some(Seq(11)));
        assert_eq!(epoch.counted(), 3);
    }

    proptest! {
        #[test]
        fn slices_cover_exactly_the_events_of_the_epoch(
            first in 1u64..1_000_000, picked in proptest::collection::btree_set(0u32..40, 1..40),
            last in 0u64..60,
        ) {
            let indices: Vec<u32> = picked.iter().copied().collect();
            let data = EpochData::new(0, 0, letters(first, 40), EventIndices::of(&indices));
            let epoch = epoch(&data);
            let mut last = Seq((first + last).saturating_sub(10));
            let expected: Vec<u8> = indices.iter()
                .filter(|&&i| first + u64::from(i) > last.0)
                .map(|i| b'a' + (i % 26) as u8).collect();
            let mut seen = Vec::new();
            while let Some(slice) = epoch.slice_after(last) {
                let first = slice.last.0 + 1 - slice.bytes.len() as u64;
                prop_assert_eq!(epoch.next_after(last), Some(Seq(first)));
                last = slice.last;
                prop_assert_eq!(slice.ends_epoch, epoch.slice_after(last).is_none());
                seen.extend_from_slice(&slice.bytes);
            }
            prop_assert_eq!(seen, expected);
        }
    }
}
