//! Computes the report from what a run has recorded.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use super::driver::Driver;
use super::outcome::Outcome;
use super::record::add_counts;
use super::sections;
use crate::measure::clock::{self, SECOND};
use crate::report::{
    ClientCost, Delivery, Machine, Opening, Publishing, Report, ServerCost, Slow, Storm, VERSION,
};

pub(super) fn report(driver: &Driver<'_>, outcome: &Outcome) -> Report {
    let (scenario, record) = (driver.scenario, &driver.record);
    let delivery = delivery(driver, outcome);
    let publishing = publishing(driver, outcome);
    let server = server_cost(driver, outcome, &delivery, &publishing);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let mut report = Report {
        version: VERSION,
        tool: env!("CARGO_PKG_VERSION").into(),
        began: now.saturating_sub((clock::now() - outcome.started) / SECOND),
        machine: Machine { busy: driver.measurement.processors(), ..Machine::read() },
        opening: opening(driver, outcome),
        delivery,
        publishing,
        account: record.total.account.clone(),
        fates: record.total.fates.clone(),
        slow: Slow {
            streams: (scenario.streams as f64 * scenario.slow_share) as u64,
            account: record.total.slow.clone(),
            latency: record.slow_latency.percentiles(),
        },
        server,
        client: client_cost(driver, outcome),
        causes: record.total.causes.clone(),
        controls: record.total.controls.clone(),
        storms: storms(driver, outcome),
        fair: sections::fair(driver, outcome),
        selectors: sections::selectors(driver, outcome),
        pause: sections::pause(outcome),
        left: record.total.left,
        series: record.series.points(&record.monitor, driver.groups.len()),
        measured_s: driver
            .measurement
            .ended_at()
            .map(|at| seconds(at.saturating_sub(outcome.started))),
        problems: outcome.problems.clone(),
        interrupted: outcome.interrupted,
        scenario: scenario.clone(),
    };
    let problems = delivery_problems(&report);
    report.problems.extend(problems);
    report
}

/// The failures that the accounts show.
fn delivery_problems(report: &Report) -> Vec<String> {
    let (account, slow) = (&report.account, &report.slow.account);
    let (missing, what) = match report.scenario.announced_losses {
        true => (account.silent(), "events are missing without an announcement"),
        false => (account.missing, "events are missing"),
    };
    let failures = [
        (missing, what),
        (account.repeated + slow.repeated, "events arrived more than once"),
        (account.misrouted + slow.misrouted, "events arrived at streams of another topic"),
    ];
    let failures = failures.into_iter().filter(|(count, _)| *count > 0);
    let mut problems: Vec<String> =
        failures.map(|(count, what)| format!("{count} {what}")).collect();
    if report.publishing.sent > 0 && report.publishing.accepted == 0 {
        problems.push("no publish was accepted".into());
    }
    problems
}

fn opening(driver: &Driver<'_>, outcome: &Outcome) -> Opening {
    let (record, seconds) = (&driver.record, seconds(outcome.ramp_nanos));
    let first = outcome.opened.first().map_or(outcome.streams, |(streams, _)| *streams);
    Opening {
        streams: outcome.streams,
        seconds,
        // The time is that of the first group; later ones are opened after it.
        per_s: ratio(first as f64, seconds).unwrap_or(0.0),
        latency: record.opening.percentiles(),
        streams_at_end: record.total.open,
        opened: record.total.opened,
    }
}

fn storms(driver: &Driver<'_>, outcome: &Outcome) -> Vec<Storm> {
    let workers = driver.workers();
    let storms = outcome.measured.storms.iter().zip(1..);
    storms
        .map(|(times, number)| {
            let since = |at: u64| at.saturating_sub(times.reconnect_at) as f64 / 1e6;
            let recovered_at = driver.announced.recovered_at(number, workers);
            Storm { back_ms: times.open_at.map(since), whole_ms: recovered_at.map(since) }
        })
        .collect()
}

fn delivery(driver: &Driver<'_>, outcome: &Outcome) -> Delivery {
    let (record, measured) = (&driver.record, &outcome.measured);
    let (count, nanos) = if driver.scenario.is_closed_loop() {
        (measured.deliveries, measured.busy_nanos)
    } else {
        let last = record.total.last_arrival;
        let nanos = measured.first_due.map_or(0, |first| last.saturating_sub(first));
        (record.whole_account().received, nanos)
    };
    let seconds = if count == 0 { 0.0 } else { seconds(nanos) };
    Delivery {
        count,
        seconds,
        per_s: ratio(count as f64, seconds).unwrap_or(0.0),
        latency: record.latency[0].percentiles(),
        last_of_all: measured.last_arrival.percentiles(),
        bursts_per_s: measured.bursts_per_s.clone(),
    }
}

fn publishing(driver: &Driver<'_>, outcome: &Outcome) -> Publishing {
    let published = &driver.record.published;
    let accepted = published.iter().map(|published| published.latency.count()).sum();
    let mut answers = BTreeMap::new();
    for published in published {
        add_counts(&mut answers, published.answers.clone());
    }
    let seconds = seconds(outcome.publishing_nanos);
    Publishing {
        sent: published.iter().map(|published| published.sent).sum(),
        accepted,
        per_s: ratio(accepted as f64, seconds).unwrap_or(0.0),
        answers,
        latency: published[0].latency.percentiles(),
    }
}

fn server_cost(
    driver: &Driver<'_>,
    outcome: &Outcome,
    delivery: &Delivery,
    publishing: &Publishing,
) -> Option<ServerCost> {
    let (before, idle) = (outcome.cost_before?, outcome.cost_idle?);
    let after = outcome.cost_after.unwrap_or(idle);
    // A server that has ended during the measurement has no second reading.
    let known = driver.measurement.server_cost();
    let measured = known.unwrap_or_default();
    let monitor = &driver.record.monitor;
    let (streams, deliveries) = (outcome.streams as f64, delivery.count as f64);
    let publishes = if delivery.count == 0 { publishing.accepted as f64 } else { 0.0 };
    let operations = if deliveries > 0.0 { deliveries } else { publishes };
    let growth = idle.since(&before);
    let switches = (measured.voluntary + measured.involuntary) as f64 * 1000.0;
    let micros = |nanos: u64| nanos as f64 / 1000.0;
    Some(ServerCost {
        pid: monitor.pid()?,
        threads: after.threads,
        memory_before: before.memory,
        memory_idle: idle.memory,
        memory_after: after.memory,
        memory_per_stream: ratio(idle.memory as f64, streams),
        memory_growth_per_stream: ratio(growth.data_memory as f64, streams),
        cpu_per_opening_us: ratio(micros(growth.cpu), streams),
        cpu_per_delivery_us: known.and_then(|cost| ratio(micros(cost.cpu), deliveries)),
        cpu_per_publish_us: known.and_then(|cost| ratio(micros(cost.cpu), publishes)),
        switches_per_1000: known.and_then(|_| ratio(switches, operations)),
        measured,
        memory_by_streams: monitor.memory_by_streams().to_vec(),
    })
}

fn client_cost(driver: &Driver<'_>, outcome: &Outcome) -> ClientCost {
    let total = &driver.record.total;
    ClientCost {
        processes: driver.workers() as u64,
        cpu_s: seconds(total.cpu),
        memory: total.memory,
        memory_per_stream: ratio(total.memory as f64, total.open as f64),
        socket_buffers: outcome.socket_buffers,
    }
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / SECOND as f64
}

/// `amount / count`, or `None` if `count` is 0.
fn ratio(amount: f64, count: f64) -> Option<f64> {
    (count > 0.0).then(|| amount / count)
}
