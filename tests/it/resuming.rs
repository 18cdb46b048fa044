//! Resuming with `Last-Event-ID`: a complete replay in order, or a `reset` with the reason.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Connection, Ending, Request, Stream, TestNode};

/// Publishes `data` to one topic; returns the ids.
async fn publish_all(publisher: &mut Connection, topic: &str, data: &[&str]) -> Vec<String> {
    let mut ids = Vec::new();
    for data in data {
        ids.push(publisher.publish(topic, data).await);
    }
    ids
}

/// A node with this history per topic, a publisher, and the ids of the events `1` to `5` on topic
/// `a`.
async fn five_events(history_events: usize) -> (TestNode, Connection, Vec<String>) {
    let node = TestNode::with(|config| config.history_events = history_events);
    let mut publisher = node.connect().await;
    let ids = publish_all(&mut publisher, "a", &["1", "2", "3", "4", "5"]).await;
    (node, publisher, ids)
}

/// Asserts that the stream is live and has received every event: a new one is its next.
async fn is_live(mut stream: Stream, publisher: &mut Connection) {
    let id = publisher.publish("a", "next").await;
    let event = stream.event().await;
    assert_eq!((event.id, event.data), (id, "next".to_owned()));
}

#[tokio::test]
async fn a_stream_resumes_after_the_event_it_names() {
    let (node, mut publisher, ids) = five_events(1000).await;
    publish_all(&mut publisher, "b", &["6"]).await;
    for had in 0..4 {
        let mut stream = node.resume("topic=a", &ids[had]).await;
        assert_eq!(stream.data(4 - had).await, ["2", "3", "4", "5"][had..]);
        let mut stream = node.resume("", &ids[had]).await;
        assert_eq!(stream.data(5 - had).await, ["2", "3", "4", "5", "6"][had..]);
    }
    let mut stream = node.resume("topic=a", &ids[3]).await;
    assert_eq!(stream.event().await.data, "5");
    is_live(stream, &mut publisher).await;
}

#[tokio::test]
async fn a_stream_that_missed_no_event_is_live_at_once() {
    let (node, mut publisher, ids) = five_events(1000).await;
    is_live(node.resume("topic=a", &ids[4]).await, &mut publisher).await;
}

#[tokio::test]
async fn the_position_may_be_in_the_query_and_the_header_wins() {
    let (node, _, ids) = five_events(1000).await;
    for name in ["lastEventID", "lastEventId", "last_event_id"] {
        let mut stream = node.subscribe(&format!("topic=a&{name}={}", ids[3])).await;
        assert_eq!(stream.event().await.data, "5", "{name}");
        let mut stream = node.resume(&format!("topic=a&{name}={}", ids[0]), &ids[3]).await;
        assert_eq!(stream.event().await.data, "5", "{name} beside the header");
        let mut stream = node.resume(&format!("topic=a&{name}={}", ids[3]), "").await;
        assert_eq!(stream.event().await.data, "5", "{name} beside an empty header");
    }
}

#[tokio::test]
async fn of_two_positions_in_headers_the_last_counts() {
    let (node, _, ids) = five_events(1000).await;
    let request = Request::subscribe("topic=a").header("Last-Event-ID", &ids[0]);
    let request = request.another_header("Last-Event-ID", &ids[3]);
    assert_eq!(Stream::open(node.addr(), request).await.event().await.data, "5");
}

#[tokio::test]
async fn earliest_replays_the_whole_history() {
    let (node, mut publisher, _) = five_events(3).await;
    let positions = [
        node.resume("topic=a", "earliest").await,
        node.subscribe("topic=a&lastEventID=earliest").await,
    ];
    for mut stream in positions {
        assert_eq!(stream.data(3).await, ["3", "4", "5"]);
    }
    is_live(node.resume("topic=a", &publisher.publish("b", "x").await).await, &mut publisher).await;
}

