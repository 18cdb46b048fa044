//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::baseline::BaselineArgs;
use crate::compare::CompareArgs;
use crate::scenario::Overrides;

/// Measures what an SSE server, its kernel and its proxy can hold and deliver.
#[derive(Parser)]
#[command(version, about, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Open streams and keep them open: the cost of an idle stream.
    Hold(RunArgs),
    /// One topic, one event at a time (or at --rate).
    Fanout(RunArgs),
    /// Bursts of events to one topic.
    Burst(RunArgs),
    /// Many topics with few subscribers each.
    Topics(RunArgs),
    /// Streams disconnect and reconnect while events are published.
    Churn(RunArgs),
    /// All streams disconnect at once and resume.
    Storm(RunArgs),
    /// Some of the streams read slowly or not at all.
    Slow(RunArgs),
    /// A small topic beside large ones that are published to without pause.
    Fair(RunArgs),
    /// Streams with many topics, compared with streams of one topic.
    Selectors(RunArgs),
    /// The server's process is stopped and continued while events are published.
    Pause(RunArgs),
    /// Publish rate over keep-alive connections.
    Publish(RunArgs),
    /// A scenario from a TOML file.
    Run {
        /// The scenario's file.
        file: String,
        #[command(flatten)]
        args: RunArgs,
    },
    /// Start several servers in turn and compare them by one scenario.
    Compare(CompareArgs),
    /// List the built-in scenarios.
    Scenarios,
    /// A server that only writes, as a reference.
    Baseline(BaselineArgs),
    /// A worker process of a run.
    #[command(hide = true)]
    Worker,
}

#[derive(Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) overrides: Overrides,
    /// Process id of the server [default: the process that listens on the URL's port].
    #[arg(long)]
    pub(crate) pid: Option<u32>,
    /// Write the report as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write the report as an HTML page with plots.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Do not print a progress line.
    #[arg(long)]
    pub(crate) quiet: bool,
}
