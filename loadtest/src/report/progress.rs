//! The progress line on standard error.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::rows::grouped;
use crate::measure::latency::Latency;

const REDRAW_INTERVAL: Duration = Duration::from_millis(200);

pub(crate) struct Progress {
    bar: ProgressBar,
    phase: &'static str,
    shown: Instant,
    deliveries: u64,
    streams: u64,
}

/// The state of a run that the line shows.
pub(crate) struct Snapshot<'a> {
    pub(crate) streams: u64,
    pub(crate) deliveries: u64,
    pub(crate) latency: &'a Latency,
    /// Events published.
    pub(crate) sent: u64,
}

impl Progress {
    /// A line that starts with `label`; hidden if `quiet` or if standard error is not a terminal.
    pub(crate) fn new(label: &str, quiet: bool) -> Self {
        let target =
            if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(None, target);
        let style = ProgressStyle::with_template("{spinner} {prefix} {elapsed:>4} {wide_msg}")
            .expect("the template is constant and valid");
        bar.set_style(style);
        bar.set_prefix(label.to_owned());
        Self { bar, phase: "", shown: Instant::now(), deliveries: 0, streams: 0 }
    }

    pub(crate) fn set_phase(&mut self, phase: &'static str) {
        self.phase = phase;
        self.bar.set_message(phase);
    }

    pub(crate) fn show(&mut self, snapshot: &Snapshot<'_>) {
        let span = self.shown.elapsed();
        if span < REDRAW_INTERVAL {
            return;
        }
        self.shown = Instant::now();
        let rate =
            |now: u64, before: u64| (now.saturating_sub(before) as f64 / span.as_secs_f64()) as u64;
        let Snapshot { streams, deliveries, latency, sent } = *snapshot;
        let mut message = format!("{}: {} streams", self.phase, grouped(streams));
        if streams > self.streams {
            message += &format!(" (+{}/s)", grouped(rate(streams, self.streams)));
        }
        if deliveries > 0 {
            message += &format!(", {} deliveries/s", grouped(rate(deliveries, self.deliveries)));
            message += &format!(", p50 {:.1} ms, p99 {:.1} ms", latency.at(50.0), latency.at(99.0));
        }
        if sent > 0 {
            message += &format!(", {} published", grouped(sent));
        }
        (self.streams, self.deliveries) = (streams, deliveries);
        self.bar.set_message(message);
        self.bar.tick();
    }

    /// Removes the line.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
