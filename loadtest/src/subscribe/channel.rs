//! The parent's commands, and the way to answer.

use std::io::Write as _;

use super::message::{FromWorker, ToWorker};
use super::stream::Schedule;
use super::worker::Worker;
use crate::measure::clock;

impl Worker {
    pub(super) fn read_commands(&mut self) {
        let mut chunk = [0; 16 * 1024];
        match rustix::io::read(std::io::stdin(), &mut chunk) {
            // The parent is gone: so is the reason to run.
            Ok(0) => self.reporting = true,
            Ok(len) => self.input.extend_from_slice(&chunk[..len]),
            Err(_) => return,
        }
        while let Some(end) = memchr::memchr(b'\n', &self.input) {
            let line: Vec<u8> = self.input.drain(..=end).collect();
            match serde_json::from_slice(&line) {
                Ok(command) => self.obey(command),
                Err(_) => self.reporting = true,
            }
        }
    }

    pub(super) fn obey(&mut self, command: ToWorker) {
        match command {
            ToWorker::Schedule { start, interval } => {
                self.schedule = Some(Schedule { start, interval })
            }
            ToWorker::Churn { rate } => {
                (self.churn, self.churn_since, self.churned) = (rate, clock::now(), 0);
            }
            ToWorker::Storm { back, last_due } => self.storm(back, last_due),
            ToWorker::Finish { ends, excused } => self.expect_no_more(ends, excused),
            ToWorker::Report => self.reporting = true,
        }
    }

    pub(super) fn tell(&self, message: &FromWorker) {
        let mut line = serde_json::to_vec(message).expect("messages are plain data");
        line.push(b'\n');
        let mut out = std::io::stdout().lock();
        // A parent that is gone is noticed at the next read.
        let _ = out.write_all(&line).and_then(|()| out.flush());
    }
}