#[tokio::test]
async fn a_stream_of_several_topics_is_replayed_in_one_order_and_each_event_once() {
    let node = TestNode::start();
    let mut publisher = node.connect().await;
    let start = publisher.publish("a", "start").await;
    let mut random = fastrand::Rng::with_seed(3);
    for n in 0..300 {
        let data = n.to_string();
        let mut fields =
            vec![("data", data.as_str()), ("topic", ["a", "b", "c"][random.usize(..3)])];
        fields
            .extend(["a", "b", "c"].map(|topic| ("topic", topic)).iter().filter(|_| random.bool()));
        publisher.publish_request(&Request::form(&fields)).await;
    }
    let expected: Vec<_> = (0..300).map(|n| n.to_string()).collect();
    for query in ["topic=a&topic=b&topic=c", "topic=c&topic=nothing&topic=b&topic=a", ""] {
        assert_eq!(node.resume(query, &start).await.data(300).await, expected, "{query}");
    }
}

#[tokio::test]
async fn an_id_chosen_by_a_publisher_is_a_position() {
    let (node, mut publisher, _) = five_events(1000).await;
    for id in ["mine", "a b", "1", "x-1", "~!@$%^&*()", "\"'<>"] {
        let fields = [("topic", "a"), ("id", id), ("data", id)];
        assert_eq!(publisher.publish_request(&Request::form(&fields)).await, id);
        let after = publisher.publish("a", "after").await;
        let mut stream = node.resume("topic=a", id).await;
        assert_eq!(stream.event().await.id, after);
        let query: String = form_urlencoded::byte_serialize(id.as_bytes()).collect();
        let mut stream = node.subscribe(&format!("topic=a&lastEventID={query}")).await;
        assert_eq!(stream.event().await.id, after);
    }
}

/// Asserts that a stream resumed after `asked` receives a reset with this reason and then the
/// events kept, and that one resumed after the reset's id receives these without a reset.
async fn is_reset(
    node: &TestNode,
    query: &str,
    asked: &str,
    reason: &str,
    oldest: Value,
    kept: &[&str],
) {
    let mut stream = node.resume(query, asked).await;
    let (document, reset) = stream.reset().await;
    assert_eq!(document, json!({ "asked": asked, "oldest": oldest, "reason": reason }));
    assert!(reset.has_id);
    let mut again = node.resume(query, &reset.id).await;
    let live = node.publish("a", "live").await;
    for stream in [&mut stream, &mut again] {
        assert_eq!(stream.data(kept.len()).await, kept);
        let event = stream.event().await;
        assert_eq!((&event.id, event.data.as_str()), (&live, "live"));
    }
}

#[tokio::test]
async fn eviction_by_count_causes_a_reset_and_the_kept_events_follow() {
    let (node, _, ids) = five_events(3).await;
    is_reset(&node, "topic=a", &ids[0], "expired", json!(ids[2]), &["3", "4", "5"]).await;
}

#[tokio::test]
async fn eviction_before_the_position_causes_no_reset() {
    let (node, mut publisher, ids) = five_events(3).await;
    let mut stream = node.resume("topic=a", &ids[1]).await;
    assert_eq!(stream.data(3).await, ["3", "4", "5"]);
    is_live(stream, &mut publisher).await;
}

#[tokio::test]
async fn eviction_from_another_topic_causes_no_reset() {
    let (node, mut publisher, ids) = five_events(3).await;
    let b = publish_all(&mut publisher, "b", &["b"]).await;
    let mut stream = node.resume("topic=b", &ids[0]).await;
    assert_eq!(stream.event().await.id, b[0]);
}

#[tokio::test]
async fn eviction_by_bytes_causes_a_reset_and_the_kept_events_follow() {
    let node = TestNode::with(|config| config.history_bytes = 16 * 1024);
    let mut publisher = node.connect().await;
    let large = "x".repeat(5000);
    let ids = publish_all(&mut publisher, "a", &[large.as_str(); 6]).await;
    let kept = node.health().await["history"]["events"].as_u64().unwrap() as usize;
    assert!((1..=3).contains(&kept), "{kept}");
    let oldest = json!(ids[6 - kept]);
    let mut stream = node.resume("topic=a", &ids[0]).await;
    assert_eq!(
        stream.reset().await.0,
        json!({ "asked": ids[0], "oldest": oldest, "reason": "expired" })
    );
    assert_eq!(stream.data(kept).await, vec![large; kept]);
}

