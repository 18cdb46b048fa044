//! A reader's own owners of batch buffers.
//!
//! A slice of a batch counts a reference to the batch's buffer, and all shards count in the same
//! word: with many cores, that word's cache line moves from core to core with each delivery. So a
//! reader that hands out slices of one batch again and again takes one reference to the buffer, and
//! owns it by a [`Bytes`] of its own, which counts the reader's slices in a word of its own.
//!
//! The first slice of a buffer is taken from the batch itself: a topic with one stream per shard
//! pays no allocation. The second makes the owner. An owner keeps its batch's buffer allocated, so
//! the reader drops its owners when it [quiesces](super::Reader::quiesce).
#![forbid(unsafe_code)]

use std::ops::Range;

use bytes::Bytes;

use crate::event::{Batch, Chunks};

/// Owners that a reader has at once, at most: streams visited one after the other usually read the
/// same few epochs.
const OWNERS_MAX: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Owners {
    /// An epoch's place is its number modulo the length.
    entries: [Entry; OWNERS_MAX],
    /// Whether any entry has an owner.
    any: bool,
}

#[derive(Debug, Default)]
struct Entry {
    /// Address and length of the buffer that was asked for last; it may have been freed since.
    seen: (usize, usize),
    owner: Option<Bytes>,
}

impl Owners {
    /// The chunks of consecutive events of a batch, whose epoch has this number.
    pub(super) fn slice(&mut self, number: u64, batch: &Batch, events: Range<u32>) -> Chunks {
        let entry = &mut self.entries[(number % OWNERS_MAX as u64) as usize];
        let (buffer, range) = (batch.buffer(), batch.byte_range(events));
        let seen = (buffer.as_ptr().addr(), buffer.len());
        match &entry.owner {
            // The owner keeps its buffer allocated, so no other buffer has that address.
            Some(owner) if entry.seen == seen => Chunks::of(owner, range),
            None if entry.seen == seen => {
                let owner = Bytes::from_owner(buffer.clone());
                let slice = Chunks::of(&owner, range);
                (entry.owner, self.any) = (Some(owner), true);
                slice
            }
            _ => {
                *entry = Entry { seen, owner: None };
                Chunks::of(buffer, range)
            }
        }
    }

    /// Gives up all buffers.
    pub(super) fn clear(&mut self) {
        if std::mem::take(&mut self.any) {
            self.entries = Default::default();
        }
    }
}

#[cfg(all(test, not(ring_loom)))]
mod tests {
    use super::*;
    use crate::event::Seq;

    fn batch(text: &'static str) -> Batch {
        Batch::new(text.as_bytes().to_vec().into(), (1..=text.len() as u32).collect(), Seq(1))
    }

    #[test]
    fn slices_are_those_of_the_batch_whichever_batches_alternate() {
        let mut owners = Owners::default();
        let batches = [batch("abcd"), batch("efgh"), batch("ijkl")];
        for round in 0..4 {
            for (number, batch) in (0..).zip(&batches) {
                // All in one entry every second round.
                let number = number * if round % 2 == 0 { 1 } else { OWNERS_MAX as u64 };
                for _ in 0..3 {
                    assert_eq!(owners.slice(number, batch, 1..3), batch.slice(1..3));
                }
            }
        }
    }

    #[test]
    fn an_owner_shares_the_buffer_and_gives_it_up_when_cleared() {
        let (mut owners, batch) = (Owners::default(), batch("abcd"));
        let slices: Vec<_> = (0..3).map(|_| owners.slice(0, &batch, 0..4)).collect();
        assert!(slices.iter().all(|slice| slice.as_ptr() == batch.buffer().as_ptr()));
        drop(slices);
        assert!(!batch.buffer().is_unique(), "the reader owns it");
        owners.clear();
        assert!(batch.buffer().is_unique(), "nothing else owns it");
    }
}
