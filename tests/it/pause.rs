//! A node that stands still: the process is stopped and continued. Time in which it does not run
//! counts against nobody.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::support::{Endpoint, Fanfare, Process, Request, Stream, within};

/// Stops the process for `pause`, counted from now. What is paused is the node, so time passes.
async fn pause(node: &Process, pause: Duration) {
    node.signal(libc::SIGSTOP);
    sleep(pause).await;
    node.signal(libc::SIGCONT);
}

/// Ensures that streams whose clients read on survive a pause of the node.
///
/// Scenario: the sockets of 1,000 streams are full when the process is stopped for longer than
/// `FANFARE_WRITE_TIMEOUT`. Their clients read meanwhile, so all sockets accept bytes when it
/// continues.
///
/// Cause: the timeout counted the pause, and the timer ran before the reactor had taken more than
/// its first list of edges: it aborted the streams it found blocked.
///
/// Fix: a timeout counts time in which the node ran, and the kernel is asked before a stream is
/// aborted.
#[tokio::test]
async fn streams_with_full_sockets_survive_a_pause_longer_than_the_write_timeout() {
    const STREAMS: usize = 1000;
    let write_timeout = Duration::from_secs(2);
    let node = Fanfare::new().set("FANFARE_WRITE_TIMEOUT", "2s").set("FANFARE_SHARDS", "1");
    let node = node.set("FANFARE_SEND_BUFFER_BYTES", "4KiB").start().await;
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        streams.push(Some(node.stream("topic=news").narrow().open().await));
    }
    // Far more than the buffers of a stream hold: each is blocked once it has sent something.
    let large = "x".repeat(128 * 1024);
    node.publish("news", &large).await;
    for stream in streams.iter_mut().flatten() {
        stream.written().await;
    }
    node.signal(libc::SIGSTOP);
    let mut readers = JoinSet::new();
    // In an order that mixes the connections, so that no part of them is unblocked first.
    for at in (0..STREAMS).map(|at| at * 389 % STREAMS) {
        let mut stream = streams[at].take().expect("each is taken once");
        let large = large.clone();
        readers.spawn(async move {
            assert_eq!(stream.event().await.data, large);
            assert_eq!(stream.event().await.data, "after");
            stream
        });
    }
    sleep(write_timeout + write_timeout / 2).await;
    node.signal(libc::SIGCONT);
    node.publish("news", "after").await;
    let streams = within("both events on every stream", readers.join_all()).await;
    assert_eq!(streams.len(), STREAMS);
}

/// Ensures that a request that came while the node stood still is answered.
///
/// Scenario: 300 publishers have idle connections. The process is stopped for longer than
/// `FANFARE_HEAD_TIMEOUT`, and meanwhile they publish.
///
/// Cause: when it continued, the timeout of a connection had expired before the reactor had seen
/// that the connection is readable: it was closed, and the request discarded.
///
/// Fix: after a time in which a shard stood still, a connection is read before it times out.
#[tokio::test]
async fn a_request_that_came_during_a_pause_longer_than_the_head_timeout_is_answered() {
    let node = Fanfare::new().set("FANFARE_HEAD_TIMEOUT", "1s").set("FANFARE_SHARDS", "1");
    let node = node.start().await;
    let mut publishers = Vec::new();
    for _ in 0..300 {
        publishers.push(node.connect().await);
    }
    // In one go, so that all are idle for less than the timeout when the node stops.
    let request = Request::publish("topic=news", "x").to_bytes();
    for publisher in &mut publishers {
        publisher.send(&request).await;
    }
    for publisher in &mut publishers {
        assert_eq!(publisher.response("POST").await.status, 200);
    }
    node.signal(libc::SIGSTOP);
    for publisher in &mut publishers {
        publisher.send(&request).await;
    }
    sleep(Duration::from_secs(2)).await;
    node.signal(libc::SIGCONT);
    for publisher in &mut publishers {
        assert_eq!(publisher.response("POST").await.status, 200);
    }
}

const PUBLISHERS: usize = 4;
const EVENTS_EACH: usize = 500;

/// Publishes one event after the other.
fn publish(node: Endpoint) -> JoinSet<()> {
    let mut publishers = JoinSet::new();
    for name in 0..PUBLISHERS {
        publishers.spawn(async move {
            let mut connection = node.connect().await;
            for number in 0..EVENTS_EACH {
                connection.publish("news", &format!("{name} {number}")).await;
            }
        });
    }
    publishers
}

/// Reads all events; they must come once each, in the order of each publisher.
async fn read_all(mut stream: Stream) -> Vec<String> {
    let mut next = [0; PUBLISHERS];
    let mut all = Vec::new();
    while all.len() < PUBLISHERS * EVENTS_EACH {
        let event = stream.event().await;
        assert_eq!(event.kind, "message", "{event:?}");
        let (name, number) = event.data.split_once(' ').unwrap();
        let (name, number): (usize, usize) = (name.parse().unwrap(), number.parse().unwrap());
        assert_eq!(number, next[name], "{event:?}");
        next[name] += 1;
        all.push(event.data);
    }
    all
}

/// The pause is longer than the write timeout and several heartbeats.
async fn a_pause_under_load(history_events: &str) {
    let node = Fanfare::new().set("FANFARE_WRITE_TIMEOUT", "1s").set("FANFARE_HEARTBEAT", "500ms");
    let node = node.set("FANFARE_HISTORY_EVENTS", history_events).start().await;
    let mut idle = node.subscribe_many("topic=quiet", 100).await;
    let mut first = node.subscribe("topic=news").await;
    let mut readers = JoinSet::new();
    for stream in node.subscribe_many("topic=news", 200).await {
        readers.spawn(read_all(stream));
    }
    let publishers = publish(*node);
    first.data(100).await;
    pause(&node, Duration::from_secs(2)).await;
    drop(first);
    within("all publishers", publishers.join_all()).await;
    let transcripts = within("all events on every stream", readers.join_all()).await;
    assert!(transcripts.iter().all(|transcript| *transcript == transcripts[0]));
    node.publish("quiet", "after").await;
    for stream in &mut idle {
        assert_eq!(stream.event().await.data, "after");
    }
}

#[tokio::test]
async fn a_pause_under_load_ends_no_stream_and_loses_no_event() {
    a_pause_under_load("1000").await;
}

#[tokio::test]
async fn a_pause_under_load_loses_no_event_without_a_history() {
    a_pause_under_load("0").await;
}
