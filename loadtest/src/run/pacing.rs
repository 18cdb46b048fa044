//! The measured part of a run: publishes at the scenario's pace.

use super::driver::{Driver, Stop};
use super::outcome::{Measured, StormTimes};
use crate::measure::clock::{self, SECOND};
use crate::publish::Command;
use crate::scenario::{Pace, Scenario};
use crate::subscribe::ToWorker;

/// How far ahead a schedule starts, so that every worker has received it before the first event.
const SCHEDULE_LEAD: u64 = SECOND / 20;

pub(super) fn publish(driver: &mut Driver<'_>, measured: &mut Measured) -> Result<(), Stop> {
    let scenario = driver.scenario;
    match scenario.pace {
        Pace::None => {
            let now = clock::now();
            measured.first_due = Some(now);
            driver.wait_until(now + scenario.duration.nanos())
        }
        Pace::Each => publish_each(driver, scenario, measured),
        Pace::Burst => publish_bursts(driver, scenario, measured),
        Pace::Rate => publish_at_rate(driver, scenario, measured),
    }
}

fn publish_each(
    driver: &mut Driver<'_>,
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
            driver.begin_measurement();
            deadline = clock::now() + scenario.duration.nanos();
        }
        let due = clock::now();
        if due >= deadline {
            break;
        }
        let completed = publish_and_wait(driver, number, 1, due)?;
        if number >= scenario.warmup {
            measured.record_complete(due, completed, driver.record.open_streams());
        }
    }
    driver.end_measurement();
    Ok(())
}

fn publish_bursts(
    driver: &mut Driver<'_>,
    scenario: &Scenario,
    measured: &mut Measured,
) -> Result<(), Stop> {
    for burst in 0..scenario.warmup + scenario.bursts {
        if burst == scenario.warmup {
            driver.begin_measurement();
        }
        let due = clock::now();
        let completed = publish_and_wait(driver, burst * scenario.events, scenario.events, due)?;
        if burst >= scenario.warmup {
            let deliveries = scenario.events * driver.record.open_streams();
            measured.record_complete(due, completed, deliveries);
            let nanos = (completed - due).max(1) as f64;
            measured.bursts_per_s.push(deliveries as f64 * SECOND as f64 / nanos);
        }
    }
    driver.end_measurement();
    Ok(())
}

/// Publishes `count` events from number `first` on and waits until every stream has received them;
/// returns when the last arrived.
fn publish_and_wait(
    driver: &mut Driver<'_>,
    first: u64,
    count: u64,
    due: u64,
) -> Result<u64, Stop> {
    driver.command(Command::Batch { count, due });
    let deadline = due + driver.scenario.patience.nanos();
    driver.wait_complete(first, first + count - 1, deadline)
}

fn publish_at_rate(
    driver: &mut Driver<'_>,
    scenario: &Scenario,
    measured: &mut Measured,
) -> Result<(), Stop> {
    driver.begin_measurement();
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
        driver.send(&ToWorker::Schedule { start, interval });
        driver.command(Command::Rate { start, interval, count, until });
    } else {
        driver.command(Command::Unlimited { count, until });
    }
    if scenario.churn > 0.0 {
        driver.send(&ToWorker::Churn { rate: scenario.churn / driver.workers() as f64 });
    }
    for storm in 0..scenario.storms {
        driver.wait_until(start + duration * (storm + 1) / (scenario.storms + 1))?;
        measured.storms.push(reconnect_all(driver, scenario.away.nanos(), last_due)?);
    }
    let exhausted = driver.wait_exhausted(until + scenario.patience.nanos());
    if scenario.churn > 0.0 {
        driver.send(&ToWorker::Churn { rate: 0.0 });
    }
    exhausted
}

/// A storm: disconnects all streams, and waits until they are open again after `away`.
fn reconnect_all(
    driver: &mut Driver<'_>,
    away: u64,
    last_due: Option<u64>,
) -> Result<StormTimes, Stop> {
    let reconnect_at = clock::now() + away;
    driver.send(&ToWorker::Storm { reconnect_at, last_due });
    driver.wait_until(reconnect_at)?;
    Ok(StormTimes { reconnect_at, open_at: driver.wait_settled()? })
}
