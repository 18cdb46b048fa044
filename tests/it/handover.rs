//! The hand-over from replay to live under load: no event is lost or repeated, compared by content.
//!
//! Subscribers connect and disconnect at random, and resume with the id of the last event they
//! received. Each one's transcript, over all of its connections, is then compared with what was
//! published: every missing event must have been announced by a `reset`.

use crate::support::{Plan, Round};

fn plan(seed: u64) -> Plan {
    Plan {
        seed,
        subscribers: 40,
        publishers: 8,
        events_per_connection: 40,
        padding: 100,
        own_ids: seed.is_multiple_of(2),
    }
}

#[tokio::test]
async fn with_enough_history_no_event_is_lost_or_repeated() {
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
    assert!(resets > 0, "no event was lost: the rounds did not test anything");
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
async fn many_subscribers_lose_nothing() {
    for seed in 300..304 {
        let plan = Plan { subscribers: 200, ..plan(seed) };
        assert_eq!(Round::run(plan, |_| {}).await, 0, "seed {seed}");
    }
}

/// A connection reads one or two events, so that most streams end within their hand-over.
#[tokio::test]
async fn subscribers_that_reconnect_often_lose_nothing() {
    for seed in 400..404 {
        let plan = Plan { events_per_connection: 3, padding: 0, ..plan(seed) };
        assert_eq!(Round::run(plan, |_| {}).await, 0, "seed {seed}");
    }
}

/// Many publishers make batches of many events on many rings, which must be merged in one order.
#[tokio::test]
async fn streams_of_several_topics_stay_in_order_when_batches_are_large() {
    for seed in 500..510 {
        let plan = Plan {
            subscribers: 60,
            publishers: 60,
            events_per_connection: 1000,
            padding: 0,
            ..plan(seed)
        };
        assert_eq!(Round::run(plan, |config| config.quantum_streams = 1).await, 0, "seed {seed}");
    }
}
