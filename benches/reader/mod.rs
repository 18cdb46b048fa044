//! A ring reader: a cursor and the last seq read.

use std::hint::black_box;

use fanfare::event::Seq;
use fanfare::ring::{self, Epoch, Read, Ring};

/// One reader of one ring.
#[derive(Clone, Copy)]
pub struct Reader {
    next: u64,
    /// Events of the ring before `next`.
    counted: u64,
    last: Seq,
}

impl Reader {
    /// Reads what is published from now on.
    pub fn new(ring: &Ring) -> Self {
        Self { next: ring.tail(), counted: ring.counted(), last: Seq(0) }
    }

    /// Takes every slice there is, as a session of one selector does; returns how many events they
    /// were.
    pub fn drain(&mut self, ring: &Ring, reader: &ring::Reader) -> u64 {
        let before = self.counted;
        loop {
            let look = |epoch: &Epoch| (epoch.slice_after(self.last), epoch.counted());
            match ring.read(reader, self.next, look) {
                Read::Epoch((Some(slice), counted)) => {
                    self.last = slice.last;
                    if slice.ends_epoch {
                        self.advance(counted);
                    }
                    black_box(slice.bytes);
                }
                Read::Epoch((None, counted)) => self.advance(counted),
                Read::Wait => return self.counted - before,
                Read::Lagged => panic!("a reader that drains after each batch can't lag"),
            }
        }
    }

    fn advance(&mut self, counted: u64) {
        self.next += 1;
        self.counted = counted;
    }
}
