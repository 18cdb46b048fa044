//! loom model of a live opening. Run with `make model`.

use std::num::NonZeroUsize;
use std::sync::Arc;

use loom::thread;

use crate::event::{Batch, Seq};
use crate::log::Appended;
use crate::ring::{EventIndices, Ring};

/// A stream that takes its cursors and then reads the log's last seq starts at one seq in all of
/// its rings: no epoch before a cursor is above it.
#[test]
fn a_live_stream_starts_at_one_seq_in_all_rings() {
    loom::model(|| {
        let window = NonZeroUsize::new(4).expect("a window");
        let rings: [Arc<Ring>; 2] = [Arc::new(Ring::new(window)), Arc::new(Ring::new(window))];
        let appended = Arc::new(Appended::default());
        let session = {
            let (rings, appended) = (rings.clone(), Arc::clone(&appended));
            thread::spawn(move || {
                let cursors = rings.map(|ring| ring.tail());
                let last_seq = appended.last_seq().0;
                for (cursor, first) in cursors.into_iter().zip(1..) {
                    // Epoch `n` of ring 1 has seq 1 + 2n, of ring 2 seq 2 + 2n.
                    let newest = if cursor == 0 { 0 } else { first + 2 * (cursor - 1) };
                    assert!(newest <= last_seq, "seq {newest} is before a cursor and not skipped");
                }
            })
        };
        for seq in 1..=3 {
            appended.raise(Seq(seq));
            let batch = Arc::new(Batch::new("x".into(), Box::new([1]), Seq(seq)));
            rings[(seq as usize - 1) % 2].publish(&batch, EventIndices::Range(0..1));
        }
        session.join().expect("the session");
    });
}
