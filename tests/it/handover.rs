//! From replay to live while publishers hammer: nothing is lost and nothing comes twice, checked by
//! content.
//!
//! Subscribers of many kinds come and go at random, each coming back with the last id it had. What
//! each has had over all of its connections is then compared with what was published. All that is
//! missing must have been announced.

use std::sync::Arc;

use fanfare::config::Config;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::support::transcript::{Entry, Published, Tale, Topics};
use crate::support::{Connection, Ending, Event, Request, TestNode, within};

const EVENTS: usize = 480;

/// What differs from round to round, beside the settings.
#[derive(Clone)]
struct Plan {
    seed: u64,
    subscribers: usize,
    publishers: usize,
    /// A subscriber leaves before it has had so many events at once.
    patience: usize,
    /// Most bytes of padding in an event.
    padding: usize,
    /// Whether some events have an id of their own.
    own_ids: bool,
}

struct Round {
    plan: Plan,
    node: TestNode,
    /// Events whose sending has begun.
    clock: watch::Sender<u64>,
    /// One permit for each subscriber that has been connected.
    opened: Semaphore,
}

/// When a subscriber comes for the first time, and what it asks for.
#[derive(Clone, Copy, PartialEq)]
enum Start {
    BeforeAll,
    Live,
    Earliest,
}

impl Round {
    /// Runs the round; every subscriber's tale has been checked when this returns. How many resets
    /// there were.
    async fn run(plan: Plan, change: impl FnOnce(&mut Config)) -> usize {
        let (clock, opened) = (watch::Sender::new(0), Semaphore::new(0));
        let round = Arc::new(Self { plan, node: TestNode::with(change), clock, opened });
        let (mut subscribers, mut publishers) = (JoinSet::new(), JoinSet::new());
        let early = round.plan.subscribers / 2;
        for number in 0..round.plan.subscribers {
            let start = match number {
                _ if number < early => Start::BeforeAll,
                _ if number % 2 == 0 => Start::Live,
                _ => Start::Earliest,
            };
            subscribers.spawn(Arc::clone(&round).subscriber(number, start));
        }
        round.wait_for_opened(early).await;
        for number in 0..round.plan.publishers {
            publishers.spawn(Arc::clone(&round).publisher(number));
        }
        let published = publishers.join_all().await.concat();
        round.wait_for_opened(round.plan.subscribers - early).await;
        round.publish_end().await;
        let tales = subscribers.join_all().await;
        let published = round.in_order(published).await;
        tales.iter().for_each(|tale| tale.check(&published));
        tales.iter().map(Tale::resets).sum()
    }

    async fn wait_for_opened(&self, count: usize) {
        let count = u32::try_from(count).unwrap();
        within("streams open", self.opened.acquire_many(count)).await.unwrap().forget();
    }

    fn keeps_all(&self) -> bool {
        self.node.config().history_events > EVENTS
    }

    fn random(&self, number: usize) -> fastrand::Rng {
        fastrand::Rng::with_seed(self.plan.seed * 10_000 + number as u64)
    }

    /// Publishes in pipelined batches, so that batches are of all sizes.
    async fn publisher(self: Arc<Self>, number: usize) -> Vec<Published> {
        let (mut random, mut connection) = (self.random(1000 + number), self.node.connect().await);
        let (count, mut published) = (EVENTS / self.plan.publishers, Vec::<Published>::new());
        while published.len() < count {
            let batch = published.len();
            let mut requests = Vec::new();
            for n in batch..(batch + random.usize(1..6)).min(count) {
                let (event, request) = self.draft(format!("{number}.{n}"), &mut random);
                requests.extend(request.to_bytes());
                published.push(event);
            }
            connection.send(&requests).await;
            for event in &mut published[batch..] {
                event.id = acknowledged(&mut connection).await;
            }
        }
        published
    }

    fn draft(&self, name: String, random: &mut fastrand::Rng) -> (Published, Request) {
        let data = format!("{name} {}", ".".repeat(random.usize(..=self.plan.padding)));
        let topics = Topics::some(random.usize(1..3), random);
        let mut fields: Vec<_> = topics.names().map(|topic| ("topic", topic)).collect();
        fields.push(("data", &data));
        if self.plan.own_ids && random.u8(..4) == 0 {
            fields.push(("id", &name));
        }
        let request = Request::form(&fields);
        let mut sent_at = 0;
        self.clock.send_modify(|clock| sent_at = std::mem::replace(clock, *clock + 1));
        (Published { data, topics, sent_at, id: String::new() }, request)
    }

    /// What was published last, to every topic, so that every subscriber knows that it has had
    /// everything.
    async fn publish_end(&self) {
        let mut fields: Vec<_> = Topics::all().names().map(|topic| ("topic", topic)).collect();
        fields.push(("data", "end"));
        self.node.connect().await.publish_request(&Request::form(&fields)).await;
    }

    /// The events in the order that one undisturbed reader of everything sees, if all is kept; or
    /// else by their ids.
    async fn in_order(&self, mut published: Vec<Published>) -> Vec<Published> {
        if self.keeps_all() {
            let mut reader = self.node.resume("", "earliest").await;
            let order = reader.data(published.len()).await;
            let place = |event: &Published| {
                order.iter().position(|data| *data == event.data).expect("kept")
            };
            published.sort_by_cached_key(place);
            assert_eq!(reader.event().await.data, "end");
        } else {
            published.sort_by_key(|event| {
                event.seq().expect("no ids of their own where order is by id")
            });
        }
        published
    }

