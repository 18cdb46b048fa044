//! The sequencer: the queue of events, and the single writer that assigns the seqs and fills the
//! log and every ring.
//!
//! The sequencer takes the events that wait in the [queue](Queue), up to `FANFARE_BATCH_EVENTS` and
//! `FANFARE_BATCH_BYTES`, and makes one batch of them. One thread at a time runs it: the
//! [combiner](Combiner) decides which. It never waits for a subscriber (I3) and never touches a
//! socket. The order of the steps of a batch carries the promises:
//!
//! 1. encode each event once (I1), with its seq in its id (I2);
//! 2. append the batch to the log, so that a session that resumes from here on finds it there;
//! 3. publish it to the rings, raise the watermark, then wake the shards;
//! 4. acknowledge, so that an acknowledged event is on its way to every stream (I7).
//!
//! Files, in dependency order: `closable_queue`, `queue` (bounded, closable), `combiner` (who runs
//! a batch), `route` (events by topic), `window` (what the rings keep alive), this one.
#![forbid(unsafe_code)]

mod closable_queue;
mod combiner;
#[cfg(all(test, ring_loom))]
mod model;
mod queue;
mod route;
#[cfg(all(test, not(ring_loom)))]
mod tests;
mod window;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::config::Config;
use crate::event::wire::Fields;
use crate::event::{Batch, NodeIds, Publication, Seq};
use crate::log::{self, Log};
use crate::ring::{PendingWakes, Registry, Watermark};
pub use combiner::{BatchRunner, Combiner};
pub use queue::{ByteReservation, Queue, QueueFull, Submission};
use route::Router;
use window::LiveWindow;

/// Events evicted from the history before the queue is looked at again, at most.
const EVICTED_MAX: usize = 4096;

/// Topics of the events of a batch: a batch ends with the event that reaches this many. Each is a
/// lookup in the log and one in the registry; 1,024 events of 100 topics would take the sequencer,
/// and whoever reads the log, tens of milliseconds.
const BATCH_TOPICS_MAX: usize = 4096;

/// Bytes of data, and topics, of the events that a shard takes into a batch, whose streams wait for
/// it: some hundred microseconds.
const COMBINED_BYTES: usize = 64 * 1024;
const COMBINED_TOPICS: usize = 64;

/// How long a quiet node keeps what is too old: the sequencer's thread evicts at least this often.
const EVICT_INTERVAL: Duration = Duration::from_secs(1);

/// How much longer than the write timeout a batch stays in the rings: the shard's timer checks a
/// stream only a few times per timeout, so a blocked stream can outlive it by a tick.
const WINDOW_AGE_SLACK: Duration = Duration::from_secs(5);

/// What the sequencer reads from and writes to.
#[derive(Clone)]
pub struct Deps {
    /// Source of events.
    pub queue: Queue,
    /// Stores events, for replay.
    pub log: Arc<Log>,
    /// The rings.
    pub registry: Arc<Registry>,
    /// The seq up to which every ring is complete.
    pub watermark: Arc<Watermark>,
}

/// The bounds of the sequencer's work.
#[derive(Clone, Copy, Debug)]
pub struct BatchLimits {
    /// Events in one batch (`FANFARE_BATCH_EVENTS`).
    pub events: usize,
    /// A batch ends with the event that reaches this many bytes (`FANFARE_BATCH_BYTES`).
    pub bytes: usize,
    /// Bytes of batches the rings keep alive (`FANFARE_WINDOW_BYTES`).
    pub window_bytes: u64,
    /// Age at which a batch leaves the rings, once every shard has visited its streams: longer than
    /// a socket may be blocked (`FANFARE_WRITE_TIMEOUT`), plus 5 s. A stream whose socket accepts a
    /// little may still be behind; it continues from the history.
    pub window_age: Duration,
    /// Longest time between two evictions on a quiet node.
    pub evict_interval: Duration,
}

impl From<&Config> for BatchLimits {
    fn from(config: &Config) -> Self {
        Self {
            events: config.batch_events,
            bytes: config.batch_bytes,
            window_bytes: config.window_bytes,
            window_age: config.write_timeout + WINDOW_AGE_SLACK,
            evict_interval: EVICT_INTERVAL,
        }
    }
}

/// Events for which the scratch vectors keep room from batch to batch.
const SCRATCH_KEPT: usize = 1024;

/// Where a batch runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum RunsOn {
    Thread,
    Shard,
}

/// The state of the sequencer, with scratch buffers that live from batch to batch.
pub struct Sequencer {
    deps: Deps,
    limits: BatchLimits,
    live: LiveWindow,
    /// When the rings' memory was last reclaimed on a quiet node.
    reclaimed: Duration,
    started: Instant,
    wakes: PendingWakes,
    router: Router,
    submissions: Vec<Submission>,
    /// The next event, which a shard has popped and left to the thread.
    left: Option<Submission>,
    buffer: Vec<u8>,
    ends: Vec<u32>,
    ids: NodeIds,
}

impl Sequencer {
    /// Creates a sequencer.
    pub fn new(deps: Deps, limits: BatchLimits) -> Self {
        let ids = NodeIds::new(deps.log.incarnation());
        Self {
            deps,
            limits,
            live: LiveWindow::new(limits.window_bytes, limits.window_age),
            reclaimed: Duration::ZERO,
            started: Instant::now(),
            wakes: PendingWakes::default(),
            router: Router::default(),
            submissions: Vec::new(),
            left: None,
            buffer: Vec::new(),
            ends: Vec::new(),
            ids,
        }
    }

