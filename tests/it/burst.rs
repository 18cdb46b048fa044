//! A burst: up to 100,000 events on one topic, published as fast as the node accepts them.

use tokio::task::JoinSet;

use crate::support::{Endpoint, Event, Fanfare, Subscriber};

const PUBLISHERS: usize = 16;

/// Starts the publishers, each with `each` events of its own.
fn publish(node: Endpoint, each: usize) -> JoinSet<()> {
    let mut publishers = JoinSet::new();
    for name in 0..PUBLISHERS {
        publishers.spawn(async move {
            let events = (0..each).map(|number| ("news".to_owned(), format!("{name} {number}")));
            node.connect().await.publish_pipelined(events).await;
        });
    }
    publishers
}

/// Reads `count` events; returns them, and how often the subscriber lagged.
async fn read(mut subscriber: Subscriber, count: usize) -> (Vec<Event>, usize) {
    let mut events = Vec::with_capacity(count);
    while events.len() < count {
        events.push(subscriber.event().await);
    }
    (events, subscriber.lagged)
}

/// Asserts that each publisher's events are all there, once and in order, with ids without a gap.
fn assert_complete(events: &[Event], each: usize) {
    let mut next = [0; PUBLISHERS];
    let seq = |event: &Event| event.id.rsplit('-').next().unwrap().parse::<usize>().unwrap();
    let first = seq(&events[0]);
    for (at, event) in events.iter().enumerate() {
        let (name, number) = event.data.split_once(' ').unwrap();
        let (name, number): (usize, usize) = (name.parse().unwrap(), number.parse().unwrap());
        assert_eq!((number, seq(event)), (next[name], first + at), "event {at} is {event:?}");
        next[name] += 1;
    }
    assert_eq!(next, [each; PUBLISHERS]);
}

#[tokio::test]
async fn a_hundred_thousand_events_reach_every_subscriber_once_and_in_order() {
    const EACH: usize = 100_000 / PUBLISHERS;
    let node = Fanfare::new().set("FANFARE_HISTORY_EVENTS", "100_000").start().await;
    let mut readers = JoinSet::new();
    for _ in 0..4 {
        let subscriber = Subscriber::open(node.stream("topic=news")).await;
        readers.spawn(read(subscriber, EACH * PUBLISHERS));
    }
    publish(*node, EACH).join_all().await;
    for (events, _) in readers.join_all().await {
        assert_complete(&events, EACH);
    }
}

/// The subscriber begins to read after the last publish, when most events have long left the window
/// of 64 batches.
#[tokio::test]
async fn a_subscriber_behind_a_burst_catches_up_in_place_and_receives_every_event() {
    const EACH: usize = 20_000 / PUBLISHERS;
    let node = Fanfare::new().set("FANFARE_WINDOW", "64").set("FANFARE_HISTORY_EVENTS", "20_000");
    let node = node.set("FANFARE_SEND_BUFFER_BYTES", "4KiB").start().await;
    let subscriber = Subscriber::open(node.stream("topic=news").narrow()).await;
    publish(*node, EACH).join_all().await;
    let (events, lagged) = read(subscriber, EACH * PUBLISHERS).await;
    assert_complete(&events, EACH);
    assert_eq!(lagged, 0);
}
