//! A node with its clients and publishers, and the steps that a seed drives them by.

use std::cell::{RefCell, RefMut};
use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hasher};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use tokio::sync::oneshot::Receiver;
use tokio::task::{JoinHandle, spawn_local, yield_now};
use tokio::time::{Instant, advance, sleep, sleep_until};

use super::Outcome;
use super::client::Client;
use super::finding::Kind;
use super::model::{Model, Published, Topics};
use super::plan::{Plan, TOPICS, pick};
use super::watch::Watch;
use crate::config::Io;
use crate::core::{ConnectionLimits, Core};
use crate::event::{EventId, Publication, Selector, Seq};
use crate::ring::Mailbox;
use crate::sequencer::QueueFull;
use crate::shard::sender::Sender;
use crate::shard::state::Shard;
use crate::shard::{drain, pump, reactor, timer};

/// Reads without a byte after which the node counts as quiet.
const QUIET: usize = 3;

pub(super) const MILLIS: Duration = Duration::from_millis(1);

pub(super) struct World {
    pub(super) rng: Rng,
    pub(super) plan: Plan,
    pub(super) core: Arc<Core>,
    pub(super) shards: Vec<Rc<Shard>>,
    tasks: Vec<JoinHandle<()>>,
    pub(super) model: Model,
    pub(super) clients: Vec<Client>,
    pub(super) watch: Rc<RefCell<Watch>>,
    /// Acknowledgements to come, with the seqs that they must bring.
    acks: VecDeque<(u64, Receiver<Seq>)>,
    pub(super) digest: DefaultHasher,
    pub(super) delivered: u64,
}

impl World {
    pub(super) fn new(rng: Rng, plan: Plan, trace: bool) -> Self {
        let limits = ConnectionLimits::new(&plan.config, 20_000, || false);
        let core = Arc::new(Core::new(plan.config.clone(), limits, Io::Send));
        let watch = Watch::new(plan.crowd + plan.clients, plan.config.write_timeout, trace);
        watch.note(|| format!("{:?}", plan.config));
        let watch = Rc::new(RefCell::new(watch));
        let (mut shards, mut tasks) = (Vec::new(), Vec::new());
        for index in 0..plan.config.shards {
            let shard = Shard::new(Arc::clone(&core), Arc::new(Mailbox::new(index)));
            let shard = Rc::new(shard.expect("an epoll instance can be made"));
            let seen = Rc::clone(&watch);
            *shard.sender.borrow_mut() = Sender::Watched(Box::new(move |write, result| {
                seen.borrow_mut().wrote(index, write, result);
            }));
            tasks.push(spawn_local(pump::pump(Rc::clone(&shard))));
            tasks.push(spawn_local(timer::run_timer(Rc::clone(&shard))));
            let reactor = reactor::run_reactor(Rc::clone(&shard));
            tasks.push(spawn_local(async { reactor.await.expect("epoll works") }));
            shards.push(shard);
        }
        let model = Model::new(core.log.incarnation(), &plan.config);
        let (clients, acks) = (Vec::new(), VecDeque::new());
        let (digest, delivered) = (DefaultHasher::new(), 0);
        Self { rng, plan, core, shards, tasks, model, clients, watch, acks, digest, delivered }
    }

    pub(super) async fn run(mut self) -> Outcome {
        self.invite();
        for _ in 0..self.plan.steps {
            self.step().await;
        }
        self.settle().await;
        if self.plan.drains {
            self.drain().await;
        }
        let failed = self.tasks.iter().any(JoinHandle::is_finished);
        self.check(!failed, Kind::Panic, || "a task of a shard has ended".into());
        self.tasks.drain(..).for_each(|task| task.abort());
        self.shards.iter().for_each(|shard| shard.close_all());
        self.check_nothing_held();
        let findings = std::mem::take(&mut self.see().findings.list);
        Outcome { findings, digest: self.digest.finish(), delivered: self.delivered }
    }

