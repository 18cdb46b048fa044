//! The time series: one bucket per tick.

use std::collections::BTreeMap;

use super::server_monitor::ServerMonitor;
use crate::measure::clock::SECOND;
use crate::report::Point;
use crate::subscribe::Tick;

/// With fewer deliveries between two readings, processor time per delivery is meaningless.
const DELIVERIES_MIN: f64 = 1000.0;
const MIB: f64 = (1 << 20) as f64;

pub(super) struct TimeSeries {
    started: u64,
    tick: u64,
    buckets: BTreeMap<u64, Bucket>,
}

#[derive(Default)]
struct Bucket {
    streams: u64,
    /// The fewest at a time in each worker, and how many workers there were.
    streams_min: BTreeMap<usize, u64>,
    workers: usize,
    deliveries: u64,
    bytes: u64,
    published: u64,
    /// Counts by value in microseconds, of the first group and of the second.
    latency: [BTreeMap<u64, u64>; 2],
}

impl TimeSeries {
    pub(super) fn new(tick: u64, started: u64) -> Self {
        Self { started, tick, buckets: BTreeMap::new() }
    }

    /// A tick at the end of an interval belongs to that interval.
    fn bucket(&mut self, at: u64) -> &mut Bucket {
        self.buckets.entry(at.saturating_sub(1) / self.tick).or_default()
    }

    /// Adds a tick of one of `workers`, which is of `group`; so many streams are open in all.
    pub(super) fn add_tick(
        &mut self,
        tick: &Tick,
        (worker, group): (usize, usize),
        (workers, streams): (usize, u64),
    ) {
        let bucket = self.bucket(tick.at);
        bucket.streams = streams;
        bucket.workers = workers;
        let least = bucket.streams_min.entry(worker).or_insert(tick.open_min);
        *least = tick.open_min.min(*least);
        bucket.deliveries += tick.deliveries;
        bucket.bytes += tick.bytes;
        for &(value, count) in &tick.latency {
            *bucket.latency[group].entry(value).or_default() += count;
        }
    }

    pub(super) fn add_published(&mut self, sent: u64, now: u64) {
        self.bucket(now).published += sent;
    }

    /// The series of a run with so many groups.
    pub(super) fn points(&self, monitor: &ServerMonitor, groups: usize) -> Vec<Point> {
        let point = |(&index, bucket): (&u64, &Bucket)| Point {
            second_max_ms: (groups > 1).then(|| quantile(&bucket.latency[1], 1.0)),
            ..self.point(index, bucket, monitor)
        };
        self.buckets.iter().map(point).collect()
    }

    fn point(&self, index: u64, bucket: &Bucket, monitor: &ServerMonitor) -> Point {
        let per_second = SECOND as f64 / self.tick as f64;
        let (begin, end) = (index * self.tick, (index + 1) * self.tick);
        // A tick is due at the end of its bucket and arrives a little later.
        let tolerance = self.tick / 4;
        let reading = monitor.reading_until(end + tolerance);
        let current = reading.filter(|&reading| monitor.is_after(reading, begin + tolerance));
        let cpu = current.and_then(|reading| monitor.cpu_span(reading));
        Point {
            at_s: end.saturating_sub(self.started) as f64 / SECOND as f64,
            streams: bucket.streams,
            streams_min: bucket.streams_min(),
            deliveries_per_s: bucket.deliveries as f64 * per_second,
            mib_per_s: bucket.bytes as f64 * per_second / MIB,
            published_per_s: bucket.published as f64 * per_second,
            p50_ms: quantile(&bucket.latency[0], 0.5),
            p99_ms: quantile(&bucket.latency[0], 0.99),
            max_ms: quantile(&bucket.latency[0], 1.0),
            second_max_ms: None,
            server_cpu: cpu.as_ref().map(|span| span.cpu / span.nanos),
            cpu_per_delivery_us: cpu
                .filter(|span| span.deliveries >= DELIVERIES_MIN)
                .map(|span| span.cpu / span.deliveries / 1000.0),
            server_memory_mib: reading.map(|reading| monitor.memory(reading) as f64 / MIB),
        }
    }
}

impl Bucket {
    /// The sum of each worker's fewest; without a tick of every worker, it is unknown.
    fn streams_min(&self) -> u64 {
        let sum: u64 = self.streams_min.values().sum();
        let known = self.streams_min.len() == self.workers;
        if known { sum.min(self.streams) } else { self.streams }
    }
}

/// The value in ms at `quantile` of the counts.
fn quantile(counts: &BTreeMap<u64, u64>, quantile: f64) -> f64 {
    let total: u64 = counts.values().sum();
    let rank = (total as f64 * quantile).ceil() as u64;
    let mut seen = 0;
    for (&value, &count) in counts {
        seen += count;
        if seen >= rank && seen > 0 {
            return value as f64 / 1000.0;
        }
    }
    0.0
}
