//! When the next event is due. Pure.

use std::collections::VecDeque;

use super::Command;

/// The schedule.
#[derive(Debug, Default)]
pub(super) struct Drive {
    /// Events due at one time: how many are left of each grant.
    granted: VecDeque<(u64, u64)>,
    pace: Pace,
}

#[derive(Debug, Default)]
enum Pace {
    #[default]
    None,
    Rate {
        start: u64,
        interval: u64,
        next: u64,
        count: u64,
        until: u64,
    },
    Flat {
        left: u64,
        until: u64,
    },
}

impl Drive {
    pub(super) fn obey(&mut self, command: Command) {
        match command {
            Command::Send { count, due } => self.granted.push_back((count, due)),
            Command::Rate { start, interval, count, until } => {
                self.pace = Pace::Rate { start, interval, next: 0, count, until };
            }
            Command::Flat { count, until } => self.pace = Pace::Flat { left: count, until },
            Command::Finish | Command::Abort => *self = Self::default(),
        }
    }

    /// Takes the next event if it is due, and says when it was.
    pub(super) fn take(&mut self, now: u64) -> Option<u64> {
        if let Some((left, due)) = self.granted.front_mut() {
            *left -= 1;
            let due = *due;
            if *left == 0 {
                self.granted.pop_front();
            }
            return Some(due);
        }
        let due = self.due(now).filter(|&due| due <= now)?;
        match &mut self.pace {
            Pace::Rate { next, .. } => *next += 1,
            Pace::Flat { left, .. } => *left -= 1,
            Pace::None => {}
        }
        Some(due)
    }

    /// When the next event is due, if there is one.
    pub(super) fn due(&self, now: u64) -> Option<u64> {
        if let Some(&(_, due)) = self.granted.front() {
            return Some(due);
        }
        match self.pace {
            Pace::None => None,
            Pace::Rate { start, interval, next, count, until } => {
                let due = start + next * interval;
                (next < count && due < until).then_some(due)
            }
            Pace::Flat { left, until } => (left > 0 && now < until).then_some(now),
        }
    }

    /// True if a pace was given and has come to its end; true once.
    pub(super) fn exhausted(&mut self, now: u64) -> bool {
        let over = !matches!(self.pace, Pace::None) && self.due(now).is_none();
        if over {
            self.pace = Pace::None;
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_stays_on_schedule_however_late_it_is_asked() {
        let mut drive = Drive::default();
        drive.obey(Command::Rate { start: 100, interval: 10, count: u64::MAX, until: 140 });
        assert_eq!(drive.take(99), None);
        assert_eq!(
            [1000, 1000, 1000, 1000].map(|now| drive.take(now)),
            [100, 110, 120, 130].map(Some)
        );
        assert_eq!(drive.take(1000), None);
        assert!(drive.exhausted(1000));
        assert!(!drive.exhausted(1000));
    }

    #[test]
    fn a_grant_is_taken_as_often_as_granted() {
        let mut drive = Drive::default();
        drive.obey(Command::Send { count: 2, due: 5 });
        assert_eq!([drive.take(9), drive.take(9), drive.take(9)], [Some(5), Some(5), None]);
    }

    #[test]
    fn flat_out_is_due_whenever_asked() {
        let mut drive = Drive::default();
        drive.obey(Command::Flat { count: 2, until: 50 });
        assert_eq!([drive.take(7), drive.take(8), drive.take(9)], [Some(7), Some(8), None]);
        assert!(drive.exhausted(10));
    }
}
