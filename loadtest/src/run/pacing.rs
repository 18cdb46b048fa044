//! The measured part of a run: publishes at the scenario's pace.

use super::driver::{Driver, Stop};
use super::outcome::{Measured, StormTimes, Turns};
use super::pause::Paused;
use crate::error::Error;
use crate::measure::clock::{self, SECOND};
use crate::probe::Prober;
use crate::publish::Command;
use crate::scenario::{Pace, Scenario, Target};
use crate::subscribe::ToWorker;

/// How far ahead a schedule starts, so that every worker has received it before the first event.
const SCHEDULE_LEAD: u64 = SECOND / 20;
/// The groups of streams: those of `--streams`, and the small topic's or those with many topics.
const FIRST: usize = 0;
const SECOND_GROUP: usize = 1;

pub(super) fn publish(
    driver: &mut Driver<'_>,
    measured: &mut Measured,
    target: &Target,
) -> Result<(), Stop> {
    let scenario = driver.scenario;
    let prober = Prober::start(scenario, target).map_err(problem)?;
    let published = match scenario.pace {
        Pace::None => {
            let now = clock::now();
            measured.first_due = Some(now);
            driver.wait_until(now + scenario.duration.nanos())
        }
        Pace::Each if scenario.topics_per_stream > 0 => publish_in_turn(driver, scenario, measured),
        Pace::Each => publish_each(driver, scenario, measured),
        Pace::Burst => publish_bursts(driver, scenario, measured),
        Pace::Rate => publish_at_rate(driver, scenario, measured),
    };
    measured.probes = prober.map(Prober::finish);
    published
}

fn problem(error: Error) -> Stop {
    Stop::Problem(error.to_string())
}

/// Announces that events are published from `start` on, at times not known in advance.
fn announce_unscheduled(driver: &mut Driver<'_>, start: u64) {
    driver.send(&ToWorker::Schedule { start, interval: 0 });
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
    announce_unscheduled(driver, clock::now());
    // One event to each topic; more than one topic are the large ones of a fair run.
    let count = u64::from(scenario.topics);
    let mut deadline = u64::MAX;
    for number in 0..events {
        if number == scenario.warmup {
            driver.begin_measurement();
            let start = clock::now();
            deadline = start + scenario.duration.nanos();
            publish_to_small(driver, scenario, measured, (start, deadline));
        }
        let due = clock::now();
        if due >= deadline {
            break;
        }
        let completed = publish_and_wait(driver, FIRST, (number, number), (count, due))?;
        if number >= scenario.warmup {
            measured.record_complete(due, completed, driver.record.open_streams_of(FIRST));
        }
    }
    driver.end_measurement();
    Ok(())
}

/// Publishes to the groups in turn, a period each, one event at a time.
fn publish_in_turn(
    driver: &mut Driver<'_>,
    scenario: &Scenario,
    measured: &mut Measured,
) -> Result<(), Stop> {
    announce_unscheduled(driver, clock::now());
    let groups = [FIRST, SECOND_GROUP];
    let mut next = [0; 2];
    for group in groups {
        for _ in 0..scenario.warmup {
            publish_next(driver, group, &mut next)?;
        }
    }
    measured.turns = vec![Turns { cpu: Some(0), ..Turns::default() }; groups.len()];
    driver.begin_measurement();
    let deadline = clock::now() + scenario.duration.nanos();
    for group in groups.into_iter().cycle() {
        if clock::now() >= deadline && group == FIRST {
            break;
        }
        let before = driver.record.monitor.read();
        let end = clock::now() + scenario.alternate.nanos();
        loop {
            let (due, completed) = publish_next(driver, group, &mut next)?;
            let deliveries = driver.record.open_streams_of(group);
            measured.record_complete(due, completed, deliveries);
            measured.turns[group].record_complete(due, completed, deliveries);
            if completed >= end {
                break;
            }
        }
        let after = driver.record.monitor.read();
        let cpu = before.zip(after).map(|(before, after)| after.since(&before).cpu);
        let total = &mut measured.turns[group].cpu;
        *total = total.zip(cpu).map(|(total, cpu)| total + cpu);
    }
    driver.end_measurement();
    Ok(())
}

/// Publishes the next event of a group; returns when it was due and when the last stream received
/// it.
fn publish_next(
    driver: &mut Driver<'_>,
    group: usize,
    next: &mut [u64; 2],
) -> Result<(u64, u64), Stop> {
    let (number, due) = (next[group], clock::now());
    next[group] += 1;
    let completed = publish_and_wait(driver, group, (number, number), (1, due))?;
    Ok((due, completed))
}