    /// The watch, which knows the time.
    pub(super) fn see(&self) -> RefMut<'_, Watch> {
        let mut watch = self.watch.borrow_mut();
        watch.tick();
        watch
    }

    pub(super) fn check(&self, holds: bool, kind: Kind, what: impl FnOnce() -> String) {
        self.see().findings.check(holds, kind, what);
    }

    pub(super) fn note(&self, what: impl FnOnce() -> String) {
        self.watch.borrow().note(what);
    }

    /// The clients of the run; each connects when its time has come.
    fn invite(&mut self) {
        let (now, crowd) = (Instant::now(), self.plan.crowd);
        for name in 0..crowd + self.plan.clients {
            let in_crowd = name < crowd;
            let selected = match self.rng.u8(..8) {
                _ if in_crowd => Topics::of(0),
                _ if crowd > 0 => Topics::of(self.rng.usize(1..4)),
                0 => Topics::ALL,
                1..=3 => Topics(self.rng.u8(1..1 << TOPICS)),
                _ => Topics::of(self.rng.usize(..TOPICS)),
            };
            let names = selected.names(&self.plan.topics);
            let is_slow = crowd == 0 && self.rng.bool();
            self.clients.push(Client {
                name,
                selected,
                selectors: match selected {
                    Topics::ALL => vec![Selector::All],
                    _ => names.map(Selector::Topic).collect(),
                },
                pace: is_slow.then(|| pick(&mut self.rng, &[16, 300, 5_000])),
                idle_until: now,
                connects_at: now + if in_crowd { 0 } else { self.rng.u32(..2_000) } * MILLIS,
                connection: None,
                last_id: None,
                position: 0,
            });
        }
        self.bound_writes();
    }

    async fn step(&mut self) {
        self.connect_due();
        self.read();
        match self.rng.u8(..32) {
            0..=13 => self.publish(),
            14..=20 => self.pump().await,
            21..=25 => {
                let time = self.rng.u32(1..300) * MILLIS;
                self.rest(time).await;
            }
            26 => self.stand_still().await,
            27 => self.settle().await,
            28..=29 => self.break_one(),
            30 => {
                // The sequencer's thread is at the log for a while.
                let core = Arc::clone(&self.core);
                let _writer = core.log.writer();
                self.pump().await;
            }
            _ => self.run_sequencer(),
        }
        self.observe();
    }

    /// Lets the shards run for a few quanta.
    async fn pump(&mut self) {
        for _ in 0..self.rng.u8(1..4) {
            yield_now().await;
        }
    }

    /// Publishes some events one after the other, on a shard or as other threads would.
    fn publish(&mut self) {
        let (is_long, here) = (self.rng.u8(..4) == 0, self.rng.bool());
        let burst = if is_long { self.rng.usize(8..40) } else { self.rng.usize(1..4) };
        let repeats = self.plan.repeats_ids && self.rng.u8(..8) == 0;
        let shared = repeats.then(|| format!("again-{}", self.model.next()));
        for _ in 0..burst {
            let seq = self.model.next();
            let topics = match self.rng.u8(..8) {
                0 => Topics(self.rng.u8(1..1 << TOPICS)),
                1..=3 => Topics::of(0),
                _ => Topics::of(self.rng.usize(..TOPICS)),
            };
            let own = (self.rng.u8(..8) == 0).then(|| format!("own-{seq}"));
            let id = shared.clone().or(own).map(|id| EventId::new(&id).expect("a valid id"));
            let mut data = format!("{seq} ");
            data.extend(std::iter::repeat_n('x', self.rng.usize(..=self.plan.data_max)));
            let bytes = data.len();
            let Ok(reservation) = self.core.queue.reserve(bytes) else { break };
            let (topics_of, own) = (topics.names(&self.plan.topics).collect(), id.clone());
            let event =
                Publication { topics: topics_of, data, id: own, event_type: None, retry: None };
            let submitted = if here {
                let shard = self.rng.usize(..self.shards.len());
                self.shards[shard].handle.note_publish();
                self.core.sequencer.submit(event, reservation)
            } else {
                self.core.queue.submit(event, reservation)
            };
            match submitted {
                Ok(ack) => self.acks.push_back((seq, ack)),
                Err(QueueFull::Events(_)) => break,
                Err(error) => panic!("publishing failed: {error}"),
            }
            self.note(|| format!("publish {seq} to {:#b}, {bytes} bytes", topics.0));
            self.model.push(Published { topics, id, bytes });
            self.note_batch();
        }
    }

    /// What the sequencer's thread does when it is woken.
    fn run_sequencer(&mut self) {
        while self.core.sequencer.run_once() {
            self.note_batch();
        }
    }

    /// Notes what the sequencer has taken since the last call: one batch at most.
    fn note_batch(&mut self) {
        let (first, last) = (self.model.last + 1, self.core.log.last_seq().0);
        if last < first {
            return;
        }
        self.note(|| format!("batch {first} to {last}"));
        self.model.took(last);
        for seq in first..=last {
            let (expected, mut ack) = self.acks.pop_front().expect("every event has one");
            let acked = ack.try_recv();
            self.check(expected == seq && acked == Ok(Seq(seq)), Kind::Order, || {
                format!("event {seq} was acknowledged as {acked:?}")
            });
        }
        if self.plan.crowd > 0 {
            for client in &self.clients[self.plan.crowd..] {
                let is_owed = self.model.selected(client.selected, first..=last).next().is_some();
                if is_owed && client.connection.is_some() {
                    self.watch.borrow_mut().owe(client.name);
                }
            }
        }
    }

    /// The whole process stands still, as when it is stopped, while its clients read on.
    async fn stand_still(&mut self) {
        let longest = pick(&mut self.rng, &[500, 5_000, 60_000]);
        let time = self.rng.u32(longest / 4..longest) * MILLIS;
        self.note(|| format!("stand still for {time:?}"));
        if self.rng.bool() {
            self.read();
        }
        self.see().stand_still(time);
        advance(time).await;
    }

    /// A client goes away in the middle of what it receives.
    fn break_one(&mut self) {
        let client = self.rng.usize(..self.clients.len());
        if self.clients[client].connection.is_some() {
            self.note(|| format!("client {client} disconnects"));
            self.disconnect(client);
        }
    }

    /// Lets the node and its clients run for a time.
    async fn rest(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until && self.run_once().await {}
        sleep_until(until).await;
    }

    /// Lets the node and its clients run until those that read all there is have all.
    async fn settle(&mut self) {
        self.note(|| "settle".into());
        let mut quiet = 0;
        while quiet < QUIET {
            self.connect_due();
            quiet = if self.run_once().await { 0 } else { quiet + 1 };
        }
        self.check_settled();
    }

    /// Lets the node run until it has nothing to do, then the clients; true if they have read.
    async fn run_once(&mut self) -> bool {
        self.run_sequencer();
        sleep(MILLIS).await;
        self.observe();
        self.read() > 0
    }

    /// Drains every shard: within the time, each stream that reads is told and ends.
    async fn drain(&mut self) {
        let time = self.plan.config.drain;
        self.note(|| format!("drain in {time:?}"));
        let drains = self.shards.iter().map(|shard| drain::drain(Rc::clone(shard), time));
        let drains: Vec<_> = drains.map(spawn_local).collect();
        while !drains.iter().all(JoinHandle::is_finished) {
            sleep(self.rng.u32(1..30) * MILLIS).await;
            self.read();
            self.observe();
        }
        // Twice: the last bytes, then the end.
        self.read();
        self.read();
        for client in self.clients.iter().filter(|client| client.pace.is_none()) {
            self.check(client.connection.is_none(), Kind::Stuck, || {
                format!("client {} is connected after the drain", client.name)
            });
        }
    }
}
