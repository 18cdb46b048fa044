//! One line that moves while the tool works; nothing where nobody looks.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::table::grouped;
use crate::run::record::Record;

/// Between two redraws.
const REDRAW_INTERVAL: Duration = Duration::from_millis(200);

/// The line.
pub struct Progress {
    bar: ProgressBar,
    phase: &'static str,
    shown: Instant,
    deliveries: u64,
    streams: u64,
}

impl Progress {
    /// On standard error, with `label` in front; hidden if `quiet` or not a terminal.
    pub fn new(label: &str, quiet: bool) -> Self {
        let target =
            if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(None, target);
        let style = ProgressStyle::with_template("{spinner} {prefix} {elapsed:>4} {wide_msg}")
            .expect("the template is constant and valid");
        bar.set_style(style);
        bar.set_prefix(label.to_owned());
        Self { bar, phase: "", shown: Instant::now(), deliveries: 0, streams: 0 }
    }

    /// A new phase begins.
    pub fn phase(&mut self, phase: &'static str) {
        self.phase = phase;
        self.bar.set_message(phase);
    }

    /// Shows how things stand.
    pub fn show(&mut self, record: &Record) {
        let span = self.shown.elapsed();
        if span < REDRAW_INTERVAL {
            return;
        }
        self.shown = Instant::now();
        let rate =
            |now: u64, before: u64| (now.saturating_sub(before) as f64 / span.as_secs_f64()) as u64;
        let (streams, deliveries) = (record.present(), record.deliveries);
        let mut message = format!("{}: {} streams", self.phase, grouped(streams));
        if streams > self.streams {
            message += &format!(" (+{}/s)", grouped(rate(streams, self.streams)));
        }
        if deliveries > 0 {
            message += &format!(", {} deliveries/s", grouped(rate(deliveries, self.deliveries)));
            message += &format!(
                ", p50 {:.1} ms, p99 {:.1} ms",
                record.latency.at(50.0),
                record.latency.at(99.0)
            );
        }
        if record.sent > 0 {
            message += &format!(", {} published", grouped(record.sent));
        }
        (self.streams, self.deliveries) = (streams, deliveries);
        self.bar.set_message(message);
        self.bar.tick();
    }

    /// Takes the line away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
