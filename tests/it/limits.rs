//! Limits: a client over a limit is refused in a way that makes it retry later.

use std::time::{Duration, Instant};

use fanfare::config::{BusyAnswer, Config, Io};

use crate::support::{Ending, Fanfare, Request, Stream, TestNode, eventually, io};

fn one_stream(config: &mut Config) {
    config.streams_max = 1;
    (config.retry_min, config.retry_max) =
        (Duration::from_millis(1500), Duration::from_millis(2500));
}

/// Asserts that an `EventSource` receives a complete stream with a `busy` event and a `retry`.
async fn receives_busy(node: &TestNode, query: &str, reason: &str) {
    let mut stream = Stream::begin(node.addr(), Request::subscribe(query)).await;
    let event = stream.try_event().await.unwrap();
    assert_eq!(
        (event.kind.as_str(), event.data.clone()),
        ("busy", format!("{{\"reason\":\"{reason}\"}}"))
    );
    assert!(!event.has_id, "busy is no position in the log");
    let (min, max) = (node.config().retry_min.as_millis(), node.config().retry_max.as_millis());
    assert!((min..=max).contains(&event.retry.unwrap().into()), "{event:?}");
    assert_eq!(stream.end().await, Ending::Complete);
}

/// Asserts that any other client is refused with 503 and `Retry-After`.
async fn is_refused_503(node: &TestNode, request: Request) {
    let response = node.request(request).await;
    response.problem(503);
    let after: u64 = response.header("Retry-After").unwrap().parse().unwrap();
    assert!((2..=3).contains(&after), "{after}");
}

#[tokio::test]
async fn a_full_node_sends_busy_to_an_event_source() {
    let node = TestNode::with(one_stream);
    let mut first = node.subscribe("topic=a").await;
    for _ in 0..5 {
        receives_busy(&node, "topic=b", "streams").await;
    }
    node.publish("a", "x").await;
    assert_eq!(first.event().await.data, "x");
    drop(first);
    node.health_until(|health| health["streams"] == 0 && health["topics"]["read"] == 0).await;
    node.subscribe("topic=b").await;
}

#[tokio::test]
async fn a_full_node_answers_other_clients_503() {
    let node = TestNode::with(one_stream);
    let _first = node.subscribe("topic=a").await;
    for accept in ["*/*", "text/*", "text/html, *;q=0.1"] {
        is_refused_503(&node, Request::get("/events").header("Accept", accept)).await;
    }
    is_refused_503(&node, Request::get("/events")).await;
}

#[tokio::test]
async fn a_full_node_answers_everyone_503_if_so_configured() {
    let node = TestNode::with(|config| {
        one_stream(config);
        config.busy_answer = BusyAnswer::Status503;
    });
    let _first = node.subscribe("topic=a").await;
    is_refused_503(&node, Request::subscribe("topic=a")).await;
}

#[tokio::test]
async fn a_full_node_still_accepts_publishes_and_health_checks() {
    let node = TestNode::with(one_stream);
    let mut stream = node.subscribe("topic=a").await;
    let publishers = [node.connect().await, node.connect().await, node.connect().await];
    for mut publisher in publishers {
        let id = publisher.publish("a", "x").await;
        assert_eq!(stream.event().await.id, id);
    }
    assert_eq!(node.health().await["streams"], 1);
}

