//! One scenario against several servers in one run: interleaved, repeated, and told as ratios with
//! their spread.
//!
//! Neighbours on a machine change its pace from minute to minute. So each round runs every server
//! once, one after the other, and a ratio compares only what was measured in the same round.

mod peer;
mod process;
mod ratios;

use std::sync::atomic::Ordering;

use serde::Serialize;

use crate::cli::CompareArgs;
use crate::error::Fault;
use crate::report::progress::Progress;
use crate::report::{Report, VERSION, table};
use crate::run::conductor;
use crate::scenario::Scenario;
use peer::Peer;
use process::Process;
use ratios::Comparison;

/// The JSON of a comparison.
#[derive(Serialize)]
struct Document<'a> {
    version: u32,
    /// The servers in order; the first is the yardstick.
    servers: Vec<&'a str>,
    comparison: &'a Comparison,
    /// By round, by server.
    reports: &'a [Vec<Report>],
}

/// Runs the comparison; true if every run's account was whole.
pub fn compare(args: &CompareArgs) -> Result<bool, Fault> {
    let flags =
        toml::Table::try_from(&args.over).map_err(|error| Fault::usage(error.to_string()))?;
    let peers =
        args.with.iter().map(|name| Peer::load(name, args)).collect::<Result<Vec<_>, _>>()?;
    if peers.is_empty() {
        return Err(Fault::usage(
            "--with names the servers to compare, such as --with baseline,fanfare",
        ));
    }
    // Before anything is started: a bad flag should not cost a round.
    for peer in &peers {
        peer.scenario(&args.scenario, &flags, 1)?;
        println!("{:<22} {}", peer.name, peer.about);
    }
    let interrupted = crate::interrupt_flag()?;
    let mut rounds: Vec<Vec<Report>> = Vec::new();
    'rounds: for round in 1..=args.rounds.get() {
        let mut reports = Vec::new();
        for peer in &peers {
            let process = Process::start(peer)?;
            let scenario = peer.scenario(&args.scenario, &flags, process.port)?;
            let label = format!("round {round}/{} {}", args.rounds, peer.name);
            let progress = Progress::new(&label, args.quiet);
            let report = conductor::run(&scenario, Some(process.server()), &interrupted, progress)?;
            drop(process);
            let ended = report.interrupted || interrupted.load(Ordering::Relaxed);
            // A run that was cut short is in no ratio, so it is told by itself.
            tell(round, &peer.name, &report, args.verbose || ended);
            reports.push(report);
            if ended {
                break 'rounds;
            }
        }
        rounds.push(reports);
    }
    finish(args, &peers, &rounds)
}

fn tell(round: usize, name: &str, report: &Report, verbose: bool) {
    if verbose {
        println!("round {round}: {name}\n{}", table::render(report));
    }
    for problem in &report.problems {
        println!("round {round}: {name}: PROBLEM {problem}");
    }
}

fn finish(args: &CompareArgs, peers: &[Peer], rounds: &[Vec<Report>]) -> Result<bool, Fault> {
    if rounds.is_empty() {
        println!("ended before the first round was whole: nothing to compare");
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
            .map_err(|error| Fault::system("write the comparison", error))?;
        std::fs::write(path, text)
            .map_err(|error| Fault::system(&format!("write {}", path.display()), error))?;
    }
    Ok(rounds.iter().flatten().all(|report| report.problems.is_empty()))
}

fn describe(scenario: &Scenario, rounds: usize) -> String {
    format!(
        "{}: {} streams, {} bytes, {rounds} rounds; ratios to the first server of the same round",
        scenario.name,
        table::grouped(scenario.streams),
        scenario.size
    )
}
