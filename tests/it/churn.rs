//! Churn: the resources of subscribers that disconnect are released.

use crate::support::{Fanfare, Process, Stream};

const ROUNDS: usize = 20;
const STREAMS: usize = 500;

/// One topic for every other stream, a private one for each of the rest.
fn topic(round: usize, number: usize) -> String {
    if number.is_multiple_of(2) { "shared".into() } else { format!("private-{round}-{number}") }
}

/// Opens streams while events are published to their topics, reads some of them, and closes all,
/// half of them with an abort (RST).
async fn open_and_close(node: &Process, round: usize) {
    let events = |data: &'static str| {
        (0..STREAMS).map(move |number| (topic(round, number), data.to_owned()))
    };
    let open = async {
        let mut streams: Vec<Stream> = Vec::new();
        for number in 0..STREAMS {
            streams.push(node.subscribe(&format!("topic={}", topic(round, number))).await);
        }
        streams
    };
    let publish = async {
        let mut publisher = node.connect().await;
        publisher.publish_pipelined(events("meanwhile")).await;
        publisher
    };
    let (streams, mut publisher) = tokio::join!(open, publish);
    publisher.publish_pipelined(events("to all")).await;
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
async fn thousands_of_subscribers_that_connect_and_disconnect_leave_nothing_behind() {
    let node = Fanfare::new().set("FANFARE_HISTORY_AGE", "1s").start().await;
    let mut early = 0;
    for round in 1..=ROUNDS {
        open_and_close(&node, round).await;
        if round == 5 {
            node.health_reaches("/streams", 0).await;
            early = node.health_number("/memory/resident_bytes").await;
        }
    }
    for what in ["/streams", "/topics/read", "/topics/kept", "/history/events", "/history/bytes"] {
        node.health_reaches(what, 0).await;
    }
    node.health_reaches("/connections", 1).await;
    let late = node.health_number("/memory/resident_bytes").await;
    // 7500 streams were opened and closed in between; a leaked session would take over 4 KiB.
    assert!(late < early + (24 << 20), "from {} KiB to {} KiB", early >> 10, late >> 10);
}

/// Nothing is published and no heartbeat is due: the node must notice the closed connection itself.
#[tokio::test]
async fn a_subscriber_that_disconnects_is_noticed_without_a_write_to_it() {
    let node = Fanfare::new().set("FANFARE_HEARTBEAT", "1h").start().await;
    let closed = node.subscribe("topic=news").await;
    let crashed = node.subscribe("topic=news").await;
    let mut stays = node.subscribe("topic=news").await;
    node.health_reaches("/streams", 3).await;
    drop(closed);
    node.health_reaches("/streams", 2).await;
    crashed.crash();
    node.health_reaches("/streams", 1).await;
    node.publish("news", "hello").await;
    assert_eq!(stays.event().await.data, "hello");
}

#[tokio::test]
async fn a_subscriber_that_disconnects_with_unread_events_is_noticed() {
    let node = Fanfare::new().set("FANFARE_HEARTBEAT", "1h").start().await;
    let stream = node.stream("topic=news").narrow().open().await;
    let mut publisher = node.connect().await;
    for _ in 0..64 {
        publisher.publish("news", &"x".repeat(16 * 1024)).await;
    }
    drop(stream);
    node.health_reaches("/streams", 0).await;
    node.health_reaches("/topics/read", 0).await;
}