    async fn subscriber(self: Arc<Self>, number: usize, start: Start) -> Tale {
        let mut random = self.random(number);
        let selected = match random.u8(..4) {
            0 => None,
            1 => Some(Topics::some(1, &mut random)),
            _ => Some(Topics::some(random.usize(2..5), &mut random)),
        };
        let mut tale = Tale::new(selected, start == Start::Earliest);
        let mut last_event_id =
            if start == Start::Earliest { "earliest".to_owned() } else { String::new() };
        if start != Start::BeforeAll {
            let from = random.u64(..EVENTS as u64);
            let mut clock = self.clock.subscribe();
            clock.wait_for(|&clock| clock >= from).await.unwrap();
        }
        loop {
            let mut stream = self.node.resume(&tale.query(), &last_event_id).await;
            if tale.opened_at.is_none() {
                let has_all = start == Start::Earliest && self.keeps_all();
                tale.opened_at = Some(if has_all { 0 } else { *self.clock.borrow() });
                self.opened.add_permits(1);
            }
            for _ in 0..random.usize(1..self.plan.patience) {
                let event = match within("an event, or the end", stream.try_event()).await {
                    Ok(event) => event,
                    Err(ending) => {
                        assert_eq!(ending, Ending::Complete);
                        break;
                    }
                };
                if event.has_id {
                    last_event_id.clone_from(&event.id);
                }
                if event.data == "end" {
                    return tale;
                }
                tale.entries.extend(self.entry(event));
            }
        }
    }

    /// `lagged` excuses nothing: it says where to go on.
    fn entry(&self, event: Event) -> Option<Entry> {
        match event.kind.as_str() {
            "message" => Some(Entry::Event(event.data)),
            "reset" => {
                let said: serde_json::Value = serde_json::from_str(&event.data).unwrap();
                let oldest = (said["reason"] == "expired")
                    .then(|| said["oldest"].as_str().map(str::to_owned));
                Some(Entry::Reset { at: *self.clock.borrow(), oldest: oldest.flatten() })
            }
            kind => {
                assert_eq!(kind, "lagged");
                None
            }
        }
    }
}

async fn acknowledged(connection: &mut Connection) -> String {
    let response = connection.response("POST").await;
    assert_eq!(response.status, 200, "{}", response.text());
    response.text().to_owned()
}

fn plan(seed: u64) -> Plan {
    Plan {
        seed,
        subscribers: 40,
        publishers: 8,
        patience: 40,
        padding: 100,
        own_ids: seed.is_multiple_of(2),
    }
}

#[tokio::test]
async fn with_enough_history_nothing_is_lost_or_repeated() {
    for seed in 0..20 {
        let resets = Round::run(plan(seed), |config| {
            config.batch_events = [1024, 1, 3][seed as usize % 3];
            config.window = [1024, 2, 4, 16][seed as usize % 4];
            config.quantum_streams = [256, 1][seed as usize % 2];
        });
        assert_eq!(resets.await, 0, "seed {seed}");
    }
}

#[tokio::test]
async fn with_little_history_every_loss_is_announced() {
    let mut resets = 0;
    for seed in 100..112 {
        let round = Round::run(Plan { own_ids: false, ..plan(seed) }, |config| {
            config.history_events = [1, 3, 10, 40][seed as usize % 4];
            config.batch_events = [1024, 2][seed as usize % 2];
            config.window = [1024, 2, 8][seed as usize % 3];
        });
        resets += round.await;
    }
    assert!(resets > 0, "too little was lost for this to mean anything");
}

#[tokio::test]
async fn events_that_fill_buffers_are_handed_over_whole() {
    for seed in 200..203 {
        let plan = Plan { padding: 8000, ..plan(seed) };
        let resets = Round::run(plan, |config| {
            config.batch_bytes = 4096;
            config.send_buffer_bytes = 4096;
            config.window = [1024, 2][seed as usize % 2];
        });
        assert_eq!(resets.await, 0, "seed {seed}");
    }
}

#[tokio::test]
async fn a_crowd_of_subscribers_loses_nothing() {
    for seed in 300..304 {
        let plan = Plan { subscribers: 200, ..plan(seed) };
        assert_eq!(Round::run(plan, |_| {}).await, 0, "seed {seed}");
    }
}

/// Each stream has an event or two, so that most of them end within their hand-over.
#[tokio::test]
async fn hasty_subscribers_lose_nothing() {
    for seed in 400..404 {
        let plan = Plan { patience: 3, padding: 0, ..plan(seed) };
        assert_eq!(Round::run(plan, |_| {}).await, 0, "seed {seed}");
    }
}

/// Many publishers make batches of many events for many rings, which have to be read in one order.
#[tokio::test]
async fn unions_stay_in_order_when_turns_are_large() {
    for seed in 500..510 {
        let plan =
            Plan { subscribers: 60, publishers: 60, patience: 1000, padding: 0, ..plan(seed) };
        assert_eq!(Round::run(plan, |config| config.quantum_streams = 1).await, 0, "seed {seed}");
    }
}
