//! Per event: how many streams have received it, and when the last of them did.

/// Events beyond this number are not counted; bounds the table to 16 MiB.
const EVENTS_MAX: u64 = 1 << 20;
/// Events [`ArrivalTable::received_by`] looks back.
const LOOKBACK_EVENTS: usize = 64;

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Arrivals {
    /// Streams that have received the event.
    pub(crate) count: u64,
    pub(crate) last_at: u64,
}

/// The arrivals of one topic's events, indexed by event number.
#[derive(Debug, Default)]
pub(crate) struct ArrivalTable(Vec<Arrivals>);

impl ArrivalTable {
    /// Counts an arrival; returns how many streams have received the event so far.
    pub(crate) fn record(&mut self, number: u64, now: u64) -> u64 {
        if number >= EVENTS_MAX {
            return 0;
        }
        let index = number as usize;
        if index >= self.0.len() {
            self.0.resize(index + 1, Arrivals::default());
        }
        let arrivals = &mut self.0[index];
        arrivals.count += 1;
        arrivals.last_at = now;
        arrivals.count
    }

    /// The newest events that at least `streams` streams have received.
    pub(crate) fn received_by(&self, streams: u64) -> impl Iterator<Item = (u64, Arrivals)> {
        let newest = self.0.iter().enumerate().rev().take(LOOKBACK_EVENTS);
        newest
            .filter(move |(_, arrivals)| arrivals.count >= streams)
            .map(|(number, arrivals)| (number as u64, *arrivals))
    }
}
