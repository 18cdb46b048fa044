//! What the parent gathers while a run goes on: the time series, the sums, the server's readings.

use std::collections::BTreeMap;

use crate::measure::clock::{self, SECOND};
use crate::measure::latency::{Latency, Sparse};
use crate::measure::server::{self, Cost, Server};
use crate::publish::PublishTick;
use crate::report::Point;
use crate::subscribe::message::{Account, Final, Tick};

/// From one reading of the server to the next, at least.
const READING_INTERVAL: u64 = SECOND - SECOND / 20;
/// With fewer arrivals between two readings, processor time per arrival says nothing.
const DELIVERIES_MIN: f64 = 1000.0;

/// One point of the time series while it is gathered.
#[derive(Default)]
struct Bucket {
    streams: u64,
    deliveries: u64,
    bytes: u64,
    published: u64,
    latency: BTreeMap<u64, u64>,
}

/// A reading of the server for the time series.
struct Reading {
    at: u64,
    cost: Cost,
    /// Arrivals so far.
    deliveries: u64,
}

/// Who has used how much of the machine's processors so far.
#[derive(Clone, Copy)]
pub struct Usage {
    /// When it was read.
    pub at: u64,
    /// Everybody.
    pub machine: Option<u64>,
    /// This tool and its workers.
    pub tool: u64,
    /// The server.
    pub server: Option<Cost>,
}

/// The gathered facts.
pub struct Record {
    started: u64,
    tick: u64,
    buckets: BTreeMap<u64, Bucket>,
    /// Readings of the server at even distances.
    readings: Vec<Reading>,
    /// Streams and the server's user memory (bytes) while streams come.
    pub memory_by_streams: Vec<(u64, u64)>,
    server: Option<Server>,
    next_reading: u64,
    /// Latency from due to arrival.
    pub latency: Latency,
    /// From due to the publisher's answer.
    pub acknowledged: Latency,
    /// Answers to publishes by status.
    pub answers: BTreeMap<String, u64>,
    /// Publishes begun.
    pub sent: u64,
    /// Streams open by worker, as of its last tick.
    present: BTreeMap<usize, u64>,
    /// Processor time by worker, as of its last tick.
    worker_cpu: BTreeMap<usize, u64>,
    /// Arrivals so far.
    pub deliveries: u64,
    /// From connect to head.
    pub opening: Latency,
    /// Latency of slow streams.
    pub slow_latency: Latency,
    /// Sums of the workers' last words.
    pub total: Final,
}

impl Record {
    /// Starts at `now`.
    pub fn new(server: Option<Server>, tick: u64, now: u64) -> Self {
        Self {
            started: now,
            tick,
            buckets: BTreeMap::new(),
            readings: Vec::new(),
            memory_by_streams: Vec::new(),
            server,
            next_reading: now,
            latency: Latency::default(),
            acknowledged: Latency::default(),
            answers: BTreeMap::new(),
            sent: 0,
            present: BTreeMap::new(),
            worker_cpu: BTreeMap::new(),
            deliveries: 0,
            opening: Latency::default(),
            slow_latency: Latency::default(),
            total: Final::default(),
        }
    }

    fn bucket(&mut self, at: u64) -> &mut Bucket {
        // A tick at 1.0 s tells of the span before it.
        self.buckets.entry(at.saturating_sub(1) / self.tick).or_default()
    }

    /// A worker's tick.
    pub fn tick(&mut self, worker: usize, tick: Tick) {
        self.latency.merge(&tick.latency);
        self.deliveries += tick.deliveries;
        self.present.insert(worker, tick.present);
        self.worker_cpu.insert(worker, tick.cpu);
        let streams = self.present();
        let bucket = self.bucket(tick.at);
        bucket.streams = streams;
        bucket.deliveries += tick.deliveries;
        bucket.bytes += tick.bytes;
        for (value, count) in tick.latency {
            *bucket.latency.entry(value).or_default() += count;
        }
    }

    /// The publisher's tick.
    pub fn published(&mut self, tick: PublishTick, now: u64) {
        self.acknowledged.merge(&tick.latency);
        self.sent += tick.sent;
        self.bucket(now).published += tick.sent;
        for (answer, count) in tick.answers {
            *self.answers.entry(answer).or_default() += count;
        }
    }

    /// The process that is read.
    pub fn server_pid(&self) -> Option<u32> {
        self.server.map(|server| server.pid)
    }

    /// Reads the server now.
    pub fn read_server(&self) -> Option<Cost> {
        self.server?.cost()
    }

