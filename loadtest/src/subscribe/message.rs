//! The protocol between the parent and its workers: JSON lines over standard input and output.
//! All times are in nanoseconds.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::request::RequestTemplate;
use crate::measure::account::{Account, Fates};
use crate::measure::latency::SparseHistogram;

/// The first line a worker reads.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Assignment {
    /// The number of this worker's first stream among all.
    pub(crate) first: u64,
    /// The number of the first stream of its group.
    pub(crate) first_of_group: u64,
    pub(crate) streams: u32,
    pub(crate) target: SocketAddr,
    pub(crate) request: RequestTemplate,
    /// Source addresses; if empty, the kernel chooses.
    pub(crate) sources: Vec<IpAddr>,
    pub(crate) streams_per_source: u64,
    /// `SO_RCVBUF`, if not the kernel's default.
    pub(crate) receive_buffer_bytes: Option<usize>,
    /// The run's id in the stamps.
    pub(crate) run_id: u32,
    /// The first topic of the group, and its topics, which the streams are spread over.
    pub(crate) first_topic: u32,
    pub(crate) topics: u32,
    /// Publishers that number their own events.
    pub(crate) publishers: u32,
    /// Connections this worker opens a second; 0 is no limit.
    pub(crate) ramp: f64,
    pub(crate) in_flight: u32,
    /// Timeout of a response head.
    pub(crate) open_timeout: u64,
    /// Delay before a broken or refused stream is opened again, if it is.
    pub(crate) retry: Option<u64>,
    /// Whether reconnecting streams send `Last-Event-ID`.
    pub(crate) resume: bool,
    /// The fraction of slow streams.
    pub(crate) slow_share: f64,
    /// Bytes a slow stream reads a second; 0 reads nothing.
    pub(crate) slow_bytes_per_second: u64,
    /// Events below this number are excluded from the latencies.
    pub(crate) warmup: u64,
    /// Whether to send [`FromWorker::Complete`].
    pub(crate) announce: bool,
    /// Interval of the time series.
    pub(crate) tick: u64,
    /// Runs the worker at a higher priority, so that the tool's own load delays it less.
    pub(crate) urgent: bool,
}

impl Assignment {
    /// The number of stream `index` among the streams of all workers.
    pub(super) fn global(&self, index: usize) -> u64 {
        self.first + index as u64
    }

    pub(super) fn topic_of(&self, index: usize) -> u32 {
        let of_group = self.global(index) - self.first_of_group;
        self.first_topic + (of_group % u64::from(self.topics)) as u32
    }

    /// The topic of stream `index` among those of the group, and their number.
    pub(super) fn topic_in_group(&self, index: usize) -> (u32, u32) {
        (self.topic_of(index) - self.first_topic, self.topics)
    }

    /// True if stream `index` is one of the slow ones, which are spread evenly.
    pub(super) fn is_slow(&self, index: usize) -> bool {
        let below = |stream: u64| (stream as f64 * self.slow_share).floor();
        let stream = self.global(index);
        below(stream + 1) > below(stream)
    }

    pub(super) fn source_of(&self, index: usize) -> Option<IpAddr> {
        if self.sources.is_empty() {
            return None;
        }
        let turn = (self.global(index) / self.streams_per_source) as usize;
        Some(self.sources[turn % self.sources.len()])
    }
}

/// Parent to worker, after the assignment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum ToWorker {
    /// Event `n` of topic `k` is due at `start + (n * topics + k) * interval`. Determines which
    /// events a stream that opens later is expected to receive: those due after its response head.
    /// If `interval` is 0, events have no due times known in advance, and such a stream is expected
    /// to receive what follows its first event.
    Schedule { start: u64, interval: u64 },
    /// Count the deliveries until `until` by the parity of their period of `length` since `start`.
    CountPeriods { start: u64, length: u64, until: u64 },
    /// From now on, count what becomes of the streams that have been opened.
    WatchStreams,
    /// Disconnect and reopen `rate` streams a second; 0 stops it.
    Churn { rate: f64 },
    /// Close every stream now and reopen them from `reconnect_at` on.
    Storm {
        reconnect_at: u64,
        /// When the last event of the schedule is due, if there is a schedule.
        last_due: Option<u64>,
    },
    /// No more events are published.
    Finish {
        /// Events published, by lane.
        counts: Vec<u64>,
        /// Lane and number of the events the server did not accept.
        rejected: Vec<(u32, u64)>,
    },
    /// Send [`FromWorker::Final`] and exit.
    Report,
}

/// Worker to parent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum FromWorker {
    Tick(Tick),
    /// No stream is queued or being opened any more; the last one opened at `at`.
    Settled {
        at: u64,
    },
    /// Every reading stream of this worker has received event `number`, the last one at `at`.
    Complete {
        number: u64,
        at: u64,
    },
    /// Every reading stream that was open before storm `storm` (counted from 1) has received the
    /// events it missed, the last one at `at`.
    Recovered {
        storm: u32,
        at: u64,
    },
    /// After [`ToWorker::Finish`]: no event is missing.
    Drained,
    /// The last line.
    Final(Box<Final>),
}

/// One interval of the time series.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Tick {
    /// The end of the interval.
    pub(crate) at: u64,
    /// Streams open at the end.
    pub(crate) open: u64,
    /// Fewest streams open at any time of the interval.
    pub(crate) open_min: u64,
    pub(crate) deliveries: u64,
    pub(crate) bytes: u64,
    /// Latencies of the deliveries to streams that are not slow.
    pub(crate) latency: SparseHistogram,
    /// Processor time of the worker so far.
    pub(crate) cpu: u64,
}

/// A worker's totals.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Final {
    pub(crate) account: Account,
    /// The account of the slow streams.
    pub(crate) slow: Account,
    pub(crate) slow_latency: SparseHistogram,
    /// From connect to response head.
    pub(crate) opening: SparseHistogram,
    /// Refused and broken connections by cause.
    pub(crate) causes: BTreeMap<String, u64>,
    /// Events without a stamp of this run, by type.
    pub(crate) controls: BTreeMap<String, u64>,
    /// Streams open at the end.
    pub(crate) open: u64,
    /// Responses with status 200.
    pub(crate) opened: u64,
    /// When the last event arrived.
    pub(crate) last_arrival: u64,
    /// User memory of the worker (Pss), bytes.
    pub(crate) memory: u64,
    /// Processor time of the worker.
    pub(crate) cpu: u64,
    /// Disconnects by churn and storms.
    pub(crate) left: u64,
    /// What became of the streams since [`ToWorker::WatchStreams`], or since the start.
    pub(crate) fates: Fates,
    /// Deliveries in even and in odd periods of [`ToWorker::CountPeriods`].
    pub(crate) by_parity: [u64; 2],
}
