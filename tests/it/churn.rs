//! Subscribers that come and go: whatever they held is given back.

use crate::process::{Fanfare, Process, publish_pipelined};
use crate::subscriber::Ask;
use crate::support::Stream;

const ROUNDS: usize = 20;
const STREAMS: usize = 500;

/// Every other one on a topic of its own.
fn topic(round: usize, number: usize) -> String {
    if number.is_multiple_of(2) { "shared".into() } else { format!("private-{round}-{number}") }
}

/// Streams come, events go to their topics meanwhile, some are read, and all leave, half of them
/// with a reset.
async fn come_and_go(node: &Process, round: usize) {
    let events = |data: &'static str| {
        (0..STREAMS).map(move |number| (topic(round, number), data.to_owned()))
    };
    let coming = async {
        let mut streams: Vec<Stream> = Vec::new();
        for number in 0..STREAMS {
            streams.push(node.subscribe(&topic(round, number)).await);
        }
        streams
    };
    let publishing = async {
        let mut publisher = node.connect().await;
        publish_pipelined(&mut publisher, events("meanwhile")).await;
        publisher
    };
    let (streams, mut publisher) = tokio::join!(coming, publishing);
    publish_pipelined(&mut publisher, events("to all")).await;
    for (number, mut stream) in streams.into_iter().enumerate() {
        if number.is_multiple_of(3) {
            stream.event().await;
        }
        if number % 4 < 2 {
            stream.crash();
        }
    }
}

#[tokio::test]
async fn subscribers_that_come_and_go_by_the_thousand_leave_nothing_behind() {
    let node = Fanfare::new().set("FANFARE_HISTORY_AGE", "1s").start().await;
    let mut early = 0;
    for round in 1..=ROUNDS {
        come_and_go(&node, round).await;
        if round == 5 {
            node.settles("/streams", 0).await;
            early = node.number("/memory/resident_bytes").await;
        }
    }
    for what in ["/streams", "/topics/read", "/topics/kept", "/history/events", "/history/bytes"] {
        node.settles(what, 0).await;
    }
    node.settles("/connections", 1).await;
    let late = node.number("/memory/resident_bytes").await;
    // A session is well over 4 KiB; 7500 of them have gone since.
    assert!(late < early + (24 << 20), "from {} KiB to {} KiB", early >> 10, late >> 10);
}

/// Nothing is published and no heartbeat is due, so that only the closed connection can tell.
#[tokio::test]
async fn a_subscriber_that_disappears_is_noticed_without_anything_to_send_to_it() {
    let node = Fanfare::new().set("FANFARE_HEARTBEAT", "1h").start().await;
    let closed = node.subscribe("news").await;
    let crashed = node.subscribe("news").await;
    let mut stays = node.subscribe("news").await;
    node.settles("/streams", 3).await;
    drop(closed);
    node.settles("/streams", 2).await;
    crashed.crash();
    node.settles("/streams", 1).await;
    node.connect().await.publish("news", "hello").await;
    assert_eq!(stays.event().await.data, "hello");
}

#[tokio::test]
async fn a_subscriber_that_disappears_with_events_unread_is_noticed() {
    let node = Fanfare::new().set("FANFARE_HEARTBEAT", "1h").start().await;
    let stream = Ask::topic(node.addr(), "news").narrow().open().await;
    let mut publisher = node.connect().await;
    for _ in 0..64 {
        publisher.publish("news", &"x".repeat(16 * 1024)).await;
    }
    drop(stream);
    node.settles("/streams", 0).await;
    node.settles("/topics/read", 0).await;
}
