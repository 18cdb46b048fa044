//! The options of a comparison.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;

use crate::scenario::Overrides;

#[derive(Args)]
pub(crate) struct CompareArgs {
    /// The scenario: a name, or a TOML file.
    #[arg(default_value = "fanout")]
    pub(super) scenario: String,
    /// Servers, the first one as the reference: baseline, uring, fanfare, or a peer's TOML file.
    #[arg(long, value_delimiter = ',', default_value = "baseline,fanfare")]
    pub(super) with: Vec<String>,
    /// Runs of each server.
    #[arg(long, default_value = "3")]
    pub(super) rounds: NonZeroUsize,
    /// Fanfare's executable.
    #[arg(long, value_name = "FILE", default_value = "target/release/fanfare")]
    pub(super) fanfare: PathBuf,
    /// A setting of Fanfare, `FANFARE_X=value`; may be repeated.
    #[arg(long, value_name = "SETTING")]
    pub(super) fanfare_env: Vec<String>,
    /// Threads of the baseline.
    #[arg(long, default_value = "2")]
    pub(super) threads: NonZeroUsize,
    #[command(flatten)]
    pub(super) overrides: Overrides,
    /// Write all reports and the ratios as JSON.
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
    /// Print the table of every run.
    #[arg(long)]
    pub(super) verbose: bool,
    /// Do not print a progress line.
    #[arg(long)]
    pub(super) quiet: bool,
}
