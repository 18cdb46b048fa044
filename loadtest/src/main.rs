//! `loadtest`: what an SSE server, its kernel and its proxy can hold and deliver.
//!
//! Laid out by stage: [`scenario`] says what to do and conducts it, [`connect`] opens streams,
//! [`subscribe`] reads them in worker processes, [`publish`] sends events on schedule,
//! [`mod@measure`] holds clocks, histograms, accounts and the server's cost, [`report`] tells
//! people, and [`baseline`] is the bare limit to compare with.

mod baseline;
mod cli;
mod compare;
mod connect;
mod error;
mod http;
mod measure;
mod publish;
mod report;
mod run;
mod scenario;
mod subscribe;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Parser;
use clap::error::ErrorKind;

use cli::{Cli, Command, RunArgs};
use error::Fault;
use measure::server::Server;
use report::Report;
use report::progress::Progress;
use scenario::Scenario;
use scenario::target::Target;

fn main() -> ExitCode {
    let done = parse().and_then(|cli| cli.map_or(Ok(true), execute));
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(fault) => {
            eprintln!("loadtest: {fault}");
            ExitCode::from(fault.status())
        }
    }
}

/// `None` where the options asked for help alone. What is wrong with them fits a line.
fn parse() -> Result<Option<Cli>, Fault> {
    match Cli::try_parse() {
        Ok(cli) => Ok(Some(cli)),
        Err(error)
            if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) =>
        {
            print!("{error}");
            Ok(None)
        }
        Err(error) if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            Err(Fault::usage("say what to do: loadtest --help lists the scenarios"))
        }
        Err(error) => {
            let text = error.to_string();
            let lines = text.lines().map(str::trim).take_while(|line| !line.is_empty());
            let line = lines.collect::<Vec<_>>().join(" ");
            Err(Fault::usage(line.trim_start_matches("error: ")))
        }
    }
}

/// True if all is well with what was measured.
fn execute(cli: Cli) -> Result<bool, Fault> {
    match cli.command {
        Command::Hold(args) => measure("hold", &args),
        Command::Fanout(args) => measure("fanout", &args),
        Command::Burst(args) => measure("burst", &args),
        Command::Topics(args) => measure("topics", &args),
        Command::Churn(args) => measure("churn", &args),
        Command::Storm(args) => measure("storm", &args),
        Command::Slow(args) => measure("slow", &args),
        Command::Publish(args) => measure("publish", &args),
        Command::Run { file, args } => measure(&file, &args),
        Command::Compare(args) => compare::compare(&args),
        Command::Scenarios => {
            Scenario::built_in().for_each(|(name, about)| println!("{name:<8} {about}"));
            Ok(true)
        }
        Command::Baseline(args) => baseline::serve(&args).map(|()| true),
        Command::Worker => {
            // An interrupt reaches the whole terminal; the parent alone decides what it means.
            let _ignored = interrupt_flag()?;
            subscribe::worker::run().map(|()| true)
        }
    }
}

fn measure(name: &str, args: &RunArgs) -> Result<bool, Fault> {
    let flags =
        toml::Table::try_from(&args.over).map_err(|error| Fault::usage(error.to_string()))?;
    let scenario = Scenario::load(name, &flags)?;
    let target = Target::parse(&scenario.url)?;
    let server =
        args.pid.map(|pid| Server { pid }).or_else(|| Server::listening_on(target.address.port()));
    if let Some(server) = server
        && !server.is_alive()
    {
        return Err(Fault::usage(format!("--pid {}: no such process", server.pid)));
    }
    let interrupted = interrupt_flag()?;
    let progress = Progress::new(&scenario.name, args.quiet);
    let report = run::conductor::run(&scenario, server, &interrupted, progress)?;
    tell(&report, args)?;
    Ok(report.problems.is_empty())
}

fn tell(report: &Report, args: &RunArgs) -> Result<(), Fault> {
    print!("{}", report::table::render(report));
    let write = |path: &std::path::Path, text: String| {
        std::fs::write(path, text)
            .map_err(|error| Fault::system(&format!("write {}", path.display()), error))
    };
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(report)
            .map_err(|e| Fault::system("write the report", e))?;
        write(path, text)?;
    }
    if let Some(path) = &args.html {
        write(path, report::page::page(report))?;
    }
    Ok(())
}

/// Raised by Ctrl-C and by a polite kill.
fn interrupt_flag() -> Result<Arc<AtomicBool>, Fault> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&flag))
            .map_err(|error| Fault::system("listen for signals", error))?;
    }
    Ok(flag)
}