#[tokio::test]
async fn eviction_by_age_causes_a_reset() {
    let node = TestNode::with(|config| config.history_age = Duration::from_millis(100));
    let id = node.publish("a", "1").await;
    node.publish("a", "2").await;
    node.health_until(|health| health["history"]["events"] == 0 && health["topics"]["kept"] == 0)
        .await;
    let mut stream = node.resume("topic=a", &id).await;
    let (document, reset) = stream.reset().await;
    assert_eq!(document, json!({ "asked": id, "oldest": null, "reason": "expired" }));
    is_live(node.resume("topic=a", &reset.id).await, &mut node.connect().await).await;
}

#[tokio::test]
async fn eviction_of_a_topic_for_others_causes_a_reset() {
    let node = TestNode::with(|config| config.topics_max = 2);
    let mut publisher = node.connect().await;
    let a = publish_all(&mut publisher, "a", &["a1", "a2"]).await;
    publish_all(&mut publisher, "b", &["b1"]).await;
    let c = publish_all(&mut publisher, "c", &["c1"]).await;
    assert_eq!(node.health().await["topics"]["kept"], 2);
    is_reset(&node, "topic=a", &a[0], "expired", Value::Null, &[]).await;
    assert_eq!(node.resume("topic=c", &a[0]).await.event().await.id, c[0]);
}

#[tokio::test]
async fn without_history_every_missed_event_causes_a_reset() {
    let (node, mut publisher, ids) = five_events(0).await;
    is_reset(&node, "topic=a", &ids[3], "expired", Value::Null, &[]).await;
    let newest = publisher.publish("a", "x").await;
    is_live(node.resume("topic=a", &newest).await, &mut publisher).await;
}

#[tokio::test]
async fn an_unknown_id_causes_a_reset() {
    let (node, _, ids) = five_events(1000).await;
    let (log, _) = ids[0].split_once('-').unwrap();
    let other_incarnation = TestNode::start().publish("a", "1").await;
    let (future, sign) = (format!("{log}-999999"), format!("{log}-+1"));
    let long = "x".repeat(15 * 1024);
    for asked in [&other_incarnation, &future, &sign, "nope", "1", "#1", "x y", &long] {
        is_reset(&node, "topic=a", asked, "unknown-id", json!(ids[0]), &[]).await;
    }
}

#[tokio::test]
async fn a_repeated_id_causes_a_reset() {
    let (node, mut publisher, ids) = five_events(1000).await;
    for _ in 0..2 {
        publisher.publish_request(&Request::form(&[("topic", "a"), ("id", "twice")])).await;
    }
    is_reset(&node, "topic=a", "twice", "repeated-id", json!(ids[0]), &[]).await;
}

#[tokio::test]
async fn an_id_chosen_by_a_publisher_causes_a_reset_once_its_event_is_evicted() {
    let (node, mut publisher, _) = five_events(3).await;
    publisher.publish_request(&Request::form(&[("topic", "a"), ("id", "mine")])).await;
    let ids = publish_all(&mut publisher, "a", &["6", "7", "8"]).await;
    is_reset(&node, "topic=a", "mine", "unknown-id", json!(ids[0]), &[]).await;
}

/// The second event of `a` was evicted, and it is younger than the event kept of `b`. A position
/// before it would hide the loss, and one after it would skip a kept event, so the reset carries no
/// id, and the client's next position is that of the first kept event.
#[tokio::test]
async fn a_reset_between_kept_events_has_no_id_and_the_kept_events_follow() {
    let node = TestNode::with(|config| config.history_events = 2);
    let mut publisher = node.connect().await;
    let a = publish_all(&mut publisher, "a", &["a1"]).await;
    let b = publish_all(&mut publisher, "b", &["b1"]).await;
    publish_all(&mut publisher, "a", &["a2", "a3", "a4"]).await;
    let mut stream = node.resume("topic=a&topic=b", &a[0]).await;
    let (document, reset) = stream.reset().await;
    assert_eq!(document, json!({ "asked": a[0], "oldest": b[0], "reason": "expired" }));
    assert!(!reset.has_id);
    assert_eq!(stream.data(3).await, ["b1", "a3", "a4"]);
    let mut again = node.resume("topic=a&topic=b", &b[0]).await;
    let (_, reset) = again.reset().await;
    assert!(reset.has_id);
    assert_eq!(again.data(2).await, ["a3", "a4"]);
}