#[tokio::test]
async fn a_topic_over_the_limit_is_refused_as_busy_and_known_topics_are_served() {
    let node = TestNode::with(|config| config.topics_max = 3);
    let mut streams = vec![node.subscribe("topic=a&topic=b").await];
    receives_busy(&node, "topic=c&topic=d", "topics").await;
    node.health_until(|health| health["topics"]["read"] == 2).await;
    streams.push(node.subscribe("topic=b&topic=c").await);
    receives_busy(&node, "topic=d", "topics").await;
    let problem = node.request(Request::get("/events?topic=d")).await.problem(503);
    assert!(problem["detail"].as_str().unwrap().contains("FANFARE_TOPICS_MAX"), "{problem}");
    streams.push(node.subscribe("topic=a&topic=c").await);
    streams.push(node.subscribe("").await);
    let id =
        node.connect().await.publish_request(&Request::json(r#"{"topic":["a","b","c"]}"#)).await;
    for stream in &mut streams {
        assert_eq!(stream.event().await.id, id);
    }
}

#[tokio::test]
async fn a_stream_over_the_limit_of_subscriptions_is_refused_as_busy() {
    let node = TestNode::with(|config| config.subscriptions_max = 5);
    let first = node.subscribe("topic=a&topic=b&topic=c").await;
    receives_busy(&node, "topic=a&topic=b&topic=c", "subscriptions").await;
    let request = Request::get("/events?topic=a&topic=b&topic=c");
    let problem = node.request(request).await.problem(503);
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("FANFARE_SUBSCRIPTIONS_MAX"), "{problem}");
    let mut second = node.subscribe("topic=a&topic=b").await;
    drop(first);
    node.health_until(|health| health["streams"] == 1).await;
    node.subscribe("topic=a&topic=b&topic=c").await;
    let id = node.publish("b", "x").await;
    assert_eq!(second.event().await.id, id);
}

#[tokio::test]
async fn a_connection_over_the_limit_takes_the_place_of_one_without_a_stream() {
    let node = TestNode::with(|config| (config.shards, config.connections_max) = (1, Some(2)));
    let mut stream = node.subscribe("topic=a").await;
    let (mut idle, mut publisher) = (node.connect().await, node.connect().await);
    publisher.publish("a", "x").await;
    idle.closed().await;
    assert_eq!(publisher.request(&Request::get("/healthz")).await.json()["connections"], 2);
    assert_eq!(stream.event().await.data, "x");
}

#[tokio::test]
async fn a_connection_over_the_limit_is_closed_at_once_if_all_have_streams() {
    let node = TestNode::with(|config| (config.shards, config.connections_max) = (1, Some(1)));
    let stream = node.subscribe("topic=a").await;
    node.connect().await.closed().await;
    drop(stream);
    // A closed connection is counted until the node has read its end.
    let health = Request::get("/healthz").header("Connection", "close").to_bytes();
    let served = async || node.exchange(&health).await.starts_with("HTTP/1.1 200");
    eventually("a place", served).await;
}

fn small_queue(config: &mut Config) {
    (config.event_bytes_max, config.queue_bytes) = (1024, 1024);
    config.body_rate_min = 0;
}

#[tokio::test]
async fn a_publish_over_the_queue_limit_is_refused_at_once_and_no_other_is_lost() {
    let node = TestNode::with(small_queue);
    let mut stream = node.subscribe("").await;
    let (large, small) = ("x".repeat(1000), "y".repeat(30));
    let mut first = node.hold_publish("a", &large, 1024).await;
    let mut second = node.connect().await;
    let response = second.request(&Request::publish("topic=a", small.clone())).await;
    response.problem(503);
    assert_eq!(response.header("Retry-After"), Some("1"));
    second.publish("a", &small[..24]).await;
    first.send(b"x").await;
    assert_eq!(first.response("POST").await.status, 200);
    second.publish("a", &small).await;
    assert_eq!(stream.data(3).await, [&small[..24], &large, &small]);
}

#[tokio::test]
async fn a_chunked_body_reserves_queue_space_as_it_grows() {
    let node = TestNode::with(small_queue);
    let _first = node.hold_publish("a", &"x".repeat(1000), 1024).await;
    let mut second = node.connect().await;
    let head =
        Request::new("POST", "/events?topic=a").header("Transfer-Encoding", "chunked").head();
    let chunk = format!("18\r\n{}\r\n", "y".repeat(24));
    second.send(&[&head, chunk.as_bytes(), chunk.as_bytes(), b"0\r\n\r\n"].concat()).await;
    second.response("POST").await.problem(503);
    second.send(&[&head, chunk.as_bytes(), b"0\r\n\r\n"].concat()).await;
    assert_eq!(second.response("POST").await.status, 200);
}

#[tokio::test]
async fn a_publisher_that_disconnects_releases_its_queue_space() {
    let node = TestNode::with(small_queue);
    drop(node.hold_publish("a", &"x".repeat(1000), 1024).await);
    node.health_until(|health| health["connections"] == 1).await;
    node.publish("a", &"y".repeat(1000)).await;
}

/// The timeout itself is under test, so time is measured.
#[tokio::test]
async fn a_slow_head_is_closed_after_the_head_timeout() {
    let timeout = Duration::from_millis(150);
    let node = TestNode::with(|config| config.head_timeout = timeout);
    let opened = Instant::now();
    let mut connections = Vec::new();
    for sent in ["", "G", "GET /events HTTP/1.1\r\nHost: x\r\nX: "] {
        let mut connection = node.connect().await;
        connection.send(sent.as_bytes()).await;
        connections.push(connection);
    }
    let mut idle = node.connect().await;
    idle.publish("a", "x").await;
    connections.push(idle);
    for connection in &mut connections {
        connection.closed().await;
        assert!(opened.elapsed() >= timeout, "closed after {:?}", opened.elapsed());
    }
}

#[tokio::test]
async fn the_head_timeout_does_not_apply_to_an_open_stream() {
    let node = TestNode::with(|config| config.head_timeout = Duration::from_millis(100));
    let mut stream = node.subscribe("topic=a").await;
    // The timeout of a later connection, which sends no head, has expired when it is closed.
    node.connect().await.closed().await;
    node.publish("a", "x").await;
    assert_eq!(stream.event().await.data, "x");
}

#[tokio::test]
async fn a_slow_body_is_refused_and_no_part_of_it_is_delivered() {
    let node = TestNode::with(|config| config.body_timeout = Duration::from_millis(150));
    let mut stream = node.subscribe("").await;
    let mut publisher = node.connect().await;
    let request = Request::publish("topic=a", "whole");
    publisher.send(&[&request.head(), &b"who"[..]].concat()).await;
    let response = publisher.response("POST").await;
    response.problem(408);
    assert!(response.closes());
    publisher.closed().await;
    let id = node.publish("a", "good").await;
    assert_eq!(stream.event().await.id, id);
}

/// Ensures that a client can't fill the kernel's memory through a stream.
///
/// Scenario: a client sends on after its stream has been opened; the node never reads that.
///
/// Cause: the kernel's receive buffer grew to what it grants a connection that is read.
///
/// Fix: the receive buffer of a detached stream is the smallest there is.
#[tokio::test]
async fn what_a_client_sends_on_its_stream_takes_little_of_the_kernels_memory() {
    if io() == Io::Hyper {
        // hyper reads, and discards.
        return;
    }
    let node = Fanfare::new().start().await;
    let mut stream = node.subscribe("topic=a").await;
    // The shard's pump has written this, so the stream is detached.
    node.publish("a", "x").await;
    assert_eq!(stream.event().await.data, "x");
    let sent = stream.send_until_full().await;
    assert!(sent < 48 * 1024, "{sent} bytes");
}
