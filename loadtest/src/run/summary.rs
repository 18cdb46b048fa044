//! From what was gathered to the report. Pure but for reading the machine's name plate.

use std::time::{SystemTime, UNIX_EPOCH};

use super::conductor::{Conductor, Phases};
use super::pacing::Measured;
use crate::measure::clock::SECOND;
use crate::measure::server::Cost;
use crate::report::{
    ClientCost, Delivery, Machine, Opening, Processors, Publishing, Report, ServerCost, Slow,
    Storm, VERSION,
};
use crate::scenario::{Pace, Scenario};

/// The report of a run.
pub(super) fn report(conductor: &Conductor<'_>, phases: &Phases, measured: &Measured) -> Report {
    let (scenario, record) = (conductor.scenario, &conductor.record);
    let delivery = delivery(conductor, measured);
    let publishing = publishing(conductor, phases);
    let server = server_cost(conductor, phases, &delivery, &publishing);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let mut report = Report {
        version: VERSION,
        tool: env!("CARGO_PKG_VERSION").into(),
        began: now.saturating_sub((crate::measure::clock::now() - phases.began) / SECOND),
        machine: Machine { busy: processors(conductor), ..Machine::read() },
        opening: opening(conductor, phases),
        delivery,
        publishing,
        account: record.total.account.clone(),
        slow: Slow {
            streams: (scenario.streams as f64 * scenario.slow_share) as u64,
            account: record.total.slow.clone(),
            latency: record.slow_latency.percentiles(),
        },
        server,
        client: client_cost(conductor, phases),
        causes: record.total.causes.clone(),
        controls: record.total.controls.clone(),
        storms: storms(conductor, measured),
        left: record.total.left,
        series: record.series(),
        problems: phases.problems.clone(),
        interrupted: phases.interrupted,
        scenario: scenario.clone(),
    };
    judge(&mut report);
    report
}

/// Adds what the account says is wrong.
fn judge(report: &mut Report) {
    let account = &report.account;
    let wrong = [
        (account.missing, "events are missing"),
        (account.repeated + report.slow.account.repeated, "events came more than once"),
        (
            account.misrouted + report.slow.account.misrouted,
            "events came to streams that did not ask for them",
        ),
    ];
    for (count, what) in wrong {
        if count > 0 {
            report.problems.push(format!("{count} {what}"));
        }
    }
    let published = report.publishing.sent > 0;
    if published && report.publishing.accepted == 0 {
        report.problems.push("no publish was accepted".into());
    }
}

fn opening(conductor: &Conductor<'_>, phases: &Phases) -> Opening {
    let seconds = phases.ramp_nanos as f64 / SECOND as f64;
    Opening {
        streams: phases.ramped,
        seconds,
        per_s: if seconds > 0.0 { phases.ramped as f64 / seconds } else { 0.0 },
        latency: conductor.record.opening.percentiles(),
        streams_at_end: conductor.record.total.present,
        opened: conductor.record.total.opened,
    }
}

fn storms(conductor: &Conductor<'_>, measured: &Measured) -> Vec<Storm> {
    let since = |begun: u64, ended: u64| ended.saturating_sub(begun) as f64 / 1e6;
    let storm = |(&(begun, back), number): (&(u64, Option<u64>), u32)| {
        let whole =
            conductor.whole.get(&number).filter(|whole| whole.workers.len() == conductor.workers());
        Storm {
            back_ms: back.map(|back| since(begun, back)),
            whole_ms: whole.map(|whole| since(begun, whole.at)),
        }
    };
    measured.storms.iter().zip(1..).map(storm).collect()
}

