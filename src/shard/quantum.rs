//! The pump's quantum: how many streams it visits before it yields to the shard's other tasks.
//!
//! Usually `FANFARE_QUANTUM_STREAMS`. While events are published on the shard it is shorter. With
//! whole quanta, a publisher that waits for each response publishes once per quantum, so each of
//! its events costs every stream a send of its own; the events of a faster publisher would share
//! one. A short quantum grows with the events published since the last one, up to a whole quantum,
//! so that publishing does not crowd out the streams.

/// A short quantum is this part of a whole one.
const PARTS: usize = 8;

/// Quanta that are short after the last event published here.
const SHORT_QUANTA: usize = 4;

/// Streams that a quantum visits at least for each event published since the last one: sending to
/// them takes longer than publishing the event.
const STREAMS_PER_PUBLISH: usize = 4;

#[derive(Debug)]
pub(super) struct Quantum {
    streams_max: usize,
    /// How many of the next quanta are short.
    short: usize,
}

impl Quantum {
    pub(super) fn new(streams_max: usize) -> Self {
        Self { streams_max, short: 0 }
    }

    /// Streams in the current quantum, with `published` events since the last one.
    pub(super) fn streams(&self, published: usize) -> usize {
        if published == 0 && self.short == 0 {
            return self.streams_max;
        }
        let short = (self.streams_max / PARTS).max(STREAMS_PER_PUBLISH * published);
        short.clamp(1, self.streams_max)
    }

    /// Ends the quantum.
    pub(super) fn end(&mut self, published: usize) {
        if published > 0 {
            self.short = SHORT_QUANTA;
        }
        self.short = self.short.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quanta_grow_with_the_events_published_and_are_whole_again_after_some() {
        let mut quantum = Quantum::new(128);
        assert_eq!(quantum.streams(0), 128);
        let mut seen = Vec::new();
        for published in [10, 0, 0, 0, 0, 0] {
            seen.push(quantum.streams(published));
            quantum.end(published);
        }
        assert_eq!(seen, [40, 16, 16, 16, 128, 128]);
        assert_eq!(quantum.streams(1000), 128);
    }
}
