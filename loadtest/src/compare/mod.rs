//! Compares several servers by one scenario, in interleaved rounds, as ratios with their spread.
//!
//! The speed of a shared machine varies from minute to minute. Each round therefore runs every
//! server once, and a ratio is taken only between runs of the same round.

mod args;
mod peer;
mod process;
mod ratios;

use std::sync::atomic::Ordering;

use serde::Serialize;

use crate::error::Error;
use crate::interrupt;
use crate::report::progress::Progress;
use crate::report::{self, Report, VERSION, table};
use crate::run;
use crate::scenario::Scenario;
pub(crate) use args::CompareArgs;
use peer::Peer;
use process::Process;
use ratios::Comparison;

/// The JSON of a comparison.
#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    /// The servers in order; the first is the reference.
    servers: Vec<&'a str>,
    comparison: &'a Comparison,
    /// By round, by server.
    reports: &'a [Vec<Report>],
}

/// Runs the comparison; true if no run has problems.
pub(crate) fn compare(args: &CompareArgs) -> Result<bool, Error> {
    let peers =
        args.with.iter().map(|name| Peer::load(name, args)).collect::<Result<Vec<_>, _>>()?;
    if peers.is_empty() {
        return Err(Error::usage(
            "--with names the servers to compare, such as --with baseline,fanfare",
        ));
    }
    // Before a server is started: an invalid option should not cost a round.
    for peer in &peers {
        peer.scenario(&args.scenario, &args.overrides, 1)?;
        println!("{:<22} {}", peer.name, peer.about);
    }
    if let Some(path) = &args.json {
        report::check_writable(path)?;
    }
    let interrupted = interrupt::flag()?;
    let mut rounds: Vec<Vec<Report>> = Vec::new();
    'rounds: for round in 1..=args.rounds.get() {
        let mut reports = Vec::new();
        for peer in &peers {
            let process = Process::start(peer)?;
            let scenario = peer.scenario(&args.scenario, &args.overrides, process.port)?;
            let label = format!("round {round}/{} {}", args.rounds, peer.name);
            let progress = Progress::new(&label, args.quiet);
            let report = run::run(&scenario, Some(process.server()), &interrupted, progress)?;
            drop(process);
            let ended = report.interrupted || interrupted.load(Ordering::Relaxed);
            // An interrupted run is part of no ratio, so it is printed by itself.
            print_run(round, &peer.name, &report, args.verbose || ended);
            reports.push(report);
            if ended {
                break 'rounds;
            }
        }
        rounds.push(reports);
    }
    finish(args, &peers, &rounds)
}

fn print_run(round: usize, name: &str, report: &Report, verbose: bool) {
    if verbose {
        println!("round {round}: {name}\n{}", table::render(report));
    }
    for problem in &report.problems {
        println!("round {round}: {name}: PROBLEM {problem}");
    }
}

fn finish(args: &CompareArgs, peers: &[Peer], rounds: &[Vec<Report>]) -> Result<bool, Error> {
    if rounds.is_empty() {
        println!("interrupted in the first round: nothing to compare");
        return Ok(false);
    }
    let names: Vec<&str> = peers.iter().map(|peer| peer.name.as_str()).collect();
    let comparison = Comparison::of(&names, rounds);
    let first = &rounds[0][0];
    println!("{}", describe(&first.scenario, rounds.len()));
    print!("{}", comparison.render());
    if let Some(path) = &args.json {
        let document =
            Document { version: VERSION, servers: names, comparison: &comparison, reports: rounds };
        let text = serde_json::to_string_pretty(&document)
            .map_err(|error| Error::system("write the comparison", error))?;
        std::fs::write(path, text)
            .map_err(|error| Error::system(&format!("write {}", path.display()), error))?;
    }
    Ok(rounds.iter().flatten().all(|report| report.problems.is_empty()))
}

fn describe(scenario: &Scenario, rounds: usize) -> String {
    format!(
        "{}: {} streams, {} bytes, {rounds} rounds; ratios to the first server of the same round",
        scenario.name,
        report::grouped(scenario.streams_in_all()),
        scenario.size
    )
}
