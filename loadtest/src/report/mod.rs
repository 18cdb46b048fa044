//! What a run found, as data: the JSON report, and what table and page are made of.

pub mod page;
mod plot;
pub mod progress;
pub mod table;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::measure::latency::Percentiles;
use crate::measure::server::Cost;
use crate::scenario::Scenario;
use crate::subscribe::message::Account;

/// Raised when a field changes its meaning or goes away.
pub const VERSION: u32 = 2;

/// A run's report.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// The format's version.
    pub version: u32,
    /// The tool's version.
    pub tool: String,
    /// When the run began, in seconds since 1970.
    pub began: u64,
    /// The machine.
    pub machine: Machine,
    /// The full configuration.
    pub scenario: Scenario,
    /// Opening the streams.
    pub opening: Opening,
    /// What arrived how fast.
    pub delivery: Delivery,
    /// Publishing.
    pub publishing: Publishing,
    /// Whether everything arrived, once and in order.
    pub account: Account,
    /// The same for the slow streams, who are owed nothing but the truth.
    pub slow: Slow,
    /// What the server cost, if its process could be read.
    pub server: Option<ServerCost>,
    /// What this tool cost.
    pub client: ClientCost,
    /// Refused and broken connections by cause.
    pub causes: BTreeMap<String, u64>,
    /// Events that are not this run's, by type, such as `lagged` or `reset`.
    pub controls: BTreeMap<String, u64>,
    /// Storms in order.
    pub storms: Vec<Storm>,
    /// Streams that left and came back.
    pub left: u64,
    /// The time series.
    pub series: Vec<Point>,
    /// What is wrong; empty if all is well.
    pub problems: Vec<String>,
    /// Whether the run was ended early by hand.
    pub interrupted: bool,
}

/// Where it was measured.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Machine {
    /// Kernel release.
    pub kernel: String,
    /// Processors.
    pub cpus: u64,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Who kept its processors busy while measuring.
    pub busy: Option<Processors>,
}

/// Processors kept busy on average.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Processors {
    /// By the server.
    pub server: f64,
    /// By this tool.
    pub tool: f64,
    /// By everything else: what they took was not there to be measured.
    pub others: f64,
}

/// Opening the streams.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Opening {
    /// Streams open when the ramp was over.
    pub streams: u64,
    /// From the first connect to the last head.
    pub seconds: f64,
    /// Streams opened a second.
    pub per_s: f64,
    /// From connect to head.
    pub latency: Percentiles,
    /// Streams open at the end.
    pub streams_at_end: u64,
    /// Responses with 200, reconnects included.
    pub opened: u64,
}

/// A storm: all streams drop, and after `away` all of them come back.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Storm {
    /// From the first that may come back until the last response head, ms; none if not all came
    /// back.
    pub back_ms: Option<f64>,
    /// Until the last stream had all that was due before it came back, ms. None if one had not
    /// before the run ended or the next storm began, if a publish was refused (nobody has that
    /// event), or without a schedule or resuming.
    pub whole_ms: Option<f64>,
}

/// What arrived how fast.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Delivery {
    /// Arrivals in the measured time.
    pub count: u64,
    /// The measured time: from the first due to the last arrival, or the sum of it over bursts.
    pub seconds: f64,
    /// Arrivals a second.
    pub per_s: f64,
    /// From due to arrival.
    pub latency: Percentiles,
    /// From due until the last stream has it, where each event (or burst) is waited for.
    pub last_of_all: Percentiles,
    /// Arrivals a second of each burst.
    pub bursts_per_s: Vec<f64>,
}

/// Publishing.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Publishing {
    /// Requests sent.
    pub sent: u64,
    /// Answered with 2xx.
    pub accepted: u64,
    /// Accepted a second.
    pub per_s: f64,
    /// Answers by status, or by what went wrong.
    pub answers: BTreeMap<String, u64>,
    /// From due to answered with 2xx.
    pub latency: Percentiles,
}

/// The slow streams.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Slow {
    /// How many.
    pub streams: u64,
    /// Their account.
    pub account: Account,
    /// Their latency.
    pub latency: Percentiles,
}

/// What the server cost.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ServerCost {
    /// Its process.
    pub pid: u32,
    /// Its threads, descendants' included.
    pub threads: u64,
    /// User memory before the first stream, bytes.
    pub memory_before: u64,
    /// User memory with all streams open and nothing sent, bytes.
    pub memory_idle: u64,
    /// User memory at the end, bytes.
    pub memory_after: u64,
    /// `memory_idle` by streams, bytes.
    pub memory_per_stream: Option<f64>,
    /// Growth from `memory_before` to `memory_idle` by streams, bytes.
    pub memory_growth_per_stream: Option<f64>,
    /// Processor time to open a stream, µs.
    pub cpu_per_opening_us: Option<f64>,
    /// Processor time of a delivery, µs.
    pub cpu_per_delivery_us: Option<f64>,
    /// Processor time of a publish, µs, where nothing was delivered.
    pub cpu_per_publish_us: Option<f64>,
    /// Context switches of the measured part by 1,000 deliveries (or publishes).
    pub switches_per_1000: Option<f64>,
    /// What the measured part used.
    pub measured: Cost,
    /// Streams and user memory (bytes) as the ramp went.
    pub memory_by_streams: Vec<(u64, u64)>,
}

/// What this tool cost.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ClientCost {
    /// Worker processes.
    pub processes: u64,
    /// Processor time of the workers in the whole run, seconds.
    pub cpu_s: f64,
    /// User memory of the workers (Pss), bytes.
    pub memory: u64,
    /// The same by stream.
    pub memory_per_stream: Option<f64>,
    /// Kernel socket buffers of the whole machine with all streams open, bytes.
    pub socket_buffers: Option<u64>,
}

/// One point of the time series.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Point {
    /// Seconds since the run began.
    pub at_s: f64,
    /// Streams open.
    pub streams: u64,
    /// Arrivals a second.
    pub deliveries_per_s: f64,
    /// Bytes a second in MiB.
    pub mib_per_s: f64,
    /// Publishes a second.
    pub published_per_s: f64,
    /// Median latency, as all latencies in ms.
    pub p50_ms: f64,
    /// All but one in a hundred.
    pub p99_ms: f64,
    /// The latest.
    pub max_ms: f64,
    /// Processors the server kept busy.
    pub server_cpu: Option<f64>,
    /// Its processor time per arrival, µs.
    pub cpu_per_delivery_us: Option<f64>,
    /// Its user memory.
    pub server_memory_mib: Option<f64>,
}

impl Machine {
    /// This one.
    pub fn read() -> Self {
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let total = memory.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok());
        Self {
            kernel: kernel.trim().to_owned(),
            cpus: std::thread::available_parallelism().map_or(0, |cpus| cpus.get() as u64),
            memory_mib: total.unwrap_or(0) / 1024,
            busy: None,
        }
    }
}