/// The client reads nothing, so its replay stalls. Then one event, as large as the history may be,
/// evicts the rest of the replay at once.
#[tokio::test]
async fn eviction_during_a_replay_ends_it_with_lagged_at_the_last_position() {
    const HISTORY_BYTES: usize = 2_500_000;
    // With what an event costs beside its data, no other event fits beside this one.
    let large = "y".repeat(HISTORY_BYTES - 3_000);
    for query in ["topic=a", ""] {
        let node = TestNode::with(|config| {
            config.history_bytes = HISTORY_BYTES as u64;
            config.event_bytes_max = HISTORY_BYTES;
        });
        let mut publisher = node.connect().await;
        let ids = publish_all(&mut publisher, "a", &["x".repeat(4096).as_str(); 500]).await;
        let mut stream = node.stream(query).after(&ids[0]).narrow().open().await;
        publish_all(&mut publisher, "a", &[large.as_str()]).await;
        let mut had = 1;
        let lagged = loop {
            let event = stream.event().await;
            if event.kind != "message" {
                break event;
            }
            assert_eq!(event.id, ids[had]);
            had += 1;
        };
        assert_eq!((lagged.kind.as_str(), &lagged.id), ("lagged", &ids[had - 1]));
        let missed =
            serde_json::from_str::<Value>(&lagged.data).unwrap()["missed"].as_u64().unwrap();
        assert!(
            missed == (500 - had) as u64 || query == "topic=a" && missed > 0,
            "{missed} beside {had}"
        );
        assert_eq!(stream.end().await, Ending::Complete);
        let mut again = node.resume(query, &lagged.id).await;
        assert_eq!(again.reset().await.0["reason"], "expired");
        assert_eq!(again.data(1).await, [large.as_str()]);
    }
}

/// Ensures that every event a stream doesn't receive is announced, also after a `reset`.
///
/// Scenario: a client that reads slowly resumes after an evicted event; what it has yet to read is
/// evicted by later events.
///
/// Cause: after a `reset` every event up to the newest counted as announced. The stream went from
/// the sixth kept event to the newest hundred without a word.
///
/// Fix: a `reset` announces what had been evicted when it was written, no more.
#[tokio::test]
async fn eviction_during_the_replay_after_a_reset_is_announced() {
    const KEPT: usize = 100;
    for query in ["topic=a", "topic=a&topic=b", ""] {
        let node = TestNode::with(|config| config.history_events = KEPT);
        let mut publisher = node.connect().await;
        let data = |n: usize| format!("{n:20000}");
        let number = |data: &str| data.trim().parse::<usize>().unwrap();
        let mut ids = vec![String::new()];
        for n in 1..=2 * KEPT {
            ids.push(publisher.publish("a", &data(n)).await);
        }
        let mut stream = node.stream(query).after(&ids[50]).narrow().open().await;
        assert_eq!(stream.reset().await.0["oldest"], json!(ids[KEPT + 1]));
        for n in 2 * KEPT + 1..=2 * KEPT + 50 {
            ids.push(publisher.publish("a", &data(n)).await);
        }
        let mut next = KEPT + 1;
        let lagged = loop {
            let event = stream.event().await;
            if event.kind == "lagged" {
                break event;
            }
            assert_eq!(number(&event.data), next, "{query}");
            next += 1;
        };
        assert!(next <= KEPT + 50, "the replay stalled before it had read what was evicted");
        assert_eq!(lagged.id, ids[next - 1]);
        assert_eq!(stream.end().await, Ending::Complete);
        let mut again = node.resume(query, &lagged.id).await;
        let (document, _) = again.reset().await;
        assert_eq!(document["oldest"], json!(ids[KEPT + 51]));
        let rest = again.data(KEPT).await;
        assert!(rest.iter().map(|data| number(data)).eq(KEPT + 51..=2 * KEPT + 50));
    }
}
