//! A run from the first connect to the report: ramp, settle, measure, drain, collect.

mod announcements;
mod outcome;
mod pacing;
mod record;
mod series;
mod server_monitor;
mod session;
mod summary;
mod usage;
mod workers;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::error::Error;
use crate::measure::clock;
use crate::measure::server::{self, Server};
use crate::publish::Command;
use crate::report::Report;
use crate::report::progress::Progress;
use crate::scenario::{Scenario, Target};
use crate::subscribe::ToWorker;
use outcome::Outcome;
use record::Record;
use session::{Session, Stop};
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
    let started = clock::now();
    let run_id = (started ^ u64::from(std::process::id()) << 16) as u32;
    let record = Record::new(server, scenario.tick.nanos(), started);
    let mut outcome = Outcome { started, ..Outcome::default() };
    outcome.cost_before = record.monitor.read();
    let workers = Workers::start(scenario, &target, run_id)?;
    let mut session = Session::new(scenario, workers, record, progress, Arc::clone(interrupted));
    match run_phases(&mut session, &mut outcome, &publish_target, run_id) {
        Ok(()) => {}
        Err(Stop::Interrupted) => outcome.interrupted = true,
        Err(Stop::Problem(problem)) => outcome.problems.push(problem),
    }
    collect(&mut session, &mut outcome);
    session.progress.finish();
    Ok(summary::report(&session, &outcome))
}

fn run_phases(
    session: &mut Session<'_>,
    outcome: &mut Outcome,
    publish_target: &Target,
    run_id: u32,
) -> Result<(), Stop> {
    ramp(session, outcome)?;
    session.wait_until(clock::now() + session.scenario.settle.nanos())?;
    outcome.cost_idle = session.record.monitor.read();
    outcome.socket_buffers = server::socket_buffers();
    if session.scenario.publishes() {
        session.start_publisher(publish_target, run_id)?;
    }
    session.progress.set_phase("measuring");
    session.begin_measurement();
    let began = clock::now();
    let paced = pacing::publish(session, &mut outcome.measured);
    if matches!(paced, Err(Stop::Interrupted)) {
        // What has been published is still accounted for; a second interrupt ends that as well.
        session.clear_interrupt();
    }
    outcome.publishing_nanos = clock::now() - began;
    session.progress.set_phase("draining");
    let drained = drain(session);
    session.end_measurement();
    paced.and(drained)
}

/// Waits until all streams are open, or until no more can be opened.
fn ramp(session: &mut Session<'_>, outcome: &mut Outcome) -> Result<(), Stop> {
    session.progress.set_phase("opening");
    session.ramping = true;
    let settled = session.wait_settled();
    session.ramping = false;
    outcome.streams = session.record.open_streams();
    let end = session.announced.settled_at().unwrap_or_else(clock::now);
    outcome.ramp_nanos = end.saturating_sub(outcome.started);
    settled?;
    let wanted = session.scenario.streams;
    if outcome.streams < wanted {
        let open = outcome.streams;
        outcome.problems.push(format!("only {open} of {wanted} streams could be opened"));
    }
    Ok(())
}

/// Ends publishing and waits for the events in flight.
fn drain(session: &mut Session<'_>) -> Result<(), Stop> {
    if !session.has_publisher() {
        let counts = vec![0; session.scenario.topics as usize];
        session.send(&ToWorker::Finish { counts, rejected: Vec::new() });
        return Ok(());
    }
    session.command(Command::Finish);
    let published = session.wait_published()?;
    session.send(&ToWorker::Finish { counts: published.counts, rejected: published.rejected });
    session.wait_drained()
}

/// Collects the workers' reports, however the run has ended.
fn collect(session: &mut Session<'_>, outcome: &mut Outcome) {
    outcome.cost_after = session.record.monitor.read();
    session.clear_interrupt();
    session.send(&ToWorker::Report);
    let missing = session.wait_reports();
    if missing > 0 {
        let workers = session.workers();
        outcome.problems.push(format!("{missing} of {workers} workers sent no report"));
    }
}
