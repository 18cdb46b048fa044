//! The report of a run: its data model, which is the JSON format, and its renderings.

pub(crate) mod page;
mod plot;
pub(crate) mod progress;
mod rows;
mod sections;
pub(crate) mod table;

pub(crate) use rows::grouped;

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::measure::account::{Account, Fates};
use crate::measure::latency::Percentiles;
use crate::measure::server::Cost;
use crate::scenario::{EventIn, Scenario};

/// The version of the JSON format; incremented when a field is removed or changes its meaning.
pub(crate) const VERSION: u32 = 2;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) version: u32,
    /// Version of the tool.
    pub(crate) tool: String,
    /// Start of the run, seconds since 1970.
    pub(crate) began: u64,
    pub(crate) machine: Machine,
    pub(crate) scenario: Scenario,
    pub(crate) opening: Opening,
    pub(crate) delivery: Delivery,
    pub(crate) publishing: Publishing,
    /// Of the streams that are not slow.
    pub(crate) account: Account,
    /// What became of the streams since the first event, or since the server was stopped.
    #[serde(default)]
    pub(crate) fates: Fates,
    pub(crate) slow: Slow,
    /// `None` if the server's process is unknown.
    pub(crate) server: Option<ServerCost>,
    pub(crate) client: ClientCost,
    /// Refused and broken connections by cause.
    pub(crate) causes: BTreeMap<String, u64>,
    /// Events without a stamp of this run, by type, such as `lagged` or `reset`.
    pub(crate) controls: BTreeMap<String, u64>,
    pub(crate) storms: Vec<Storm>,
    /// Of runs with a small topic or probes.
    pub(crate) fair: Option<Fair>,
    /// Of runs with `--topics-per-stream`.
    pub(crate) selectors: Option<Selectors>,
    /// Of runs with `--pause`.
    pub(crate) pause: Option<Pause>,
    /// Disconnects by churn and storms.
    pub(crate) left: u64,
    pub(crate) series: Vec<Point>,
    /// The end of the measurement, seconds since the run began. If events are missing, the run goes
    /// on waiting for them.
    pub(crate) measured_s: Option<f64>,
    /// Why the run has failed; empty if it has not.
    pub(crate) problems: Vec<String>,
    /// Ended early by a signal.
    pub(crate) interrupted: bool,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// Kernel release.
    pub(crate) kernel: String,
    pub(crate) cpus: u64,
    pub(crate) memory_mib: u64,
    /// Processors kept busy during the measurement.
    pub(crate) busy: Option<Processors>,
}

/// Average number of busy processors.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Processors {
    pub(crate) server: f64,
    /// The tool and its workers.
    pub(crate) tool: f64,
    /// All other processes.
    pub(crate) others: f64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Opening {
    /// Streams open after the ramp.
    pub(crate) streams: u64,
    /// From the first connect to the last response head.
    pub(crate) seconds: f64,
    pub(crate) per_s: f64,
    /// From connect to response head.
    pub(crate) latency: Percentiles,
    /// Streams open at the end.
    pub(crate) streams_at_end: u64,
    /// Responses with status 200, reconnects included.
    pub(crate) opened: u64,
}

/// A reconnect storm: all streams disconnect, and reconnect after `away`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Storm {
    /// From the end of `away` to the last response head, ms; `None` if a stream did not reconnect.
    pub(crate) back_ms: Option<f64>,
    /// From the end of `away` until the last stream has received all events that were due before it
    /// reconnected, ms. `None` if a stream has not by the end of the run or the next storm, if a
    /// publish was rejected, or without a schedule or resuming.
    pub(crate) whole_ms: Option<f64>,
}

/// A small topic beside large ones. `delivery` is of the large topics, `account` of all.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Fair {
    pub(crate) small_streams: u64,
    /// From due to arrival.
    pub(crate) small_latency: Percentiles,
    pub(crate) small_account: Account,
    pub(crate) small_sent: u64,
    /// Deliveries of the large topics, while the small one is published to.
    pub(crate) large_per_s: f64,
    /// While it is not; `None` without `--alternate`.
    pub(crate) large_alone_per_s: Option<f64>,
    /// The fraction of `large_alone_per_s` that is lost beside the small topic.
    pub(crate) large_loss: Option<f64>,
    /// From due to the response head of a new stream.
    pub(crate) opening: Percentiles,
    /// From due to the response head of the health check.
    pub(crate) health: Percentiles,
    /// Probes without a 200 response, by cause.
    pub(crate) failed_probes: BTreeMap<String, u64>,
}

