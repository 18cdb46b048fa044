//! Clients that hold on to what others need: connections that send no request, and bodies that
//! arrive slowly or not at all.

use std::time::{Duration, Instant};

use crate::support::{Connection, Endpoint, Fanfare, Request, TestNode};

/// Most of a request head.
const HALF_A_HEAD: &[u8] = b"GET /events?topic=a HTTP/1.1\r\nHost: node.test\r\nX: ";

async fn half_a_head(node: &Endpoint) -> Connection {
    let mut connection = node.connect().await;
    connection.send_until_closed(HALF_A_HEAD).await;
    connection
}

/// Ensures that connections without a stream don't keep streams from opening.
///
/// Scenario: more clients than the node may have connections stop in the middle of a request head,
/// before the streams open and while they do.
///
/// Cause: they had the places of streams until `FANFARE_HEAD_TIMEOUT`.
///
/// Fix: a newcomer takes the place of the connection that has waited longest for a request.
#[tokio::test]
async fn half_read_heads_do_not_take_the_places_of_streams() {
    let node = TestNode::with(|config| {
        (config.shards, config.streams_max, config.connections_max) = (1, 10, Some(20));
    });
    let mut halves = Vec::new();
    for _ in 0..30 {
        halves.push(half_a_head(&node).await);
    }
    let mut streams = Vec::new();
    for _ in 0..10 {
        streams.push(node.subscribe("topic=a").await);
        halves.push(half_a_head(&node).await);
    }
    let id = node.publish("a", "x").await;
    for stream in &mut streams {
        assert_eq!(stream.event().await.id, id);
    }
}

/// The same where the descriptors are the limit: 128 connections, 64 of them for streams.
#[tokio::test]
async fn half_read_heads_do_not_take_the_descriptors_of_streams() {
    let node = Fanfare::after("ulimit -n 200").set("FANFARE_SHARDS", "1").start().await;
    let mut halves = Vec::new();
    for _ in 0..150 {
        halves.push(half_a_head(&node).await);
    }
    let mut streams = node.subscribe_many("topic=a", 64).await;
    let id = node.publish("a", "x").await;
    for stream in &mut streams {
        assert_eq!(stream.event().await.id, id);
    }
}

#[tokio::test]
async fn connections_without_a_stream_have_a_limit_of_their_own() {
    let node = TestNode::with(|config| {
        (config.shards, config.request_connections_max) = (1, 4);
    });
    let mut stream = node.subscribe("topic=a").await;
    let mut idle = node.connect().await;
    idle.publish("a", "1").await;
    let mut halves = Vec::new();
    for _ in 0..6 {
        halves.push(half_a_head(&node).await);
    }
    // Of seven, the three that have waited longest for a head had to go.
    idle.closed().await;
    for displaced in &mut halves[..2] {
        displaced.closed().await;
    }
    for left in &mut halves[2..] {
        left.send(b"y\r\nAccept: text/html\r\n\r\n").await;
        left.response("GET").await.problem(406);
    }
    assert_eq!(node.health().await["streams"], 1);
    node.publish("a", "2").await;
    assert_eq!(stream.data(2).await, ["1", "2"]);
}

#[tokio::test]
async fn a_request_under_way_is_displaced_after_those_that_wait_for_one() {
    let node = TestNode::with(|config| {
        (config.shards, config.request_connections_max) = (1, 3);
    });
    let mut publisher = node.begin_publish("a", "whole").await;
    let mut halves = Vec::new();
    for _ in 0..10 {
        halves.push(half_a_head(&node).await);
    }
    halves[7].closed().await;
    publisher.send(b"whole").await;
    assert_eq!(publisher.response("POST").await.status, 200);
}

/// Ensures that a publisher that announces a large body does not hold the budget before it sends
/// it.
///
/// Scenario: 64 publishers announce 1 MiB each, which is all of `FANFARE_QUEUE_BYTES`, and send
/// nothing.
///
/// Cause: what a publisher announced was reserved at once, for up to `FANFARE_BODY_TIMEOUT`.
///
/// Fix: a body reserves as its bytes arrive.
#[tokio::test]
async fn announced_bodies_do_not_use_up_the_byte_budget() {
    let node = TestNode::start();
    let announced = "x".repeat(node.config().event_bytes_max);
    assert_eq!(node.config().queue_bytes, 64 * announced.len() as u64);
    let mut slow = Vec::new();
    for _ in 0..64 {
        slow.push(node.begin_publish("slow", &announced).await);
    }
    node.publish("a", &announced).await;
    for publisher in &mut slow[..8] {
        publisher.send(announced.as_bytes()).await;
        assert_eq!(publisher.response("POST").await.status, 200);
    }
}

/// Ensures that a body that stops arriving does not hold its part of the budget for all of
/// `FANFARE_BODY_TIMEOUT`. The time itself is under test, so it is measured.
#[tokio::test]
async fn a_body_that_arrives_too_slowly_is_refused_before_the_timeout() {
    let node = TestNode::start();
    assert_eq!(node.config().body_timeout, Duration::from_secs(30));
    let sent = Instant::now();
    let mut publisher = node.begin_publish("a", &"x".repeat(1000)).await;
    publisher.send(b"only this").await;
    let response = publisher.response("POST").await;
    let problem = response.problem(408);
    assert!(problem["detail"].as_str().unwrap().contains("FANFARE_BODY_RATE_MIN"), "{problem}");
    assert!(response.closes());
    publisher.closed().await;
    assert!(sent.elapsed() < Duration::from_secs(20), "{:?}", sent.elapsed());
}

#[tokio::test]
async fn without_a_minimum_rate_only_the_timeout_counts() {
    let node = TestNode::with(|config| {
        (config.body_rate_min, config.body_timeout) = (0, Duration::from_secs(7));
    });
    let mut publisher = node.connect().await;
    let request = Request::publish("topic=a", "whole");
    publisher.send(&[&request.head(), &b"who"[..]].concat()).await;
    let problem = publisher.response("POST").await.problem(408);
    assert!(problem["detail"].as_str().unwrap().contains("7s"), "{problem}");
}
