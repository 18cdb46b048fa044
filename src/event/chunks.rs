//! Encoded events on their way to a socket: a slice of a buffer, and which buffer it keeps alive.
//!
//! A slice of a batch keeps the whole batch alive. A stream that can't send it at once has to know
//! how much that is (`conn::unsent`), which [`Bytes`] doesn't tell.

use std::ops::Deref;

use bytes::Bytes;

/// Whole chunks of consecutive events, or what is left of them.
#[derive(Clone, Debug)]
pub struct Chunks {
    bytes: Bytes,
    /// Where the buffer begins: its identity while `bytes` keeps it alive.
    buffer: usize,
    buffer_bytes: usize,
}

impl Chunks {
    /// A part of `buffer`.
    pub(crate) fn of(buffer: &Bytes, range: std::ops::Range<usize>) -> Self {
        let (buffer_bytes, start) = (buffer.len(), buffer.as_ptr() as usize);
        Self { bytes: buffer.slice(range), buffer: start, buffer_bytes }
    }

    /// The same without its first `sent` bytes.
    pub(crate) fn after(&self, sent: usize) -> Self {
        Self { bytes: self.bytes.slice(sent..), ..*self }
    }

    /// The address of the buffer, and its size.
    pub(crate) fn buffer(&self) -> (usize, usize) {
        (self.buffer, self.buffer_bytes)
    }

    /// The bytes alone.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }
}

/// Bytes that are all of their buffer.
impl From<Bytes> for Chunks {
    fn from(bytes: Bytes) -> Self {
        let (buffer, buffer_bytes) = (bytes.as_ptr() as usize, bytes.len());
        Self { bytes, buffer, buffer_bytes }
    }
}

impl Deref for Chunks {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl PartialEq for Chunks {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Chunks {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_buffer_stays_the_same_however_much_of_it_is_left() {
        let buffer = Bytes::from(vec![7; 100]);
        let part = Chunks::of(&buffer, 20..60);
        let whole = Chunks::from(buffer.clone());
        assert_eq!((part.len(), part.buffer()), (40, whole.buffer()));
        let rest = part.after(39);
        assert_eq!((rest.len(), rest.buffer()), (1, (buffer.as_ptr() as usize, 100)));
        assert_eq!(part.into_bytes(), buffer.slice(20..60));
    }
}
