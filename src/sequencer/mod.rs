//! Takes all that is waiting, in one batch: encode once, give it to the log, route to rings, ring_waker
//! shards.
//!
//! One at a time, the only writer of the log and of every ring: [`Combiner`] says who. It never
//! waits for a subscriber (I3) and never touches a socket. Each batch is bounded by
//! `FANFARE_BATCH_EVENTS` and `FANFARE_BATCH_BYTES`.
//!
//! The order inside a batch carries the promises:
//!
//! 1. the log has the events, so that whoever attaches from here on finds them there;
//! 2. the rings have them, then the watermark is raised, then the shards are woken;
//! 3. publishers are answered, so that an acknowledged event is on its way to every stream (I7).

mod combiner;
mod queue;
mod route;
mod window;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::event::wire::Fields;
use crate::event::{Batch, OwnIds, Seq};
use crate::log::Log;
use crate::ring::{PendingWakes, Registry, Watermark};
pub use combiner::Combiner;
pub use queue::{ByteReservation, Queue, QueueFull, Submission};
use route::Router;
use window::LiveWindow;

/// Events dropped from the history for their age between two batches, at most.
const EXPIRE_MAX: usize = 4096;

/// What the sequencer works on.
#[derive(Clone)]
pub struct Deps {
    /// Where events come from.
    pub queue: Arc<Queue>,
    /// Where they get their place.
    pub log: Arc<Log>,
    /// The rings.
    pub registry: Arc<Registry>,
    /// How far all rings are.
    pub watermark: Arc<Watermark>,
}

/// The bounds of the sequencer's work.
#[derive(Clone, Copy, Debug)]
pub struct BatchLimits {
    /// Events in one batch (`FANFARE_BATCH_EVENTS`).
    pub batch_events: usize,
    /// A batch ends with the event that reaches this many bytes (`FANFARE_BATCH_BYTES`).
    pub batch_bytes: usize,
    /// Bytes of batches the rings keep alive (`FANFARE_WINDOW_BYTES`).
    pub window_bytes: u64,
    /// Age at which a batch leaves the rings: more than a stream can be behind without being closed
    /// (`FANFARE_WRITE_TIMEOUT` and some).
    pub window_age: Duration,
}

/// See the module.
pub struct Sequencer {
    deps: Deps,
    limits: BatchLimits,
    live: LiveWindow,
    started: Instant,
    wakes: PendingWakes,
    router: Router,
    submissions: Vec<Submission>,
    buffer: Vec<u8>,
    ends: Vec<u32>,
    ids: OwnIds,
}

impl Sequencer {
    /// A sequencer that has done nothing yet.
    pub fn new(deps: Deps, limits: BatchLimits) -> Self {
        let ids = OwnIds::new(deps.log.incarnation());
        Self {
            deps,
            limits,
            live: LiveWindow::new(limits.window_bytes, limits.window_age),
            started: Instant::now(),
            wakes: PendingWakes::default(),
            router: Router::default(),
            submissions: Vec::new(),
            buffer: Vec::new(),
            ends: Vec::new(),
            ids,
        }
    }

    /// Takes one batch; false if nothing was waiting.
    pub fn run_batch(&mut self) -> bool {
        let first = self.deps.log.next_seq();
        self.encode_batch(first);
        if self.submissions.is_empty() {
            return false;
        }
        let now = self.started.elapsed();
        let batch = self.freeze(first);
        self.deps.log.append(
            &batch,
            self.submissions.iter_mut().map(|waiting| &mut waiting.publication),
            now,
        );
        self.publish(&batch, now);
        self.deps.watermark.raise(Seq(first.0 + batch.len() as u64 - 1));
        self.wakes.wake_all();
        for (index, submission) in self.submissions.drain(..).enumerate() {
            submission.acknowledge(Seq(first.0 + index as u64));
        }
        true
    }

    /// Encodes what is waiting, in the order it came, up to the limits of a batch.
    fn encode_batch(&mut self, first: Seq) {
        let mut seq = first;
        while self.submissions.len() < self.limits.batch_events
            && self.buffer.len() < self.limits.batch_bytes
        {
            let Some(submission) = self.deps.queue.take() else { return };
            let event = &submission.publication;
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
        self.buffer.shrink_to(2 * self.limits.batch_bytes);
        self.ends.clear();
        Arc::new(batch)
    }

    /// Lets go of the events it has taken; their publishers are told that there is no answer.
    fn fail_pending(&mut self) {
        self.submissions.clear();
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
            self.live.admit(now, batch.bytes(), placed);
        }
        self.live.trim(now);
    }

    /// Drops what has become too old while nothing came; true if there is more to drop. A batch
    /// trims for itself.
    fn evict_expired(&mut self) -> bool {
        let now = self.started.elapsed();
        self.live.trim(now);
        self.deps.log.expire(now, EXPIRE_MAX)
    }
}
