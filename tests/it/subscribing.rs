//! `GET /events`: stream headers, topic selection, heartbeats and reconnection times.

use std::time::{Duration, Instant};

use crate::support::{Ending, Item, Request, Stream, TestNode};

#[tokio::test]
async fn a_stream_has_the_headers_that_keep_proxies_from_buffering_it() {
    let node = TestNode::start();
    let stream = node.subscribe("topic=a").await;
    for (name, value) in [
        ("Content-Type", "text/event-stream; charset=utf-8"),
        ("Cache-Control", "no-store, no-transform"),
        ("X-Accel-Buffering", "no"),
        ("Transfer-Encoding", "chunked"),
        // Nothing follows it (RFC 9112 §9.6).
        ("Connection", "close"),
    ] {
        assert_eq!(stream.head.header(name), Some(value), "{name}");
    }
}

#[tokio::test]
async fn a_stream_receives_the_selected_topics_and_no_others() {
    let node = TestNode::start();
    let mut stream = node.subscribe("topic=a&topic=b+c&topic=%C3%A9&topic=a").await;
    let mut publisher = node.connect().await;
    for (n, topic) in ["a", "x", "b c", "A", "é", "b+c", "a"].into_iter().enumerate() {
        publisher.publish(topic, &n.to_string()).await;
    }
    assert_eq!(stream.data(4).await, ["0", "2", "4", "6"]);
}

#[tokio::test]
async fn no_topic_or_a_star_selects_every_event() {
    let node = TestNode::start();
    let mut streams = Vec::new();
    for query in ["", "topic=*", "topic=a&topic=*", "topic=%2A", "_=123"] {
        streams.push(node.subscribe(query).await);
    }
    let mut publisher = node.connect().await;
    for topic in ["a", "b", "*a"] {
        publisher.publish(topic, topic).await;
    }
    for stream in &mut streams {
        assert_eq!(stream.data(3).await, ["a", "b", "*a"]);
    }
}

#[tokio::test]
async fn a_stream_of_several_topics_receives_each_event_once_and_in_order() {
    let node = TestNode::with(|config| config.shards = 1);
    let mut streams = Vec::new();
    for query in ["topic=a&topic=b&topic=c", "topic=c&topic=a&topic=b", "topic=*"] {
        streams.push(node.subscribe(query).await);
    }
    let mut publisher = node.connect().await;
    let mut random = fastrand::Rng::with_seed(2);
    for n in 0..200 {
        let data = n.to_string();
        let mut fields =
            vec![("data", data.as_str()), ("topic", ["a", "b", "c"][random.usize(..3)])];
        fields
            .extend(["a", "b", "c"].map(|topic| ("topic", topic)).iter().filter(|_| random.bool()));
        publisher.publish_request(&Request::form(&fields)).await;
    }
    let expected: Vec<_> = (0..200).map(|n| n.to_string()).collect();
    for stream in &mut streams {
        assert_eq!(stream.data(200).await, expected);
    }
}

#[tokio::test]
async fn every_event_has_a_unique_increasing_id() {
    let node = TestNode::start();
    let mut stream = node.subscribe("topic=a").await;
    let mut publisher = node.connect().await;
    let mut ids = Vec::new();
    for _ in 0..20 {
        ids.push(publisher.publish("a", "x").await);
        assert_eq!(stream.event().await.id, ids[ids.len() - 1]);
    }
    let number = |id: &String| id.rsplit_once('-').unwrap().1.parse::<u64>().unwrap();
    assert!(ids.is_sorted_by(|a, b| number(a) < number(b)), "{ids:?}");
}

#[tokio::test]
async fn a_client_that_excludes_event_streams_is_refused() {
    let node = TestNode::start();
    for accept in ["text/html", "application/json, image/*", "*/*, text/event-stream;q=0"] {
        node.request(Request::get("/events").header("Accept", accept)).await.problem(406);
    }
    for accept in ["*/*", "text/*;q=0.1", "TEXT/event-stream, text/html", ""] {
        Stream::open(node.addr(), Request::get("/events").header("Accept", accept)).await;
    }
    Stream::open(node.addr(), Request::get("/events")).await;
}

