//! What must hold after each step, when the node is quiet, and at the end.

use std::task::Waker;

use super::finding::Kind;
use super::world::World;
use crate::event::Position;
use crate::log::history::PageLimit;
use crate::shard::pump;
use crate::shard::run_queue::SHORT_WALK;

impl World {
    /// Bounds how many writes to other streams may come before that to a small topic's. A turn of
    /// the pump serves small topics, and a quantum or a part of a large one and of the scheduled
    /// streams. An event waits for the turn it comes in and for its own. A crowd of which only a
    /// few are connected is a small topic, too.
    pub(super) fn bound_writes(&mut self) {
        let part = self.plan.config.quantum_streams.max(pump::PART);
        let writes_max = SHORT_WALK + 2 * (self.plan.clients + 2 * part);
        self.watch.borrow_mut().writes_max = writes_max as u64;
    }

    /// Checks what the node has done to its streams since the last step.
    pub(super) fn observe(&mut self) {
        let lagged = std::mem::take(&mut self.see().lagged);
        for (client, id) in lagged {
            self.note(|| format!("client {client} is lagged out at {id}"));
            self.check_lagged(client, &id);
        }
        let mut watch = self.see();
        for client in &self.clients {
            if let Some(connection) = &client.connection {
                watch.check_cut_off(client.name, connection.is_closed());
            }
        }
        let (stats, max) = (self.core.log.stats(), self.plan.config.history_bytes);
        watch.findings.check(stats.bytes <= max, Kind::Budget, || {
            format!("the history takes {} bytes of {max}", stats.bytes)
        });
    }

    /// A stream may be lagged out only if its next event has left the window and the history or,
    /// if its client does not read all there is, when it was behind for long.
    fn check_lagged(&self, client: usize, id: &str) {
        let client = &self.clients[client];
        let Some(connection) = &client.connection else { return };
        let (position, seq) = (Position::After(id.into()), self.model.seq_of(id));
        let page = PageLimit { events: 1, bytes: 1 };
        let resumed = self.core.log.try_resume(&position, &client.selectors, page, Waker::noop());
        let in_history = resumed.expect("nobody has the log").0.reset.is_none();
        // A batch leaves the window also with its age, which only slow clients may notice.
        let is_slow = client.pace.is_some();
        let in_window = !is_slow
            && connection.live
            && self.model.window_has(client.selected, seq.unwrap_or_default());
        let was_slow = is_slow && connection.opened.elapsed() >= self.plan.config.lag_max;
        self.check(was_slow || !in_history && !in_window, Kind::Lagged, || {
            let (name, pace) = (client.name, client.pace);
            format!(
                "client {name} (pace {pace:?}) was lagged out at {id}; \
                 the rest is in the history: {in_history}, in the window: {in_window}"
            )
        });
    }

    /// Checks a quiet node: who reads all there is has received all, and nothing waits.
    pub(super) fn check_settled(&self) {
        for client in self.clients.iter().filter(|client| client.pace.is_none()) {
            let Some(connection) = &client.connection else { continue };
            let missing = client.missing(&connection.told, self.model.last, &self.model);
            self.check(missing.is_none(), Kind::Stuck, || {
                format!("client {} has not received event {missing:?}", client.name)
            });
        }
        // A write takes slices until it has this much; the last may be a whole batch.
        let batch_max = self.plan.config.batch_bytes + 2 * self.plan.data_max + 1024;
        let (unsent_max, mut streams) = (64 * 1024 + batch_max, 0);
        for shard in &self.shards {
            shard.handle.connections.for_each(|_, conn| {
                let stream = conn.stream().borrow();
                streams += usize::from(stream.is_some());
                let unsent = stream.as_ref().and_then(|stream| stream.unsent.as_ref());
                let unsent = unsent.map_or(0, |unsent| unsent.bytes());
                self.check(unsent <= unsent_max, Kind::Budget, || {
                    format!("a stream retains {unsent} bytes of at most {unsent_max}")
                });
            });
        }
        let (used, waiting) = (self.core.streams.used(), self.core.queue.waiting());
        self.check(used == streams && waiting == 0, Kind::Budget, || {
            format!("{used} permits for {streams} streams, {waiting} events in the queue")
        });
    }

    /// Checks a node whose connections are closed.
    pub(super) fn check_nothing_held(&self) {
        let (core, shards) = (&self.core, self.shards.iter());
        let connections = shards.map(|shard| shard.handle.connections.len()).sum();
        let (subscriptions, unsent) = (core.subscriptions.used(), core.unsent.used());
        let (streams, topics) = (core.streams.used(), core.registry.topics());
        let held = [streams, subscriptions, topics, unsent, core.queue.waiting(), connections];
        self.check(held == [0; 6], Kind::Budget, || {
            format!(
                "streams, subscriptions, topics, unsent bytes, events in the queue, connections: \
                 {held:?} are held"
            )
        });
    }
}