    /// Encodes what is waiting, in the order it came, up to the limits of a batch.
    fn encode_batch(&mut self, first: Seq, on: RunsOn) {
        let (mut seq, mut topics) = (first, 0);
        while self.submissions.len() < self.limits.events
            && self.buffer.len() < self.limits.bytes
            && topics < BATCH_TOPICS_MAX
        {
            let waiting = self.left.take().or_else(|| self.deps.queue.pop());
            let Some(submission) = waiting else { return };
            let event = &submission.publication;
            topics += event.topics.len();
            let bytes = self.buffer.len() + event.data.len();
            if on == RunsOn::Shard && (bytes > COMBINED_BYTES || topics > COMBINED_TOPICS) {
                self.left = Some(submission);
                return;
            }
            let id = match &event.id {
                Some(id) => id.as_str(),
                None => self.ids.id(seq),
            };
            Fields {
                event_type: event.event_type.as_deref(),
                retry: event.retry,
                data: &event.data,
                id: Some(id),
            }
            .encode(&mut self.buffer);
            self.ends.push(u32::try_from(self.buffer.len()).expect("a batch is under 4 GiB"));
            self.submissions.push(submission);
            seq = seq.next();
        }
    }

    /// Makes the scratch buffer a batch: one exact allocation, and the scratch stays for the next.
    fn freeze(&mut self, first: Seq) -> Arc<Batch> {
        let batch =
            Batch::new(Bytes::copy_from_slice(&self.buffer), self.ends.as_slice().into(), first);
        self.buffer.clear();
        self.buffer.shrink_to(2 * self.limits.bytes);
        self.ends.clear();
        self.ends.shrink_to(SCRATCH_KEPT);
        Arc::new(batch)
    }

    fn publish(&mut self, batch: &Arc<Batch>, now: Duration) {
        let Deps { registry, .. } = &self.deps;
        let mut placed = Vec::new();
        placed.extend(registry.publish_all(batch, &mut self.wakes));
        for (submission, event) in self.submissions.iter().zip(0..) {
            self.router.add(&submission.publication.topics, event);
        }
        for (topic, events) in self.router.groups() {
            placed.extend(registry.publish(topic, batch, events, &mut self.wakes));
        }
        self.router.clear();
        if !placed.is_empty() {
            self.live.admit(now, batch, placed);
        }
        self.live.trim(now, registry.held_bytes(), || self.wakes.slowest());
    }

    /// Runs a batch; false if nothing was waiting. A shard comes with the access to the log; the
    /// thread waits for it when the batch is encoded.
    fn run(&mut self, writer: Option<log::Writer<'_>>) -> bool {
        let on = if writer.is_some() { RunsOn::Shard } else { RunsOn::Thread };
        let first = self.deps.log.last_seq().next();
        self.encode_batch(first, on);
        if self.submissions.is_empty() {
            return false;
        }
        let now = self.started.elapsed();
        let batch = self.freeze(first);
        let mut writer = writer.unwrap_or_else(|| self.deps.log.writer());
        let publications = self.submissions.iter_mut().map(|waiting| &mut waiting.publication);
        writer.append(&batch, publications, now);
        // Releases the log before the shards are woken.
        drop(writer);
        self.publish(&batch, now);
        let last = Seq(first.0 + batch.len() as u64 - 1);
        self.deps.watermark.raise(last);
        self.wakes.wake_all(last);
        for (index, submission) in self.submissions.drain(..).enumerate() {
            submission.acknowledge(Seq(first.0 + index as u64));
        }
        self.submissions.shrink_to(SCRATCH_KEPT);
        true
    }

    /// Frees what has left the rings, which otherwise happens only when much has.
    fn reclaim(&mut self, now: Duration) {
        if now.saturating_sub(self.reclaimed) >= self.limits.evict_interval {
            self.reclaimed = now;
            self.deps.registry.reclaim();
        }
    }
}

impl BatchRunner for Sequencer {
    type Item = Submission;

    fn run_batch(&mut self) -> bool {
        self.run(None)
    }

    /// Holds the log from here on: between a check that it is free and the append, a session could
    /// begin to read it.
    fn try_run_batch(&mut self) -> bool {
        let log = Arc::clone(&self.deps.log);
        let Some(writer) = log.try_writer() else { return false };
        self.run(Some(writer));
        self.left.is_none()
    }

    /// Also trims the rings' window, which otherwise happens only when a batch is published.
    fn evict_expired(&mut self) -> bool {
        let now = self.started.elapsed();
        let has_more =
            self.live.trim(now, self.deps.registry.held_bytes(), || self.wakes.slowest());
        self.reclaim(now);
        self.deps.log.writer().expire(now, EVICTED_MAX) || has_more
    }

    fn fail_pending(&mut self) {
        self.submissions.clear();
        self.left = None;
    }
}

impl Combiner<Sequencer> {
    /// Creates the sequencer and its combiner.
    pub fn new(deps: Deps, limits: BatchLimits) -> Self {
        let queue = deps.queue.submissions();
        Self::with_runner(queue, Sequencer::new(deps, limits), limits.evict_interval)
    }

    /// Enqueues the event, then runs the batch or wakes the sequencer's thread. The receiver yields
    /// the event's seq once log and rings have the event.
    ///
    /// # Errors
    ///
    /// [`QueueFull::Events`] or [`QueueFull::Closed`]; the event is dropped.
    pub fn submit(
        &self,
        publication: Publication,
        reservation: ByteReservation,
    ) -> Result<oneshot::Receiver<Seq>, QueueFull> {
        let acked = queue::push(self.queue(), publication, reservation)?;
        self.run_or_wake();
        Ok(acked)
    }
}
