//! `POST /events`: request formats, the events they deliver, and the publisher's response.

use tokio::task::JoinSet;

use crate::support::{Endpoint, Event, Request, TestNode};

/// Line breaks as a subscriber receives them: LF only.
fn with_lf(data: &str) -> String {
    data.replace("\r\n", "\n").replace('\r', "\n")
}

/// The event that a subscriber of every topic receives for this request.
async fn published(request: &Request) -> Event {
    let node = TestNode::start();
    let mut stream = node.subscribe("").await;
    let id = node.connect().await.publish_request(request).await;
    let event = stream.event().await;
    assert_eq!(event.id, id);
    event
}

fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    let chunk =
        |piece: &[u8]| [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
    let chunks: Vec<u8> = body.chunks(size).flat_map(chunk).collect();
    [chunks, b"0\r\n\r\n".to_vec()].concat()
}

#[tokio::test]
async fn a_form_carries_every_field() {
    let fields =
        [("topic", "a"), ("data", "x=1&y"), ("id", "mine"), ("type", "news"), ("retry", "7000")];
    let event = published(&Request::form(&fields)).await;
    let (kind, data, id) = ("news".into(), "x=1&y".into(), "mine".into());
    assert_eq!(event, Event { kind, data, id, has_id: true, retry: Some(7000) });
}

#[tokio::test]
async fn a_form_with_several_topics_reaches_the_subscribers_of_each() {
    let node = TestNode::start();
    let mut streams = [node.subscribe("topic=a").await, node.subscribe("topic=%C3%A9+b").await];
    let request = Request::form(&[("topic", "a"), ("topic", "é b"), ("data", "x")]);
    let id = node.connect().await.publish_request(&request).await;
    for stream in &mut streams {
        assert_eq!(stream.event().await.id, id);
    }
}

