//! A burst: 100,000 events to one topic, as fast as the node takes them.

use std::net::SocketAddr;

use tokio::task::JoinSet;

use crate::process::{Fanfare, publish_pipelined};
use crate::subscriber::{Ask, Follower};
use crate::support::{Connection, Event};

const PUBLISHERS: usize = 16;

/// Sixteen publishers at once, each with `each` events of its own.
fn publish(addr: SocketAddr, each: usize) -> JoinSet<()> {
    let mut publishers = JoinSet::new();
    for name in 0..PUBLISHERS {
        publishers.spawn(async move {
            let events = (0..each).map(|number| ("news".to_owned(), format!("{name} {number}")));
            publish_pipelined(&mut Connection::open(addr).await, events).await;
        });
    }
    publishers
}

/// Reads as many events; with them comes how often the follower lagged.
async fn follow(mut follower: Follower, count: usize) -> (Vec<Event>, usize) {
    let mut events = Vec::with_capacity(count);
    while events.len() < count {
        events.push(follower.event().await);
    }
    (events, follower.lagged)
}

/// All events of each publisher, once and in its order, and the ids without a gap.
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
    let mut followers = JoinSet::new();
    for _ in 0..4 {
        let follower = Follower::open(Ask::topic(node.addr(), "news")).await;
        followers.spawn(follow(follower, EACH * PUBLISHERS));
    }
    let publishers = publish(node.addr(), EACH);
    publishers.join_all().await;
    for (events, _) in followers.join_all().await {
        assert_complete(&events, EACH);
    }
}

/// The subscriber begins to read when all is published: most of it left the window of 64 batches long
/// ago.
#[tokio::test]
async fn a_subscriber_that_a_burst_left_behind_is_told_and_resumes_to_have_all_of_it() {
    const EACH: usize = 20_000 / PUBLISHERS;
    let node = Fanfare::new().set("FANFARE_WINDOW", "64").set("FANFARE_HISTORY_EVENTS", "20_000");
    let node = node.set("FANFARE_SEND_BUFFER_BYTES", "4KiB").start().await;
    let follower = Follower::open(Ask::topic(node.addr(), "news").narrow()).await;
    publish(node.addr(), EACH).join_all().await;
    let (events, lagged) = follow(follower, EACH * PUBLISHERS).await;
    assert_complete(&events, EACH);
    assert_eq!(lagged, 1);
}
