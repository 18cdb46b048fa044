//! The bounds of a scenario's fields, and which of them exclude each other.

use super::definition::{Pace, Scenario};
use crate::error::Error;
use crate::measure::stamp::{PUBLISHERS_MAX, STAMP_BYTES};

/// Most topics of a run, those of `--topics-per-stream` and the small one included.
const TOPICS_MAX: u32 = 0xff_ffff;
/// The shortest `--alternate`.
const ALTERNATE_MIN: u64 = 100_000_000;

/// Checks every rule; the error names the first that is broken.
pub(super) fn validate(scenario: &Scenario) -> Result<(), Error> {
    let rules = fields(scenario).into_iter().chain(combinations(scenario));
    match rules.into_iter().find(|(holds, _)| !holds) {
        Some((_, message)) => Err(Error::usage(message)),
        None => Ok(()),
    }
}

fn fields(s: &Scenario) -> Vec<(bool, String)> {
    let not_negative = |value: f64| value >= 0.0 && value.is_finite();
    let rule = |holds, message: &str| (holds, message.to_owned());
    vec![
        rule(s.topics >= 1, "--topics must be at least 1"),
        rule(s.topics <= TOPICS_MAX, "--topics must be below 16,777,216"),
        (
            s.size >= STAMP_BYTES,
            format!("--size must be at least {STAMP_BYTES}, the stamp's length"),
        ),
        rule(s.size <= 1 << 20, "--size must be at most 1048576"),
        rule(not_negative(s.rate), "--rate must be 0 or more"),
        rule(not_negative(s.churn), "--churn must be 0 or more"),
        rule(not_negative(s.ramp), "--ramp must be 0 or more"),
        rule((0.0..=1.0).contains(&s.slow_share), "--slow-share must be from 0 to 1"),
        rule(s.connections >= 1, "--connections must be at least 1"),
        rule(s.pipeline >= 1, "--pipeline must be at least 1"),
        rule(s.in_flight >= 1, "--in-flight must be at least 1"),
        rule(s.processes != Some(0), "--processes must be at least 1"),
        rule(s.tick.nanos() >= 50_000_000, "--tick must be at least 50ms"),
        rule(s.small_interval.nanos() > 0, "--small-interval must be more than 0s"),
        rule(s.topics_per_stream <= 10_000, "--topics-per-stream must be at most 10000"),
        rule(
            s.alternate.nanos() == 0 || s.alternate.nanos() >= ALTERNATE_MIN,
            "--alternate must be 0s, or at least 100ms",
        ),
    ]
}

fn combinations(s: &Scenario) -> Vec<(bool, String)> {
    let (is_fair, many) = (s.small_streams > 0, s.topics_per_stream > 0);
    let closed = matches!(s.pace, Pace::Each | Pace::Burst);
    let moving = s.churn > 0.0 || s.storms > 0;
    let rule = |holds, message: &str| (holds, message.to_owned());
    vec![
        rule(
            !closed || s.topics == 1 || s.pace == Pace::Each && s.is_fair(),
            "--topics needs --pace rate: waiting for all of one event takes one topic",
        ),
        rule(s.pace != Pace::Burst || s.events >= 1, "a burst needs --events of at least 1"),
        (
            s.publishers() <= PUBLISHERS_MAX,
            format!("--connections must be at most {PUBLISHERS_MAX} if there are streams"),
        ),
        rule(
            !is_fair || matches!(s.pace, Pace::Rate | Pace::Each) && s.events == 0,
            "--small-streams needs --pace rate or each, and a --duration instead of --events",
        ),
        rule(
            s.probe.nanos() == 0 || matches!(s.pace, Pace::Rate | Pace::Each),
            "--probe needs --pace rate or each",
        ),
        rule(
            !is_fair || !moving && !many && s.pause.nanos() == 0,
            "--small-streams excludes --churn, --storms, --topics-per-stream and --pause",
        ),
        rule(
            !many || s.pace == Pace::Each && s.topics == 1 && s.slow_share == 0.0,
            "--topics-per-stream needs --pace each, one topic and no slow streams",
        ),
        rule(
            !many || s.alternate.nanos() > 0 && s.probe.nanos() == 0,
            "--topics-per-stream needs --alternate, and excludes --probe",
        ),
        rule(
            s.pause.nanos() == 0 || s.pace == Pace::Rate && s.storms == 0,
            "--pause needs --pace rate, and excludes --storms",
        ),
    ]
}