    /// Reads everybody's use of the machine now.
    pub fn usage(&self) -> Usage {
        Usage {
            at: clock::now(),
            machine: server::machine_busy(),
            tool: clock::own_cpu() + self.worker_cpu.values().sum::<u64>(),
            server: self.read_server(),
        }
    }

    /// Reads the server for the time series, if it is time.
    pub fn read_server_if_due(&mut self, now: u64) {
        if now >= self.next_reading {
            self.next_reading = now + READING_INTERVAL;
            let deliveries = self.deliveries;
            self.readings.extend(self.read_server().map(|cost| Reading {
                at: now,
                cost,
                deliveries,
            }));
        }
    }

    /// Notes the server's memory with the streams that are open now.
    pub fn note_memory(&mut self) {
        let present = self.present();
        self.memory_by_streams.extend(self.read_server().map(|cost| (present, cost.memory)));
    }

    /// A worker's last words.
    pub fn last_words(&mut self, last: Final) {
        self.opening.merge(&last.opening);
        self.slow_latency.merge(&last.slow_latency);
        let total = &mut self.total;
        total.account.add(&last.account);
        total.slow.add(&last.slow);
        total.present += last.present;
        total.opened += last.opened;
        total.last_arrival = total.last_arrival.max(last.last_arrival);
        total.memory += last.memory;
        total.cpu += last.cpu;
        total.left += last.left;
        for (sums, words) in
            [(&mut total.causes, last.causes), (&mut total.controls, last.controls)]
        {
            words.into_iter().for_each(|(word, count)| *sums.entry(word).or_default() += count);
        }
    }

    /// Slow and reading streams together.
    pub fn whole_account(&self) -> Account {
        let mut whole = self.total.account.clone();
        whole.add(&self.total.slow);
        whole
    }

    /// The time series.
    pub fn series(&self) -> Vec<Point> {
        let per_second = SECOND as f64 / self.tick as f64;
        let point = |(index, bucket): (&u64, &Bucket)| {
            let (begin, end) = (index * self.tick, (index + 1) * self.tick);
            let pairs: Sparse =
                bucket.latency.iter().map(|(&value, &count)| (value, count)).collect();
            // A tick is due at the bucket's end and told a moment later.
            let reading =
                self.readings.iter().rposition(|reading| reading.at <= end + self.tick / 4);
            let fresh = reading.filter(|&index| self.readings[index].at > begin + self.tick / 4);
            Point {
                at_s: end.saturating_sub(self.started) as f64 / SECOND as f64,
                streams: bucket.streams,
                deliveries_per_s: bucket.deliveries as f64 * per_second,
                mib_per_s: bucket.bytes as f64 * per_second / f64::from(1 << 20),
                published_per_s: bucket.published as f64 * per_second,
                p50_ms: quantile(&pairs, 0.5),
                p99_ms: quantile(&pairs, 0.99),
                max_ms: quantile(&pairs, 1.0),
                server_cpu: fresh
                    .and_then(|index| self.cpu(index))
                    .map(|(cpu, span, _)| cpu / span),
                cpu_per_delivery_us: fresh
                    .and_then(|index| self.cpu(index))
                    .filter(|(_, _, deliveries)| *deliveries >= DELIVERIES_MIN)
                    .map(|(cpu, _, deliveries)| cpu / deliveries / 1000.0),
                server_memory_mib: reading
                    .map(|index| self.readings[index].cost.memory as f64 / f64::from(1 << 20)),
            }
        };
        self.buckets.iter().map(point).collect()
    }

    /// Processor time, time and arrivals between a reading and the one before.
    fn cpu(&self, index: usize) -> Option<(f64, f64, f64)> {
        let (before, now) = (self.readings.get(index.checked_sub(1)?)?, self.readings.get(index)?);
        let cpu = now.cost.since(&before.cost).cpu as f64;
        Some((cpu, (now.at - before.at).max(1) as f64, (now.deliveries - before.deliveries) as f64))
    }

    /// Streams open now, as far as the ticks tell.
    pub fn present(&self) -> u64 {
        self.present.values().sum()
    }
}

/// The value in ms below which `share` of the counts are.
fn quantile(pairs: &[(u64, u64)], share: f64) -> f64 {
    let total: u64 = pairs.iter().map(|(_, count)| count).sum();
    let wanted = (total as f64 * share).ceil() as u64;
    let mut seen = 0;
    for &(value, count) in pairs {
        seen += count;
        if seen >= wanted && seen > 0 {
            return value as f64 / 1000.0;
        }
    }
    0.0
}