fn delivery(conductor: &Conductor<'_>, measured: &Measured) -> Delivery {
    let record = &conductor.record;
    let (count, nanos) = if conductor.scenario.waits_for_all() {
        (measured.deliveries, measured.busy)
    } else {
        (
            record.whole_account().received,
            record.total.last_arrival.saturating_sub(measured.first_due),
        )
    };
    let seconds = if count == 0 { 0.0 } else { nanos as f64 / SECOND as f64 };
    Delivery {
        count,
        seconds,
        per_s: if seconds > 0.0 { count as f64 / seconds } else { 0.0 },
        latency: record.latency.percentiles(),
        last_of_all: measured.last_of_all.percentiles(),
        bursts_per_s: measured.bursts_per_s.clone(),
    }
}

fn publishing(conductor: &Conductor<'_>, phases: &Phases) -> Publishing {
    let record = &conductor.record;
    let accepted = record.acknowledged.count();
    let seconds = phases.published_nanos as f64 / SECOND as f64;
    Publishing {
        sent: record.sent,
        accepted,
        per_s: if seconds > 0.0 { accepted as f64 / seconds } else { 0.0 },
        answers: record.answers.clone(),
        latency: record.acknowledged.percentiles(),
    }
}

fn server_cost(
    conductor: &Conductor<'_>,
    phases: &Phases,
    delivery: &Delivery,
    publishing: &Publishing,
) -> Option<ServerCost> {
    let (before, idle, after) = (phases.before?, phases.idle?, phases.after.or(phases.idle)?);
    // A server that died on the way has no second reading.
    let known = measured_cost(conductor);
    let measured = known.unwrap_or_default();
    let streams = phases.ramped as f64;
    let each = |amount: f64, count: f64| (count > 0.0).then(|| amount / count);
    let micros = |nanos: u64| nanos as f64 / 1000.0;
    let deliveries = delivery.count as f64;
    let publishes = if delivery.count == 0 { publishing.accepted as f64 } else { 0.0 };
    let switches = (measured.voluntary + measured.involuntary) as f64 * 1000.0;
    Some(ServerCost {
        pid: conductor.record.server_pid()?,
        threads: after.threads,
        memory_before: before.memory,
        memory_idle: idle.memory,
        memory_after: after.memory,
        memory_per_stream: each(idle.memory as f64, streams),
        memory_growth_per_stream: each(idle.since(&before).memory as f64, streams),
        cpu_per_opening_us: each(micros(idle.since(&before).cpu), streams),
        cpu_per_delivery_us: known.and_then(|_| each(micros(measured.cpu), deliveries)),
        cpu_per_publish_us: known.and_then(|_| each(micros(measured.cpu), publishes)),
        switches_per_1000: known
            .and_then(|_| each(switches, if deliveries > 0.0 { deliveries } else { publishes })),
        measured,
        memory_by_streams: conductor.record.memory_by_streams.clone(),
    })
}

fn measured_cost(conductor: &Conductor<'_>) -> Option<Cost> {
    Some(conductor.end?.server?.since(&conductor.begin?.server?))
}

/// Processors kept busy while measuring, and by whom.
fn processors(conductor: &Conductor<'_>) -> Option<Processors> {
    let (begin, end) = (conductor.begin?, conductor.end?);
    let span = end.at.saturating_sub(begin.at).max(1) as f64;
    let server = measured_cost(conductor).map_or(0, |cost| cost.cpu) as f64 / span;
    let tool = end.tool.saturating_sub(begin.tool) as f64 / span;
    let all = end.machine?.saturating_sub(begin.machine?) as f64 / span;
    Some(Processors { server, tool, others: (all - server - tool).max(0.0) })
}

fn client_cost(conductor: &Conductor<'_>, phases: &Phases) -> ClientCost {
    let total = &conductor.record.total;
    let streams = total.present;
    ClientCost {
        processes: conductor.workers() as u64,
        cpu_s: total.cpu as f64 / SECOND as f64,
        memory: total.memory,
        memory_per_stream: (streams > 0).then(|| total.memory as f64 / streams as f64),
        socket_buffers: phases.socket_buffers,
    }
}

impl Scenario {
    /// True if events are published at all.
    pub fn publishes(&self) -> bool {
        self.pace != Pace::None
    }
}
