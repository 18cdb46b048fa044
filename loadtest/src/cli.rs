//! The command line. Flags go over the scenario's fields of the same name.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use serde::Serialize;

use crate::baseline::Io;
use crate::scenario::Pace;
use crate::scenario::duration::Span;

/// Measures what an SSE server, its kernel and its proxy can hold and deliver.
#[derive(Parser)]
#[command(version, about, max_term_width = 110)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Subcommand)]
pub enum Command {
    /// Ramp up and stay: what an idle stream costs.
    Hold(RunArgs),
    /// One topic, one event at a time (or --rate).
    Fanout(RunArgs),
    /// Events back to back.
    Burst(RunArgs),
    /// Many topics with few subscribers each.
    Topics(RunArgs),
    /// Streams leave and come back while events go on.
    Churn(RunArgs),
    /// All streams drop at once and resume.
    Storm(RunArgs),
    /// A share of the streams reads slowly or not at all.
    Slow(RunArgs),
    /// Ingest rate over keep-alive connections.
    Publish(RunArgs),
    /// A scenario from a TOML file.
    Run {
        /// The file.
        file: String,
        /// Flags over it.
        #[command(flatten)]
        args: RunArgs,
    },
    /// A scenario against several servers in turn, started and stopped here.
    Compare(CompareArgs),
    /// List the scenarios that come with the tool.
    Scenarios,
    /// The bare limit: a server that only writes.
    Baseline(BaselineArgs),
    /// A worker process of a run.
    #[command(hide = true)]
    Worker,
}

/// Options of a run.
#[derive(Args, Clone, Default)]
pub struct RunArgs {
    /// What goes over the scenario.
    #[command(flatten)]
    pub over: Overrides,
    /// The server's process [default: whoever listens on the URL's port here].
    #[arg(long)]
    pub pid: Option<u32>,
    /// Write the report as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the report as a page with plots.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// No progress line.
    #[arg(long)]
    pub quiet: bool,
}

