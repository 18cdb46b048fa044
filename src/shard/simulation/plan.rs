//! What a seed chooses before its run: the settings, and how large everything is.

use std::time::Duration;

use fastrand::Rng;

use crate::config::Config;
use crate::event::Topic;

/// Topics that events are published to; each is a bit of a [`Topics`](super::model::Topics).
pub(super) const TOPICS: usize = 6;

/// Streams that a ring of a [crowded](Plan::crowd) run has, beside those of other topics.
const CROWD: usize = 200;

pub(super) struct Plan {
    pub(super) config: Config,
    pub(super) topics: Vec<Topic>,
    /// Streams of the first topic that are open from the start, and always read.
    pub(super) crowd: usize,
    /// Clients beside the crowd.
    pub(super) clients: usize,
    pub(super) steps: usize,
    /// Longest data of an event, bytes.
    pub(super) data_max: usize,
    /// Whether publishers give several events one id.
    pub(super) repeats_ids: bool,
    /// Whether the run ends with a drain.
    pub(super) drains: bool,
}

impl Plan {
    pub(super) fn draw(rng: &mut Rng) -> Self {
        let crowded = rng.u8(..4) == 0;
        let seconds = Duration::from_secs;
        let config = Config {
            shards: if crowded { 1 } else { pick(rng, &[1, 1, 2]) },
            streams_max: pick(rng, &[CROWD + 4, 4096]),
            topics_max: pick(rng, &[3, 100, 100]),
            queue_events: pick(rng, &[8, 256]),
            batch_events: pick(rng, &[1, 8, 1024]),
            batch_bytes: pick(rng, &[4 * 1024, 256 * 1024]),
            window: pick(rng, &[2, 8, 64, 1024]),
            window_bytes: pick(rng, &[32 * 1024, 64 * 1024 * 1024]),
            quantum_streams: pick(rng, &[1, 2, 4]),
            lag_max: pick(rng, &[seconds(2), seconds(60), seconds(300)]),
            history_events: pick(rng, &[0, 5, 30, 150, 1000]),
            history_age: pick(rng, &[seconds(3), seconds(20), seconds(3600), seconds(3600)]),
            history_bytes: pick(rng, &[64 * 1024, 256 * 1024, 16 * 1024 * 1024]),
            write_timeout: pick(rng, &[seconds(1), seconds(4)]),
            heartbeat: pick(rng, &[seconds(2), seconds(30)]),
            drain: pick(rng, &[Duration::ZERO, seconds(1), seconds(5)]),
            ..Config::default()
        };
        // An id counts as repeated if both events are stored at once; otherwise the later one is
        // what a client resumes from, whichever it received.
        let keeps_long = config.history_age > seconds(60)
            && config.history_bytes > 1024 * 1024
            && config.history_events > 0
            && config.topics_max > TOPICS;
        Self {
            repeats_ids: keeps_long && rng.bool(),
            topics: topics(),
            crowd: if crowded { CROWD } else { 0 },
            clients: rng.usize(3..12),
            steps: rng.usize(40..160),
            data_max: if crowded { 100 } else { pick(rng, &[100, 2_000, 16_000]) },
            drains: rng.bool(),
            config,
        }
    }
}

/// One of `choices`.
pub(super) fn pick<T: Copy>(rng: &mut Rng, choices: &[T]) -> T {
    choices[rng.usize(..choices.len())]
}

/// Names of one length whose hashes differ in the upper bits. The key of the hash differs between
/// processes, and topics that share a bucket of the history's loss table share its losses: a run
/// would depend on it.
fn topics() -> Vec<Topic> {
    let mut topics: Vec<Topic> = Vec::new();
    for name in 0..10_000 {
        let topic = Topic::new(&format!("topic-{name:04}")).expect("a valid name");
        if topics.iter().all(|other| other.hash_key() >> 48 != topic.hash_key() >> 48) {
            topics.push(topic);
        }
        if topics.len() == TOPICS {
            break;
        }
    }
    topics
}
