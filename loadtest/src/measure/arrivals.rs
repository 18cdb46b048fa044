//! Per event: how many streams have it, and when the last of them had it. Pure.

/// Events beyond this are not tallied singly: a bound on memory, 16 MiB.
const EVENTS_MAX: u64 = 1 << 20;

/// One event's arrivals.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Streams that have it.
    pub count: u64,
    /// When the latest of them had it.
    pub last: u64,
}

/// The tallies of one topic, by number.
#[derive(Debug, Default)]
pub struct Tallies(Vec<Tally>);

impl Tallies {
    /// Notes an arrival and returns how many streams have the event now.
    pub fn note(&mut self, number: u64, now: u64) -> u64 {
        if number >= EVENTS_MAX {
            return 0;
        }
        let index = number as usize;
        if index >= self.0.len() {
            self.0.resize(index + 1, Tally::default());
        }
        let tally = &mut self.0[index];
        tally.count += 1;
        tally.last = now;
        tally.count
    }

    /// The newest events that at least `streams` have.
    pub fn held_by(&self, streams: u64) -> impl Iterator<Item = (u64, Tally)> {
        let newest = self.0.iter().enumerate().rev().take(64);
        newest
            .filter(move |(_, t)| t.count >= streams)
            .map(|(number, tally)| (number as u64, *tally))
    }
}