fn publish_bursts(
    driver: &mut Driver<'_>,
    scenario: &Scenario,
    measured: &mut Measured,
) -> Result<(), Stop> {
    announce_unscheduled(driver, clock::now());
    for burst in 0..scenario.warmup + scenario.bursts {
        if burst == scenario.warmup {
            driver.begin_measurement();
        }
        let due = clock::now();
        let first = burst * scenario.events;
        let numbers = (first, first + scenario.events - 1);
        let completed = publish_and_wait(driver, FIRST, numbers, (scenario.events, due))?;
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

/// Publishes `count` events to a group and waits until every stream has received its events
/// `numbers`, which are the first and the last; returns when the last arrived.
fn publish_and_wait(
    driver: &mut Driver<'_>,
    group: usize,
    numbers: (u64, u64),
    (count, due): (u64, u64),
) -> Result<u64, Stop> {
    driver.command(group, Command::Batch { count, due });
    let deadline = due + driver.scenario.patience.nanos();
    driver.wait_complete(group, numbers, deadline)
}

fn publish_at_rate(
    driver: &mut Driver<'_>,
    scenario: &Scenario,
    measured: &mut Measured,
) -> Result<(), Stop> {
    driver.begin_measurement();
    let (duration, pause) = (scenario.duration.nanos(), scenario.pause.nanos());
    let count = if scenario.events == 0 { u64::MAX } else { scenario.events };
    let start = clock::now() + SCHEDULE_LEAD;
    let until = start + duration + pause;
    measured.first_due = Some(start);
    let mut last_due = None;
    if scenario.rate > 0.0 {
        let interval = ((SECOND as f64 / scenario.rate) as u64).max(1);
        let events = count.min((until - start).div_ceil(interval)).max(1);
        last_due = Some(start.saturating_add((events - 1).saturating_mul(interval)));
        driver.send_to(FIRST, &ToWorker::Schedule { start, interval });
        let rate = Command::Rate { start, interval, count, until, alternate: 0 };
        driver.command(FIRST, rate);
    } else {
        driver.send_to(FIRST, &ToWorker::Schedule { start: clock::now(), interval: 0 });
        driver.command(FIRST, Command::Unlimited { count, until });
    }
    publish_to_small(driver, scenario, measured, (start, until));
    if scenario.churn > 0.0 {
        driver.send(&ToWorker::Churn { rate: scenario.churn / driver.workers() as f64 });
    }
    for storm in 0..scenario.storms {
        driver.wait_until(start + duration * (storm + 1) / (scenario.storms + 1))?;
        measured.storms.push(reconnect_all(driver, scenario.away.nanos(), last_due)?);
    }
    if pause > 0 {
        driver.wait_until(start + duration / 2)?;
        measured.paused_nanos = Some(pause_server(driver, pause)?);
    }
    let exhausted = driver.wait_exhausted(until + scenario.patience.nanos());
    if scenario.churn > 0.0 {
        driver.send(&ToWorker::Churn { rate: 0.0 });
    }
    exhausted
}

/// Publishes to the small topic from `start` to `until`, and counts the deliveries of the large
/// ones meanwhile.
fn publish_to_small(
    driver: &mut Driver<'_>,
    scenario: &Scenario,
    measured: &mut Measured,
    (start, until): (u64, u64),
) {
    if !scenario.is_fair() {
        return;
    }
    let (alternate, is_small) = (scenario.alternate.nanos(), scenario.small_streams > 0);
    // Without periods, all is in one, which is even.
    let length = if is_small && alternate > 0 { alternate } else { until - start };
    let nanos = |parity| {
        let periods = (0..).map(|period| start + period * length).take_while(|&at| at < until);
        periods.skip(parity).step_by(2).map(|at| length.min(until - at)).sum()
    };
    measured.parity_nanos = Some([nanos(0), nanos(1)]);
    driver.send_to(FIRST, &ToWorker::CountPeriods { start, length, until });
    if is_small {
        driver.send_to(SECOND_GROUP, &ToWorker::Schedule { start, interval: 0 });
        let interval = scenario.small_interval.nanos();
        let rate = Command::Rate { start, interval, count: u64::MAX, until, alternate };
        driver.command(SECOND_GROUP, rate);
    }
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

/// Stops the server's process for `pause`; returns for how long it was stopped.
fn pause_server(driver: &mut Driver<'_>, pause: u64) -> Result<u64, Stop> {
    let server = driver.record.monitor.server();
    let server = server.ok_or_else(|| Stop::Problem("the server's process is unknown".into()))?;
    driver.send(&ToWorker::WatchStreams);
    driver.progress.set_phase("server stopped");
    let paused = Paused::stop(server).map_err(problem)?;
    let stopped_at = clock::now();
    driver.wait_until(stopped_at + pause)?;
    drop(paused);
    driver.progress.set_phase("measuring");
    Ok(clock::now() - stopped_at)
}
