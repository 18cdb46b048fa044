//! The measured part of a run: publishes at the scenario's pace.

use super::outcome::{Measured, StormTimes};
use super::session::{Session, Stop};
use crate::measure::clock::{self, SECOND};
use crate::publish::Command;
use crate::scenario::{Pace, Scenario};
use crate::subscribe::ToWorker;

/// How far ahead a schedule starts, so that every worker has received it before the first event.
const SCHEDULE_LEAD: u64 = SECOND / 20;

pub(super) fn publish(session: &mut Session<'_>, measured: &mut Measured) -> Result<(), Stop> {
    let scenario = session.scenario;
    match scenario.pace {
        Pace::None => {
            let now = clock::now();
            measured.first_due = Some(now);
            session.wait_until(now + scenario.duration.nanos())
        }
        Pace::Each => publish_each(session, scenario, measured),
        Pace::Burst => publish_bursts(session, scenario, measured),
        Pace::Rate => publish_at_rate(session, scenario, measured),
    }
}

fn publish_each(
    session: &mut Session<'_>,
    scenario: &Scenario,
    measured: &mut Measured,
) -> Result<(), Stop> {
    let events = match scenario.events {
        0 => u64::MAX,
        events => events + scenario.warmup,
    };
    let mut deadline = u64::MAX;
    for number in 0..events {
        if number == scenario.warmup {
            session.begin_measurement();
            deadline = clock::now() + scenario.duration.nanos();
        }
        let due = clock::now();
        if due >= deadline {
            break;
        }
        let completed = publish_and_wait(session, number, 1, due)?;
        if number >= scenario.warmup {
            measured.record_complete(due, completed, session.record.open_streams());
        }
    }
    session.end_measurement();
    Ok(())
}

fn publish_bursts(
    session: &mut Session<'_>,
    scenario: &Scenario,
    measured: &mut Measured,
) -> Result<(), Stop> {
    for burst in 0..scenario.warmup + scenario.bursts {
        if burst == scenario.warmup {
            session.begin_measurement();
        }
        let due = clock::now();
        let completed = publish_and_wait(session, burst * scenario.events, scenario.events, due)?;
        if burst >= scenario.warmup {
            let deliveries = scenario.events * session.record.open_streams();
            measured.record_complete(due, completed, deliveries);
            let nanos = (completed - due).max(1) as f64;
            measured.bursts_per_s.push(deliveries as f64 * SECOND as f64 / nanos);
        }
    }
    session.end_measurement();
    Ok(())
}

/// Publishes `count` events from number `first` on and waits until every stream has received them;
/// returns when the last arrived.
fn publish_and_wait(
    session: &mut Session<'_>,
    first: u64,
    count: u64,
    due: u64,
) -> Result<u64, Stop> {
    session.command(Command::Batch { count, due });
    let deadline = due + session.scenario.patience.nanos();
    session.wait_complete(first, first + count - 1, deadline)
}

fn publish_at_rate(
    session: &mut Session<'_>,
    scenario: &Scenario,
    measured: &mut Measured,
) -> Result<(), Stop> {
    session.begin_measurement();
    let duration = scenario.duration.nanos();
    let count = if scenario.events == 0 { u64::MAX } else { scenario.events };
    let start = clock::now() + SCHEDULE_LEAD;
    let until = start + duration;
    measured.first_due = Some(start);
    let mut last_due = None;
    if scenario.rate > 0.0 {
        let interval = ((SECOND as f64 / scenario.rate) as u64).max(1);
        let events = count.min(duration.div_ceil(interval)).max(1);
        last_due = Some(start.saturating_add((events - 1).saturating_mul(interval)));
        session.send(&ToWorker::Schedule { start, interval });
        session.command(Command::Rate { start, interval, count, until });
    } else {
        session.command(Command::Unlimited { count, until });
    }
    if scenario.churn > 0.0 {
        session.send(&ToWorker::Churn { rate: scenario.churn / session.workers() as f64 });
    }
    for storm in 0..scenario.storms {
        session.wait_until(start + duration * (storm + 1) / (scenario.storms + 1))?;
        measured.storms.push(reconnect_all(session, scenario.away.nanos(), last_due)?);
    }
    let exhausted = session.wait_exhausted(until + scenario.patience.nanos());
    if scenario.churn > 0.0 {
        session.send(&ToWorker::Churn { rate: 0.0 });
    }
    exhausted
}

/// A storm: disconnects all streams, and waits until they are open again after `away`.
fn reconnect_all(
    session: &mut Session<'_>,
    away: u64,
    last_due: Option<u64>,
) -> Result<StormTimes, Stop> {
    let reconnect_at = clock::now() + away;
    session.send(&ToWorker::Storm { reconnect_at, last_due });
    session.wait_until(reconnect_at)?;
    Ok(StormTimes { reconnect_at, open_at: session.wait_settled()? })
}
