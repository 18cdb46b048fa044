//! A run from the first connect to the report: ramp, settle, measure, drain, collect.

mod announcements;
mod driver;
mod outcome;
mod pacing;
mod pause;
mod record;
mod sections;
mod series;
mod server_monitor;
mod summary;
mod usage;
mod workers;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::connect;
use crate::error::Error;
use crate::measure::clock;
use crate::measure::server::{self, Server};
use crate::report::Report;
use crate::report::progress::Progress;
use crate::scenario::{Scenario, Target};
use crate::subscribe::ToWorker;
use driver::{Driver, Stop};
use outcome::Outcome;
use record::Record;
use workers::Workers;

/// Runs a scenario. Without `server`, the report has no resource usage of the server.
pub(crate) fn run(
    scenario: &Scenario,
    server: Option<Server>,
    interrupted: &Arc<AtomicBool>,
    progress: Progress,
) -> Result<Report, Error> {
    let target = Target::parse(&scenario.url)?;
    let publish_target = match &scenario.publish_url {
        Some(url) => Target::parse(url)?,
        None => target.clone(),
    };
    connect::await_listener(target.address)?;
    if scenario.publishes() {
        connect::await_listener(publish_target.address)?;
    }
    if scenario.pause.nanos() > 0 {
        pause::check(server)?;
    }
    let started = clock::now();
    let run_id = (started ^ u64::from(std::process::id()) << 16) as u32;
    let groups = scenario.groups().len();
    let record = Record::new(server, groups, scenario.tick.nanos(), started);
    let mut outcome = Outcome { started, ..Outcome::default() };
    outcome.cost_before = record.monitor.read();
    let mut driver =
        Driver::new(scenario, Workers::new(), record, progress, Arc::clone(interrupted));
    // Later groups are opened once the first is open.
    driver.start_workers(0, &target, run_id)?;
    let targets = Targets { streams: target, publish: publish_target };
    match run_phases(&mut driver, &mut outcome, &targets, run_id) {
        Ok(()) => {}
        Err(Stop::Interrupted) => outcome.interrupted = true,
        Err(Stop::Problem(problem)) => outcome.problems.push(problem),
    }
    collect(&mut driver, &mut outcome);
    driver.progress.finish();
    Ok(summary::report(&driver, &outcome))
}

struct Targets {
    streams: Target,
    publish: Target,
}

fn run_phases(
    driver: &mut Driver<'_>,
    outcome: &mut Outcome,
    targets: &Targets,
    run_id: u32,
) -> Result<(), Stop> {
    for group in 0..driver.groups.len() {
        if group > 0 {
            driver
                .start_workers(group, &targets.streams, run_id)
                .map_err(|error| Stop::Problem(error.to_string()))?;
        }
        ramp(driver, outcome)?;
        driver.wait_until(clock::now() + driver.scenario.settle.nanos())?;
        outcome.cost_idle = driver.record.monitor.read();
        outcome.opened.push((driver.record.open_streams_of(group), outcome.cost_idle));
    }
    outcome.socket_buffers = server::socket_buffers();
    driver.send(&ToWorker::WatchStreams);
    if driver.scenario.publishes() {
        driver.start_publishers(&targets.publish, run_id)?;
    }
    driver.progress.set_phase("measuring");
    driver.begin_measurement();
    let began = clock::now();
    let paced = pacing::publish(driver, &mut outcome.measured, &targets.streams);
    if matches!(paced, Err(Stop::Interrupted)) {
        // What has been published is still accounted for; a second interrupt ends that as well.
        driver.clear_interrupt();
    }
    outcome.publishing_nanos = clock::now() - began;
    driver.progress.set_phase("draining");
    if paced.is_ok() {
        driver.extend_measurement();
    }
    let drained = drain(driver);
    match (&paced, &drained) {
        (Ok(()), Ok(true)) => driver.end_measurement(),
        _ => driver.end_stalled_measurement(),
    }
    paced.and(drained.map(|_| ()))
}

/// Waits until all streams are open, or until no more can be opened.
fn ramp(driver: &mut Driver<'_>, outcome: &mut Outcome) -> Result<(), Stop> {
    driver.progress.set_phase("opening");
    driver.ramping = true;
    let settled = driver.wait_settled();
    driver.ramping = false;
    outcome.streams = driver.record.open_streams();
    let end = driver.announced.settled_at().unwrap_or_else(clock::now);
    if outcome.opened.is_empty() {
        outcome.ramp_nanos = end.saturating_sub(outcome.started);
    }
    settled?;
    let group = outcome.opened.len();
    let wanted: u64 = driver.groups[..=group].iter().map(|group| group.streams).sum();
    if outcome.streams < wanted {
        let open = outcome.streams;
        outcome.problems.push(format!("only {open} of {wanted} streams could be opened"));
    }
    Ok(())
}

/// Ends publishing and waits for the events in flight; true if all have arrived.
fn drain(driver: &mut Driver<'_>) -> Result<bool, Stop> {
    if !driver.has_publishers() {
        let scenario = driver.scenario;
        let counts = vec![0; (scenario.stamped_topics() * scenario.publishers()) as usize];
        driver.send(&ToWorker::Finish { counts, rejected: Vec::new() });
        return Ok(true);
    }
    driver.finish_publishers();
    let published = driver.wait_published()?;
    driver.send(&ToWorker::Finish { counts: published.counts, rejected: published.rejected });
    driver.wait_drained()
}

/// Collects the workers' reports, however the run has ended.
fn collect(driver: &mut Driver<'_>, outcome: &mut Outcome) {
    outcome.cost_after = driver.record.monitor.read();
    driver.clear_interrupt();
    driver.send(&ToWorker::Report);
    let missing = driver.wait_reports();
    if missing > 0 {
        let workers = driver.workers();
        outcome.problems.push(format!("{missing} of {workers} workers sent no report"));
    }
}
