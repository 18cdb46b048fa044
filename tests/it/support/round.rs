//! A round of the hand-over test: publishers and subscribers at random, and a [`Transcript`] for
//! each subscriber.

use std::sync::Arc;

use fanfare::config::Config;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::client::Connection;
use super::message::Request;
use super::node::TestNode;
use super::sse::Event;
use super::stream::Ending;
use super::transcript::{Entry, Published, Topics, Transcript};
use super::within;

/// Events in a round.
const EVENTS: usize = 480;

/// The parameters of a round, beside the settings of its node.
#[derive(Clone)]
pub struct Plan {
    pub seed: u64,
    pub subscribers: usize,
    pub publishers: usize,
    /// A subscriber reads fewer events than this on one connection.
    pub events_per_connection: usize,
    /// Most bytes of padding in an event.
    pub padding: usize,
    /// Whether some events have a publisher's id.
    pub own_ids: bool,
}

/// A round.
pub struct Round {
    plan: Plan,
    node: TestNode,
    /// How many events have been sent, or are about to be.
    clock: watch::Sender<u64>,
    /// One permit for each subscriber whose first stream is open.
    opened: Semaphore,
}

/// When a subscriber opens its first stream, and from where.
#[derive(Clone, Copy, PartialEq)]
enum Start {
    /// Live, before the first event is sent.
    BeforeAll,
    /// Live, while events are sent.
    Live,
    /// From the earliest event kept, while events are sent.
    Earliest,
}

impl Round {
    /// Runs a round and checks every transcript; returns how many resets the subscribers received.
    pub async fn run(plan: Plan, change: impl FnOnce(&mut Config)) -> usize {
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
        let transcripts = subscribers.join_all().await;
        let published = round.in_order(published).await;
        transcripts.iter().for_each(|transcript| transcript.check(&published));
        transcripts.iter().map(Transcript::resets).sum()
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

    /// Publishes in pipelined groups of random size, so that batches are of all sizes.
    async fn publisher(self: Arc<Self>, number: usize) -> Vec<Published> {
        let (mut random, mut connection) = (self.random(1000 + number), self.node.connect().await);
        let (count, mut published) = (EVENTS / self.plan.publishers, Vec::<Published>::new());
        while published.len() < count {
            let batch = published.len();
            let mut requests = Vec::new();
            for n in batch..(batch + random.usize(1..6)).min(count) {
                let (event, request) = self.random_event(format!("{number}.{n}"), &mut random);
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

    fn random_event(&self, name: String, random: &mut fastrand::Rng) -> (Published, Request) {
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

    /// Publishes the last event, to every topic, so that every subscriber knows where to stop.
    async fn publish_end(&self) {
        let mut fields: Vec<_> = Topics::all().names().map(|topic| ("topic", topic)).collect();
        fields.push(("data", "end"));
        self.node.connect().await.publish_request(&Request::form(&fields)).await;
    }

    /// The events in log order: as one reader of the whole history receives them or, if not all
    /// are kept, by their ids.
    async fn in_order(&self, mut published: Vec<Published>) -> Vec<Published> {
        if self.keeps_all() {
            let mut reader = self.node.resume("", "earliest").await;
            let order = reader.data(published.len()).await;
            let position = |event: &Published| {
                order.iter().position(|data| *data == event.data).expect("kept")
            };
            published.sort_by_cached_key(position);
            assert_eq!(reader.event().await.data, "end");
        } else {
            published.sort_by_key(|event| {
                event.seq().expect("no ids of their own where order is by id")
            });
        }
        published
    }

    async fn subscriber(self: Arc<Self>, number: usize, start: Start) -> Transcript {
        let mut random = self.random(number);
        let selected = match random.u8(..4) {
            0 => None,
            1 => Some(Topics::some(1, &mut random)),
            _ => Some(Topics::some(random.usize(2..5), &mut random)),
        };
        let mut transcript = Transcript::new(selected, start == Start::Earliest);
        let mut last_event_id =
            if start == Start::Earliest { "earliest".to_owned() } else { String::new() };
        if start != Start::BeforeAll {
            let from = random.u64(..EVENTS as u64);
            let mut clock = self.clock.subscribe();
            clock.wait_for(|&clock| clock >= from).await.unwrap();
        }
        loop {
            let mut stream = self.node.resume(&transcript.query(), &last_event_id).await;
            if transcript.opened_at.is_none() {
                let has_all = start == Start::Earliest && self.keeps_all();
                transcript.opened_at = Some(if has_all { 0 } else { *self.clock.borrow() });
                self.opened.add_permits(1);
            }
            for _ in 0..random.usize(1..self.plan.events_per_connection) {
                let event = match within("an event or the end", stream.try_event()).await {
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
                    return transcript;
                }
                transcript.entries.extend(self.entry(event));
            }
        }
    }

    /// No entry for `lagged`: it announces no loss, only where to resume.
    fn entry(&self, event: Event) -> Option<Entry> {
        match event.kind.as_str() {
            "message" => Some(Entry::Event(event.data)),
            "reset" => {
                let reset: serde_json::Value = serde_json::from_str(&event.data).unwrap();
                let oldest = (reset["reason"] == "expired")
                    .then(|| reset["oldest"].as_str().map(str::to_owned));
                Some(Entry::Reset { at: *self.clock.borrow(), oldest: oldest.flatten() })
            }
            kind => {
                assert_eq!(kind, "lagged");
                None
            }
        }
    }
}

/// The id in the next response to a publish.
async fn acknowledged(connection: &mut Connection) -> String {
    let response = connection.response("POST").await;
    assert_eq!(response.status, 200, "{}", response.text());
    response.text().to_owned()
}