#[tokio::test]
async fn json_data_is_a_string_or_any_value_in_compact_form() {
    for (value, data) in [
        (r#""a\nb\u00e9""#, "a\nbé"),
        (r#"{ "b" : [ 1 , 2.50 , null ] , "a b" : "c d" }"#, r#"{"b":[1,2.50,null],"a b":"c d"}"#),
        ("\t[ ]\n", "[]"),
        ("true", "true"),
        ("12345678901234567890.10", "12345678901234567890.10"),
    ] {
        let event = published(&Request::json(format!(r#"{{"topic":"a","data":{value}}}"#))).await;
        assert_eq!(event.data, data);
    }
}

#[tokio::test]
async fn json_names_one_topic_or_several() {
    let node = TestNode::start();
    let (mut a, mut b) = (node.subscribe("topic=a").await, node.subscribe("topic=b").await);
    let mut publisher = node.connect().await;
    let body = r#"{"topic":["a","b"],"data":1,"id":"i","type":"t","retry":5}"#;
    publisher.publish_request(&Request::json(body)).await;
    publisher.publish_request(&Request::json(r#"{"data":2,"topic":"b"}"#)).await;
    let event = a.event().await;
    assert_eq!((event.kind.as_str(), event.id.as_str(), event.retry), ("t", "i", Some(5)));
    assert_eq!(b.data(2).await, ["1", "2"]);
}

#[tokio::test]
async fn any_other_body_is_the_data_and_the_query_carries_the_fields() {
    let data = "{\"topic\": \"not read\"}\r\n\r\n";
    let request = Request::publish("topic=a&topic=b&id=i%2F1&type=t+u&retry=9", data);
    for content_type in
        ["text/plain;charset=utf-8", "application/cloudevents+json", "image/svg+xml", ""]
    {
        let event = published(&request.clone().header("Content-Type", content_type)).await;
        let (kind, data, id) = ("t u".into(), with_lf(data), "i/1".into());
        assert_eq!(event, Event { kind, data, id, has_id: true, retry: Some(9) });
    }
    let bare = Request::new("POST", "/events?topic=a").body("without a Content-Type");
    assert_eq!(published(&bare).await.data, "without a Content-Type");
}

#[tokio::test]
async fn cr_lf_and_crlf_each_start_a_new_data_line() {
    let event = published(&Request::publish("topic=a", "1\r2\n3\r\n4\n\r5\r\r\n")).await;
    assert_eq!(event.data, "1\n2\n3\n4\n\n5\n\n");
}

#[tokio::test]
async fn an_empty_event_is_an_event() {
    let event = published(&Request::form(&[("topic", "a"), ("type", "")])).await;
    assert_eq!((event.kind.as_str(), event.data.as_str()), ("message", ""));
}

#[tokio::test]
async fn no_data_can_forge_a_field() {
    let node = TestNode::start();
    let mut stream = node.subscribe("topic=a").await;
    let mut publisher = node.connect().await;
    let parts = [
        "\r",
        "\n",
        "\r\n",
        ":",
        " ",
        "id: 1",
        "event: reset",
        "data:",
        "retry: 1",
        "\0",
        "\u{feff}",
    ];
    let parts = [&parts[..], &["\u{2028}", "\u{85}", "0\r\n\r\n", "é", "日本", "😀", "x"]].concat();
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..300 {
        let data: String =
            (0..random.usize(..12)).map(|_| parts[random.usize(..parts.len())]).collect();
        let id = publisher.publish("a", &data).await;
        let event = stream.event().await;
        let expected =
            Event { kind: "message".into(), data: with_lf(&data), id, has_id: true, retry: None };
        assert_eq!(event, expected, "{data:?}");
    }
}

/// A stream opened after the response resumes after the event before, and must receive this one.
#[tokio::test]
async fn an_event_is_in_the_log_before_its_publish_is_acknowledged() {
    let node = TestNode::start();
    let mut publisher = node.connect().await;
    let mut before = publisher.publish("a", "0").await;
    for _ in 0..50 {
        let id = publisher.publish("a", "x").await;
        assert_eq!(node.resume("topic=a", &before).await.event().await.id, id);
        before = id;
    }
}

#[tokio::test]
async fn pipelined_publishes_are_answered_and_delivered_in_their_order() {
    let node = TestNode::start();
    let mut stream = node.subscribe("topic=a").await;
    let mut publisher = node.connect().await;
    let requests = (0..100).flat_map(|n| Request::publish("topic=a", n.to_string()).to_bytes());
    publisher.send(&requests.collect::<Vec<u8>>()).await;
    for n in 0..100 {
        let event = stream.event().await;
        assert_eq!(
            (event.data, event.id),
            (n.to_string(), publisher.response("POST").await.text().to_owned())
        );
    }
}

#[tokio::test]
async fn a_body_may_come_in_any_pieces_up_to_the_limit() {
    let node = TestNode::with(|config| config.event_bytes_max = 2048);
    let mut stream = node.subscribe("topic=a").await;
    let mut publisher = node.connect().await;
    let data = "0123456é".repeat(2048 / 9) + "12345";
    assert_eq!(data.len(), 2048);
    let head =
        Request::new("POST", "/events?topic=a").header("Transfer-Encoding", "chunked").head();
    for size in [1, 7, 2048] {
        publisher.send(&[head.clone(), chunked(data.as_bytes(), size)].concat()).await;
        assert_eq!(publisher.response("POST").await.status, 200);
        assert_eq!(stream.event().await.data, data);
    }
    publisher.publish("a", &data).await;
    assert_eq!(stream.event().await.data, data);
}

#[tokio::test]
async fn a_publisher_that_expects_100_continue_receives_it() {
    let node = TestNode::start();
    let mut publisher = node.connect().await;
    let request = Request::publish("topic=a", "x").header("Expect", "100-continue");
    publisher.send(&request.head()).await;
    assert_eq!(publisher.head().await.status, 100);
    publisher.send(b"x").await;
    assert_eq!(publisher.response("POST").await.status, 200);
}

#[tokio::test]
async fn an_http_1_0_publisher_is_answered() {
    let node = TestNode::start();
    let mut publisher = node.connect().await;
    let response = publisher.request(&Request::publish("topic=a", "x").http_1_0()).await;
    assert_eq!(response.status, 200);
    publisher.closed().await;
}

/// Publishes `each` events from each of 16 connections at once; returns the data of those that were
/// acknowledged and how many were refused.
async fn publish_at_once(node: Endpoint, name: &str, each: usize) -> (Vec<String>, usize) {
    let mut publishers = JoinSet::new();
    for p in 0..16 {
        let name = name.to_owned();
        publishers.spawn(async move {
            let mut connection = node.connect().await;
            let (mut acknowledged, mut refused) = (Vec::new(), 0);
            for n in 0..each {
                let data = format!("{name:>20} {p:>5} {n:>5}");
                let response = connection.request(&Request::publish("topic=a", data.clone())).await;
                if response.status == 200 {
                    acknowledged.push(data);
                } else {
                    assert_eq!(response.problem(503)["type"], "about:blank");
                    refused += 1;
                }
            }
            (acknowledged, refused)
        });
    }
    let (acknowledged, refused): (Vec<_>, Vec<_>) = publishers.join_all().await.into_iter().unzip();
    (acknowledged.concat(), refused.into_iter().sum())
}

/// First a body whose last byte is still to be sent has nearly all bytes of the queue, so that
/// every publish is refused. Later the queue has space for one event, so that some may be.
#[tokio::test]
async fn acknowledged_events_are_delivered_and_refused_ones_are_not() {
    let node = TestNode::with(|config| {
        (config.queue_events, config.batch_events) = (1, 1);
        (config.queue_bytes, config.event_bytes_max) = (1024, 1024);
        config.body_rate_min = 0;
    });
    let mut stream = node.subscribe("").await;
    let large = "x".repeat(1000);
    let mut first = node.hold_publish("a", &large, 1024).await;
    let (mut acknowledged, refused) = publish_at_once(*node, "refused", 1).await;
    assert_eq!((acknowledged.len(), refused), (0, 16));
    first.send(b"x").await;
    assert_eq!(first.response("POST").await.status, 200);
    acknowledged.push(large);

    let (more, refused) = publish_at_once(*node, "contended", 25).await;
    assert_eq!(more.len() + refused, 16 * 25);
    acknowledged.extend(more);
    node.publish("a", "end").await;
    let mut delivered = stream.data(acknowledged.len()).await;
    assert_eq!(stream.event().await.data, "end");
    acknowledged.sort();
    delivered.sort();
    assert_eq!(delivered, acknowledged);
}
