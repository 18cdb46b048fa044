//! The publishing schedule: when the next event is due.

use std::collections::VecDeque;

use super::message::Command;

#[derive(Debug, Default)]
pub(super) struct Schedule {
    /// Batches: events left and due time.
    batches: VecDeque<(u64, u64)>,
    pace: Pace,
}

#[derive(Debug, Default)]
enum Pace {
    #[default]
    None,
    Rate {
        start: u64,
        interval: u64,
        /// When the next event is due.
        due: u64,
        left: u64,
        until: u64,
        alternate: u64,
    },
    Unlimited {
        left: u64,
        until: u64,
    },
}

impl Schedule {
    pub(super) fn apply(&mut self, command: Command) {
        match command {
            Command::Batch { count, due } => self.batches.push_back((count, due)),
            Command::Rate { start, interval, count, until, alternate } => {
                let due = next_open(start, start, alternate);
                self.pace = Pace::Rate { start, interval, due, left: count, until, alternate };
            }
            Command::Unlimited { count, until } => {
                self.pace = Pace::Unlimited { left: count, until };
            }
            Command::Finish | Command::Abort => *self = Self::default(),
        }
    }

    /// Takes the next event if it is due; returns its due time.
    pub(super) fn take(&mut self, now: u64) -> Option<u64> {
        if let Some((left, due)) = self.batches.front_mut() {
            *left -= 1;
            let due = *due;
            if *left == 0 {
                self.batches.pop_front();
            }
            return Some(due);
        }
        let due = self.next_due(now).filter(|&due| due <= now)?;
        match &mut self.pace {
            Pace::Rate { start, interval, due, left, alternate, .. } => {
                *left -= 1;
                *due = next_open(*start, *due + *interval, *alternate);
            }
            Pace::Unlimited { left, .. } => *left -= 1,
            Pace::None => {}
        }
        Some(due)
    }

    pub(super) fn next_due(&self, now: u64) -> Option<u64> {
        if let Some(&(_, due)) = self.batches.front() {
            return Some(due);
        }
        match self.pace {
            Pace::None => None,
            Pace::Rate { due, left, until, .. } => (left > 0 && due < until).then_some(due),
            Pace::Unlimited { left, until } => (left > 0 && now < until).then_some(now),
        }
    }

    /// True once, when a `Rate` or `Unlimited` command has come to its end.
    pub(super) fn take_exhausted(&mut self, now: u64) -> bool {
        let ended = !matches!(self.pace, Pace::None) && self.next_due(now).is_none();
        if ended {
            self.pace = Pace::None;
        }
        ended
    }
}

/// The first time from `due` on that is in an odd period of length `alternate` since `start`.
fn next_open(start: u64, due: u64, alternate: u64) -> u64 {
    match (due - start).checked_div(alternate) {
        Some(period) if period.is_multiple_of(2) => start + (period + 1) * alternate,
        _ => due,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_stays_on_schedule_when_polled_late() {
        let mut schedule = Schedule::default();
        let (count, alternate) = (u64::MAX, 0);
        schedule.apply(Command::Rate { start: 100, interval: 10, count, until: 140, alternate });
        assert_eq!(schedule.take(99), None);
        assert_eq!(
            [1000, 1000, 1000, 1000].map(|now| schedule.take(now)),
            [100, 110, 120, 130].map(Some)
        );
        assert_eq!(schedule.take(1000), None);
        assert!(schedule.take_exhausted(1000));
        assert!(!schedule.take_exhausted(1000));
    }

    #[test]
    fn an_alternating_rate_skips_every_other_period() {
        let mut schedule = Schedule::default();
        let (count, alternate) = (u64::MAX, 25);
        schedule.apply(Command::Rate { start: 100, interval: 10, count, until: 200, alternate });
        let dues: Vec<u64> = std::iter::from_fn(|| schedule.take(1000)).collect();
        assert_eq!(dues, [125, 135, 145, 175, 185, 195]);
    }

    #[test]
    fn a_batch_is_taken_event_by_event() {
        let mut schedule = Schedule::default();
        schedule.apply(Command::Batch { count: 2, due: 5 });
        assert_eq!(
            [schedule.take(9), schedule.take(9), schedule.take(9)],
            [Some(5), Some(5), None]
        );
    }

    #[test]
    fn unlimited_is_due_whenever_polled() {
        let mut schedule = Schedule::default();
        schedule.apply(Command::Unlimited { count: 2, until: 50 });
        assert_eq!(
            [schedule.take(7), schedule.take(8), schedule.take(9)],
            [Some(7), Some(8), None]
        );
        assert!(schedule.take_exhausted(10));
    }
}
