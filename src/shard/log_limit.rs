//! Rate limit of log lines that clients can cause at will.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

/// Least time between two lines of one kind.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Drops lines within [`LOG_INTERVAL`] of the last one.
#[derive(Default)]
pub(super) struct LogLimit {
    at: Cell<Option<Instant>>,
    count: Cell<u64>,
}

impl LogLimit {
    /// Counts what the lines are about; those that are written say how often it has happened.
    pub(super) fn count(&self, line: impl FnOnce(u64)) {
        let count = self.count.get() + 1;
        self.count.set(count);
        self.log(|| line(count));
    }

    pub(super) fn log(&self, line: impl FnOnce()) {
        if self.at.get().is_none_or(|at| at.elapsed() >= LOG_INTERVAL) {
            self.at.set(Some(Instant::now()));
            line();
        }
    }
}