/// Streams with many topics beside as many streams with one topic.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Selectors {
    /// Topics of each of `many`.
    pub(crate) topics: u32,
    /// The topics of an event to `many`.
    pub(crate) event_in: EventIn,
    pub(crate) one: SelectorCost,
    pub(crate) many: SelectorCost,
    /// Of `many` to `one`, as the next two.
    pub(crate) cpu_ratio: Option<f64>,
    pub(crate) memory_ratio: Option<f64>,
    pub(crate) opening_ratio: Option<f64>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct SelectorCost {
    pub(crate) deliveries: u64,
    pub(crate) per_s: f64,
    /// From due to arrival at the last stream.
    pub(crate) last_of_all: Percentiles,
    pub(crate) cpu_per_delivery_us: Option<f64>,
    /// Growth of the server's user memory per stream, bytes.
    pub(crate) memory_per_stream: Option<f64>,
    pub(crate) cpu_per_opening_us: Option<f64>,
}

/// The server was stopped; `fates` says what became of the streams.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Pause {
    /// How long it was stopped.
    pub(crate) seconds: f64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Delivery {
    /// Deliveries in the measured time.
    pub(crate) count: u64,
    /// The measured time: from the first due time to the last arrival; in closed-loop runs, the
    /// sum over the events or bursts.
    pub(crate) seconds: f64,
    pub(crate) per_s: f64,
    /// From due to arrival.
    pub(crate) latency: Percentiles,
    /// From due to arrival at the last stream, in closed-loop runs.
    pub(crate) last_of_all: Percentiles,
    /// Deliveries a second of each burst.
    pub(crate) bursts_per_s: Vec<f64>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Publishing {
    pub(crate) sent: u64,
    /// Requests with a 2xx response.
    pub(crate) accepted: u64,
    /// Accepted requests a second.
    pub(crate) per_s: f64,
    /// Responses by status, and failed requests by cause.
    pub(crate) answers: BTreeMap<String, u64>,
    /// From due to a 2xx response.
    pub(crate) latency: Percentiles,
}

/// The slow streams.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Slow {
    pub(crate) streams: u64,
    pub(crate) account: Account,
    pub(crate) latency: Percentiles,
}

/// The server's resource usage.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct ServerCost {
    pub(crate) pid: u32,
    /// Threads, descendants' included.
    pub(crate) threads: u64,
    /// User memory before the first stream, bytes.
    pub(crate) memory_before: u64,
    /// User memory with all streams open, before the first event, bytes.
    pub(crate) memory_idle: u64,
    /// User memory at the end, bytes.
    pub(crate) memory_after: u64,
    /// `memory_idle` per stream, bytes.
    pub(crate) memory_per_stream: Option<f64>,
    /// Growth until all streams were idle, without pages of files, per stream, bytes.
    pub(crate) memory_growth_per_stream: Option<f64>,
    pub(crate) cpu_per_opening_us: Option<f64>,
    pub(crate) cpu_per_delivery_us: Option<f64>,
    /// Only in runs without deliveries.
    pub(crate) cpu_per_publish_us: Option<f64>,
    /// Context switches per 1,000 deliveries, or per 1,000 publishes without deliveries.
    pub(crate) switches_per_1000: Option<f64>,
    /// Usage during the measurement.
    pub(crate) measured: Cost,
    /// Streams and memory without pages of files (bytes) during the ramp.
    pub(crate) memory_by_streams: Vec<(u64, u64)>,
}

/// The tool's own resource usage.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct ClientCost {
    /// Worker processes.
    pub(crate) processes: u64,
    /// Processor time of the workers in the whole run, seconds.
    pub(crate) cpu_s: f64,
    /// User memory of the workers (Pss), bytes.
    pub(crate) memory: u64,
    pub(crate) memory_per_stream: Option<f64>,
    /// Kernel socket buffers of the whole machine with all streams open, bytes.
    pub(crate) socket_buffers: Option<u64>,
}

/// One point of the time series.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Point {
    /// Seconds since the run began.
    pub(crate) at_s: f64,
    pub(crate) streams: u64,
    /// Fewest streams at a time; the sum of each worker's fewest.
    #[serde(default)]
    pub(crate) streams_min: u64,
    pub(crate) deliveries_per_s: f64,
    pub(crate) mib_per_s: f64,
    pub(crate) published_per_s: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
    /// Of the small topic, or of the streams with many topics.
    pub(crate) second_max_ms: Option<f64>,
    /// Processors the server kept busy.
    pub(crate) server_cpu: Option<f64>,
    pub(crate) cpu_per_delivery_us: Option<f64>,
    pub(crate) server_memory_mib: Option<f64>,
}

/// Checks before a run that its report can be written to `path`, which is left as it is.
pub(crate) fn check_writable(path: &Path) -> Result<(), Error> {
    let existed = path.exists();
    let opened = OpenOptions::new().append(true).create(true).open(path);
    opened.map_err(|error| {
        Error::usage(format!("can't write the report to {}: {error}", path.display()))
    })?;
    if !existed {
        let _ = std::fs::remove_file(path);
    }
    Ok(())
}

impl Machine {
    pub(crate) fn read() -> Self {
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
