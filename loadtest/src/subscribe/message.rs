//! What parent and workers tell each other: JSON, a message a line, over the worker's standard
//! input and output.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::measure::latency::Sparse;

/// The first line a worker reads: all it needs to hold its streams.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Assignment {
    /// The number of this worker's first stream among all.
    pub first: u64,
    /// Streams of this worker.
    pub streams: u32,
    /// Where the server listens.
    pub target: SocketAddr,
    /// What to ask of it.
    pub request: RequestTemplate,
    /// Addresses to connect from, taken in turn; none leaves it to the kernel.
    pub sources: Vec<IpAddr>,
    /// Streams on one source address before the next is taken.
    pub streams_per_source: u64,
    /// `SO_RCVBUF`, if not the kernel's default.
    pub receive_buffer_bytes: Option<usize>,
    /// This run's mark in the stamps.
    pub run: u32,
    /// Topics the streams are spread over.
    pub topics: u32,
    /// Connections this worker opens a second; 0 is as fast as the bound below lets it.
    pub ramp: f64,
    /// Connections being opened at once.
    pub in_flight: u32,
    /// Longest wait for a response head, in nanoseconds like all spans here.
    pub open_timeout: u64,
    /// Whether to open a broken or refused stream again, and after how long.
    pub retry: Option<u64>,
    /// Whether a stream that comes back sends `Last-Event-ID`.
    pub resume: bool,
    /// The share of streams that read slowly, and their pace; 0 is not at all.
    pub slow_share: f64,
    /// Bytes a slow stream reads a second.
    pub slow_bytes_per_second: u64,
    /// Events below this number are left out of the latencies.
    pub warmup: u64,
    /// Whether to tell of each event that every stream here has it.
    pub announce: bool,
    /// Span of one point of the time series.
    pub tick: u64,
}

/// How a stream's request is put together; `{topic}` and `{stream}` are filled in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RequestTemplate {
    /// Such as GET.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The `Host` header.
    pub host: String,
    /// Further header lines, without line ends.
    pub headers: Vec<String>,
    /// The name of the topic, or what the names of several start with.
    pub topic: String,
}

/// Parent to worker, after the assignment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum ToWorker {
    /// Number `n` of topic `k` is due at `start + (n * topics + k) * interval`: what a newcomer is
    /// owed.
    Schedule {
        /// When event 0 is due.
        start: u64,
        /// From one event to the next, over all topics.
        interval: u64,
    },
    /// Let this many streams a second leave and come back; 0 stops it.
    Churn {
        /// Streams a second.
        rate: f64,
    },
    /// Drop every stream at once and open them all again.
    Storm {
        /// From then on.
        back: u64,
        /// When the last event of the schedule is due; none without one.
        last_due: Option<u64>,
    },
    /// No more events: `ends[k]` of topic k were sent, of which `excused` (topic, number) were
    /// refused.
    Finish {
        /// Events sent by topic.
        ends: Vec<u64>,
        /// Those the server did not take.
        excused: Vec<(u32, u64)>,
    },
    /// Report and exit.
    Report,
}

/// Worker to parent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum FromWorker {
    /// What happened in one span of the time series.
    Tick(Tick),
    /// No stream is waiting to be opened any more.
    Settled {
        /// Streams open.
        present: u64,
        /// When the last of them opened.
        at: u64,
    },
    /// Every stream here has this event.
    Complete {
        /// Its number.
        number: u64,
        /// When the last had it.
        at: u64,
    },
    /// Every stream that dropped in a storm, and is not slow, has had what it missed.
    Whole {
        /// Which storm, from 1.
        storm: u32,
        /// When the last had it.
        at: u64,
    },
    /// After [`ToWorker::Finish`]: nothing is missing here.
    Drained,
    /// The last line.
    Final(Box<Final>),
}

/// One span of the time series.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Tick {
    /// When it ended.
    pub at: u64,
    /// Streams open at its end.
    pub present: u64,
    /// Streams being opened or waiting for it.
    pub pending: u64,
    /// Events that arrived in it.
    pub deliveries: u64,
    /// Bytes that arrived in it.
    pub bytes: u64,
    /// The latencies of those events, slow streams left out.
    pub latency: Sparse,
    /// Processor time of the worker so far.
    pub cpu: u64,
}

/// The sums of all a worker saw.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Final {
    /// What arrived and what did not, of streams that read.
    pub account: Account,
    /// The same of streams that read slowly or not at all.
    pub slow: Account,
    /// Latencies of slow streams.
    pub slow_latency: Sparse,
    /// From the start of a connect to the response head.
    pub opening: Sparse,
    /// Refused and broken connections by cause.
    pub causes: BTreeMap<String, u64>,
    /// Events without a stamp of this run, by type.
    pub controls: BTreeMap<String, u64>,
    /// Streams open at the end.
    pub present: u64,
    /// Connections opened with a 200.
    pub opened: u64,
    /// When the last event arrived.
    pub last_arrival: u64,
    /// User memory of the worker (Pss) in bytes.
    pub memory: u64,
    /// Processor time of the worker.
    pub cpu: u64,
    /// Churn: streams that left by themselves.
    pub left: u64,
}

/// The account of events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Arrivals owed.
    pub expected: u64,
    /// Arrivals, repeats left out.
    pub received: u64,
    /// Owed and never had.
    pub missing: u64,
    /// Had more than once.
    pub repeated: u64,
    /// Had after a later one.
    pub out_of_order: u64,
    /// Of a topic the stream did not ask for.
    pub misrouted: u64,
}

impl Account {
    /// Adds another's numbers.
    pub fn add(&mut self, other: &Self) {
        self.expected += other.expected;
        self.received += other.received;
        self.missing += other.missing;
        self.repeated += other.repeated;
        self.out_of_order += other.out_of_order;
        self.misrouted += other.misrouted;
    }
}