/// Scenario fields that may be given as flags.
#[derive(Args, Clone, Default, Serialize)]
pub struct Overrides {
    /// http://host:port of the server.
    #[arg(long)]
    pub url: Option<String>,
    /// Path and query of a subscription; {topic} and {stream} are filled in.
    #[arg(long, value_name = "PATH")]
    pub subscribe: Option<String>,
    /// Method of a subscription.
    #[arg(long, value_name = "METHOD")]
    pub subscribe_method: Option<String>,
    /// A header of subscriptions, `Name: value`; may be repeated.
    #[arg(long = "header", value_name = "HEADER")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subscribe_headers: Vec<String>,
    /// Path and query of a publish; {topic}, {data} and {number} are filled in.
    #[arg(long, value_name = "PATH")]
    pub publish: Option<String>,
    /// http://host:port to publish to, if not --url.
    #[arg(long, value_name = "URL")]
    pub publish_url: Option<String>,
    /// Method of a publish.
    #[arg(long, value_name = "METHOD")]
    pub publish_method: Option<String>,
    /// A header of publishes; may be repeated.
    #[arg(long = "publish-header", value_name = "HEADER")]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub publish_headers: Vec<String>,
    /// Body of a publish.
    #[arg(long)]
    pub body: Option<String>,
    /// Its type.
    #[arg(long, value_name = "TYPE")]
    pub content_type: Option<String>,
    /// Name of the topic; several are numbered.
    #[arg(long)]
    pub topic: Option<String>,
    /// Streams to hold.
    #[arg(long)]
    pub streams: Option<u64>,
    /// Topics they are spread over.
    #[arg(long)]
    pub topics: Option<u32>,
    /// Bytes of data in an event.
    #[arg(long)]
    pub size: Option<usize>,
    /// How events follow each other.
    #[arg(long)]
    pub pace: Option<Pace>,
    /// Events a second, over all topics; 0 is as fast as they are answered.
    #[arg(long)]
    pub rate: Option<f64>,
    /// Events in all, or in a burst.
    #[arg(long)]
    pub events: Option<u64>,
    /// Bursts.
    #[arg(long)]
    pub bursts: Option<u64>,
    /// Events (or bursts) before measuring begins.
    #[arg(long)]
    pub warmup: Option<u64>,
    /// How long to publish or hold: 10s, 500ms, 2m.
    #[arg(long)]
    pub duration: Option<Span>,
    /// Publishers' keep-alive connections.
    #[arg(long)]
    pub connections: Option<usize>,
    /// Publishes in flight on each.
    #[arg(long)]
    pub pipeline: Option<usize>,
    /// Worker processes [default: as many as the streams' descriptors need].
    #[arg(long)]
    pub processes: Option<u64>,
    /// Streams opened a second; 0 is no limit.
    #[arg(long)]
    pub ramp: Option<f64>,
    /// Streams being opened at once.
    #[arg(long)]
    pub in_flight: Option<u32>,
    /// Longest wait for a response head.
    #[arg(long)]
    pub open_timeout: Option<Span>,
    /// Whether refused and broken streams are opened again.
    #[arg(long)]
    pub retry: Option<bool>,
    /// After how long.
    #[arg(long)]
    pub retry_delay: Option<Span>,
    /// Whether streams that come back send Last-Event-ID.
    #[arg(long)]
    pub resume: Option<bool>,
    /// The share of streams that are slow, 0 to 1.
    #[arg(long)]
    pub slow_share: Option<f64>,
    /// Bytes a slow stream reads a second; 0 is not at all.
    #[arg(long)]
    pub slow_read: Option<u64>,
    /// Streams a second that leave and come back.
    #[arg(long)]
    pub churn: Option<f64>,
    /// How often all streams drop and reconnect.
    #[arg(long)]
    pub storms: Option<u64>,
    /// How long they stay away in a storm.
    #[arg(long)]
    pub away: Option<Span>,
    /// Quiet time before the first event.
    #[arg(long)]
    pub settle: Option<Span>,
    /// How long to wait for what is missing.
    #[arg(long)]
    pub patience: Option<Span>,
    /// SO_RCVBUF of the streams, bytes.
    #[arg(long)]
    pub receive_buffer: Option<usize>,
    /// Addresses to connect from [default: many of 127.0.0.0/8 if the server is on loopback].
    #[arg(long, value_delimiter = ',')]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub source: Vec<IpAddr>,
    /// One point of the time series.
    #[arg(long)]
    pub tick: Option<Span>,
}

/// Options of a comparison.
#[derive(Args)]
pub struct CompareArgs {
    /// The scenario: a name, or a TOML file.
    #[arg(default_value = "fanout")]
    pub scenario: String,
    /// Servers, the first being the yardstick: baseline, uring, fanfare, or a peer's TOML file.
    #[arg(long, value_delimiter = ',', default_value = "baseline,fanfare")]
    pub with: Vec<String>,
    /// How often each is run.
    #[arg(long, default_value = "3")]
    pub rounds: NonZeroUsize,
    /// Fanfare's program.
    #[arg(long, value_name = "FILE", default_value = "target/release/fanfare")]
    pub fanfare: PathBuf,
    /// A setting of Fanfare, `FANFARE_X=value`; may be repeated.
    #[arg(long, value_name = "SETTING")]
    pub fanfare_env: Vec<String>,
    /// Threads of the baseline.
    #[arg(long, default_value = "2")]
    pub threads: NonZeroUsize,
    /// What goes over the scenario.
    #[command(flatten)]
    pub over: Overrides,
    /// Write all reports and the ratios as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// The table of every run, not of the comparison alone.
    #[arg(long)]
    pub verbose: bool,
    /// No progress line.
    #[arg(long)]
    pub quiet: bool,
}

/// Options of the baseline.
#[derive(Args)]
pub struct BaselineArgs {
    /// Where to listen; port 0 takes any.
    #[arg(long, default_value = "127.0.0.1:8090")]
    pub listen: SocketAddr,
    /// Threads, each with a descriptor table of its own.
    #[arg(long, default_value = "2")]
    pub threads: NonZeroUsize,
    /// How events go to the sockets.
    #[arg(long, value_enum, default_value = "write")]
    pub io: Io,
}