#[tokio::test]
async fn invalid_queries_are_refused_and_the_connection_stays_usable() {
    let node = TestNode::with(|config| (config.selectors_max, config.topic_bytes_max) = (3, 8));
    let mut connection = node.connect().await;
    for (query, kind) in [
        ("topic=", "bad-field"),
        ("topic=a%0Ab", "bad-field"),
        ("topic=%FF", "bad-encoding"),
        ("topics=a", "unknown-field"),
        ("match=a*", "unknown-field"),
        ("topic=123456789", "limit-exceeded"),
        ("topic=a&topic=b&topic=c&topic=d", "limit-exceeded"),
    ] {
        let problem = connection.request(&Request::subscribe(query)).await.problem(400);
        assert_eq!(problem["type"], format!("urn:fanfare:problem:{kind}"), "{query}");
    }
    connection.send(&Request::subscribe("topic=a&topic=b&topic=c").to_bytes()).await;
    Stream::of(connection).await;
}

#[tokio::test]
async fn head_is_answered_like_get_without_a_stream() {
    let node = TestNode::start();
    let mut connection = node.connect().await;
    let response = connection.request(&Request::new("HEAD", "/events?topic=a")).await;
    assert_eq!(response.status, 200);
    assert_eq!(response.header("Content-Type"), Some("text/event-stream; charset=utf-8"));
    let health = connection.request(&Request::get("/healthz")).await.json();
    assert_eq!(health["streams"], 0);
    let refused = Request::new("HEAD", "/events").header("Accept", "text/html");
    assert_eq!(connection.request(&refused).await.status, 406);
}

#[tokio::test]
async fn an_http_1_0_stream_is_not_chunked() {
    let node = TestNode::start();
    let mut stream = Stream::open(node.addr(), Request::subscribe("topic=a").http_1_0()).await;
    assert_eq!(stream.head.header("Transfer-Encoding"), None);
    assert_eq!(stream.head.header("Content-Length"), None);
    let id = node.publish("a", "one\ntwo").await;
    let event = stream.event().await;
    assert_eq!((event.id, event.data), (id, "one\ntwo".to_owned()));
    drop(node);
    assert_eq!(stream.end().await, Ending::Complete);
}

/// The interval itself is under test, so time is measured.
#[tokio::test]
async fn an_idle_stream_receives_heartbeats_that_dispatch_no_event() {
    let heartbeat = Duration::from_millis(200);
    let node = TestNode::with(|config| config.heartbeat = heartbeat);
    let opened = Instant::now();
    let mut stream = node.subscribe("topic=a").await;
    for n in 1..=3 {
        assert_eq!(stream.item().await, Ok(Item::Comment(String::new())));
        assert!(
            opened.elapsed() >= heartbeat.mul_f64(0.4 * f64::from(n)),
            "{n}: {:?}",
            opened.elapsed()
        );
    }
    node.publish("a", "x").await;
    assert_eq!(stream.event().await.data, "x");
}

#[tokio::test]
async fn each_stream_has_a_reconnection_time_of_its_own_within_the_bounds() {
    let (min, max) = (Duration::from_millis(1000), Duration::from_millis(60_000));
    let node = TestNode::with(|config| (config.retry_min, config.retry_max) = (min, max));
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..30 {
        seen.insert(node.subscribe("topic=a").await.retry);
    }
    assert!(seen.iter().all(|retry| (1000..=60_000).contains(retry)), "{seen:?}");
    assert!(seen.len() > 20 && seen.last().unwrap() - seen.first().unwrap() > 10_000, "{seen:?}");
}

#[tokio::test]
async fn a_request_pipelined_behind_a_stream_does_not_disturb_it() {
    let node = TestNode::start();
    let mut connection = node.connect().await;
    let behind = Request::publish("topic=a", "behind").to_bytes();
    connection.send(&[Request::subscribe("topic=a").to_bytes(), behind].concat()).await;
    let mut stream = Stream::of(connection).await;
    assert!(matches!(stream.item().await, Ok(Item::Retry(_))));
    node.publish("a", "x").await;
    assert_eq!(stream.event().await.data, "x");
}

#[tokio::test]
async fn a_closed_stream_is_no_longer_counted() {
    let node = TestNode::start();
    let streams = [node.subscribe("topic=a&topic=b").await, node.subscribe("").await];
    node.health_until(|health| health["streams"] == 2 && health["topics"]["read"] == 2).await;
    drop(streams);
    node.health_until(|health| health["streams"] == 0 && health["topics"]["read"] == 0).await;
}
