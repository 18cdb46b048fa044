//! `loadtest`: measures what an SSE server, its kernel and its proxy can hold and deliver.
//!
//! Modules import only from modules above them in this list (checked by `tests/tool/layers.rs`):
//!
//! 1. [`error`]: the error type and exit statuses
//! 2. [`interrupt`]: SIGINT and SIGTERM
//! 3. [`http`]: HTTP/1.1 heads
//! 4. [`mod@measure`]: clock, stamps, histograms, accounts, resource usage
//! 5. [`connect`]: connects, source addresses, the ramp
//! 6. [`scenario`]: what a run does
//! 7. [`publish`]: the publisher's thread
//! 8. [`subscribe`]: the worker processes that hold the streams
//! 9. [`probe`]: times openings and health checks under load
//! 10. [`report`]: the report and its renderings
//! 11. [`run`]: conducts a run of a scenario
//! 12. [`baseline`]: the reference server
//! 13. [`compare`]: runs a scenario against several servers
//! 14. [`cli`]: the command line

mod baseline;
mod cli;
mod compare;
mod connect;
mod error;
mod http;
mod interrupt;
mod measure;
mod probe;
mod publish;
mod report;
mod run;
mod scenario;
mod subscribe;

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use cli::{Cli, Command, RunArgs};
use error::Error;
use measure::server::Server;
use report::Report;
use report::progress::Progress;
use scenario::Target;

fn main() -> ExitCode {
    let result = parse().and_then(|cli| cli.map_or(Ok(true), execute));
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("loadtest: {error}");
            ExitCode::from(error.exit_status())
        }
    }
}

/// Parses the command line; `None` if it only asks for help. Errors are joined to one line.
fn parse() -> Result<Option<Cli>, Error> {
    match Cli::try_parse() {
        Ok(cli) => Ok(Some(cli)),
        Err(error)
            if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) =>
        {
            let _ = error.print();
            Ok(None)
        }
        Err(error) if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            Err(Error::usage("a command is required: loadtest --help lists them"))
        }
        Err(error) => {
            let text = error.to_string();
            let lines = text.lines().map(str::trim).take_while(|line| !line.is_empty());
            let line = lines.collect::<Vec<_>>().join(" ");
            Err(Error::usage(line.trim_start_matches("error: ")))
        }
    }
}

/// Executes a command; false if the report has problems.
fn execute(cli: Cli) -> Result<bool, Error> {
    match cli.command {
        Command::Hold(args) => measure("hold", &args),
        Command::Fanout(args) => measure("fanout", &args),
        Command::Burst(args) => measure("burst", &args),
        Command::Topics(args) => measure("topics", &args),
        Command::Churn(args) => measure("churn", &args),
        Command::Storm(args) => measure("storm", &args),
        Command::Slow(args) => measure("slow", &args),
        Command::Fair(args) => measure("fair", &args),
        Command::Selectors(args) => measure("selectors", &args),
        Command::Pause(args) => measure("pause", &args),
        Command::Publish(args) => measure("publish", &args),
        Command::Run { file, args } => measure(&file, &args),
        Command::Compare(args) => compare::compare(&args),
        Command::Scenarios => {
            scenario::built_in().for_each(|(name, about)| println!("{name:<10} {about}"));
            Ok(true)
        }
        Command::Baseline(args) => baseline::serve(&args).map(|()| true),
        Command::Worker => {
            // A terminal's interrupt reaches the workers too; only the parent acts on it.
            let _ignored = interrupt::flag()?;
            subscribe::run().map(|()| true)
        }
    }
}

fn measure(name: &str, args: &RunArgs) -> Result<bool, Error> {
    let scenario = scenario::load(name, &args.overrides)?;
    let target = Target::parse(&scenario.url)?;
    let server =
        args.pid.map(|pid| Server { pid }).or_else(|| Server::listening_on(target.address.port()));
    if let Some(server) = server
        && !server.is_alive()
    {
        return Err(Error::usage(format!("--pid {}: no such process", server.pid)));
    }
    for path in [&args.json, &args.html].into_iter().flatten() {
        report::check_writable(path)?;
    }
    let interrupted = interrupt::flag()?;
    let progress = Progress::new(&scenario.name, args.quiet);
    let report = run::run(&scenario, server, &interrupted, progress)?;
    print!("{}", report::table::render(&report));
    write_files(&report, args)?;
    Ok(report.problems.is_empty())
}

fn write_files(report: &Report, args: &RunArgs) -> Result<(), Error> {
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(report)
            .map_err(|error| Error::system("encode the report", error))?;
        write(path, &text)?;
    }
    if let Some(path) = &args.html {
        write(path, &report::page::render(report))?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    std::fs::write(path, text)
        .map_err(|error| Error::system(&format!("write {}", path.display()), error))
}
