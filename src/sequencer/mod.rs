//! Takes all that is waiting, in one turn: encode once, give it to the log, route to rings, mark
//! shards.
//!
//! One at a time, the only writer of the log and of every ring: [`Combiner`] says who. It never
//! waits for a subscriber (I3) and never touches a socket. Each turn is bounded by
//! `FANFARE_BATCH_EVENTS` and `FANFARE_BATCH_BYTES`.
//!
//! The order inside a turn carries the promises:
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
use crate::event::{OwnIds, Seq};
use crate::log::Log;
use crate::ring::{Registry, Rounds, Turn, Watermark};
pub use combiner::Combiner;
pub use queue::{Ingest, IngestFull, Permit, Submission};
use route::Router;
use window::LiveWindow;

/// Events dropped from the history for their age between two turns, at most.
const EXPIRE_BATCH: usize = 4096;

/// What the sequencer works on.
#[derive(Clone)]
pub struct Parts {
    /// Where events come from.
    pub ingest: Arc<Ingest>,
    /// Where they get their place.
    pub log: Arc<Log>,
    /// The rings.
    pub registry: Arc<Registry>,
    /// How far all rings are.
    pub watermark: Arc<Watermark>,
}

/// The bounds of the sequencer's work.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Events in one turn (`FANFARE_BATCH_EVENTS`).
    pub batch_events: usize,
    /// A turn ends with the event that reaches this many bytes (`FANFARE_BATCH_BYTES`).
    pub batch_bytes: usize,
    /// Bytes of turns the rings keep alive (`FANFARE_WINDOW_BYTES`).
    pub window_bytes: u64,
    /// Age at which a turn leaves the rings: more than a stream can be behind without being closed
    /// (`FANFARE_WRITE_TIMEOUT` and some).
    pub window_age: Duration,
}

/// See the module.
pub struct Sequencer {
    parts: Parts,
    limits: Limits,
    live: LiveWindow,
    started: Instant,
    rounds: Rounds,
    router: Router,
    batch: Vec<Submission>,
    buffer: Vec<u8>,
    ends: Vec<u32>,
    ids: OwnIds,
}

impl Sequencer {
    /// A sequencer that has done nothing yet.
    pub fn new(parts: Parts, limits: Limits) -> Self {
        let ids = OwnIds::new(parts.log.incarnation());
        Self {
            parts,
            limits,
            live: LiveWindow::new(limits.window_bytes, limits.window_age),
            started: Instant::now(),
            rounds: Rounds::default(),
            router: Router::default(),
            batch: Vec::new(),
            buffer: Vec::new(),
            ends: Vec::new(),
            ids,
        }
    }

    /// Takes one turn; false if nothing was waiting.
    pub fn turn(&mut self) -> bool {
        let first = self.parts.log.next_seq();
        self.gather(first);
        if self.batch.is_empty() {
            return false;
        }
        let now = self.started.elapsed();
        let turn = self.seal(first);
        self.parts.log.append(
            &turn,
            self.batch.iter_mut().map(|waiting| &mut waiting.publication),
            now,
        );
        self.publish(&turn, now);
        self.parts.watermark.raise(Seq(first.0 + turn.len() as u64 - 1));
        self.rounds.deliver();
        for (index, submission) in self.batch.drain(..).enumerate() {
            submission.acknowledge(Seq(first.0 + index as u64));
        }
        true
    }

    /// Encodes what is waiting, in the order it came, up to the limits of a turn.
    fn gather(&mut self, first: Seq) {
        let mut seq = first;
        while self.batch.len() < self.limits.batch_events
            && self.buffer.len() < self.limits.batch_bytes
        {
            let Some(submission) = self.parts.ingest.take() else { return };
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
            self.ends.push(u32::try_from(self.buffer.len()).expect("a turn is under 4 GiB"));
            self.batch.push(submission);
            seq = seq.next();
        }
    }

    /// Makes the scratch buffer a turn: one exact allocation, and the scratch stays for the next.
    fn seal(&mut self, first: Seq) -> Arc<Turn> {
        let turn =
            Turn::new(Bytes::copy_from_slice(&self.buffer), self.ends.as_slice().into(), first);
        self.buffer.clear();
        self.buffer.shrink_to(2 * self.limits.batch_bytes);
        self.ends.clear();
        Arc::new(turn)
    }

    /// Lets go of the events it has taken; their publishers are told that there is no answer.
    fn abandon(&mut self) {
        self.batch.clear();
    }

    fn publish(&mut self, turn: &Arc<Turn>, now: Duration) {
        let Parts { registry, .. } = &self.parts;
        let mut placed = Vec::new();
        placed.extend(registry.publish_all(turn, &mut self.rounds));
        for (submission, event) in self.batch.iter().zip(0..) {
            self.router.add(&submission.publication.topics, event);
        }
        for (topic, events) in self.router.groups() {
            placed.extend(registry.publish(topic, turn, events, &mut self.rounds));
        }
        self.router.clear();
        if !placed.is_empty() {
            self.live.admit(now, turn.bytes(), placed);
        }
        self.live.trim(now);
    }

    /// Drops what has become too old while nothing came; true if there is more to drop. A turn
    /// trims for itself.
    fn tidy(&mut self) -> bool {
        let now = self.started.elapsed();
        self.live.trim(now);
        self.parts.log.expire(now, EXPIRE_BATCH)
    }
}
