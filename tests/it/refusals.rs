//! Refused requests: each receives a problem document, has no effect, and leaves the connection
//! usable.

use crate::support::{Connection, Request, Response, Stream, TestNode};

/// A node with small limits, a publisher, and a stream that would receive whatever is published.
struct Scene {
    node: TestNode,
    publisher: Connection,
    stream: Stream,
}

impl Scene {
    async fn new() -> Self {
        let node = TestNode::with(|config| {
            config.event_bytes_max = 1024;
            config.topic_bytes_max = 8;
            config.event_topics_max = 2;
        });
        let (publisher, stream) = (node.connect().await, node.subscribe("").await);
        Self { node, publisher, stream }
    }

    /// Sends a request that must be refused with this status and problem type, then a valid one on
    /// the same connection, which must be the stream's next event.
    async fn refuses(&mut self, request: &Request, status: u16, kind: &str) -> Response {
        let response = self.publisher.request(request).await;
        assert_eq!(response.problem(status)["type"], kind, "{}", response.text());
        assert!(!response.closes(), "{}", response.text());
        let id = self.publisher.publish("good", "good").await;
        assert_eq!(self.stream.event().await.id, id);
        response
    }

    async fn refuses_all(&mut self, kind: &str, requests: &[Request]) {
        for request in requests {
            self.refuses(request, 400, &format!("urn:fanfare:problem:{kind}")).await;
        }
    }
}

fn form(fields: &str) -> Request {
    Request::form(&[]).body(fields)
}

#[tokio::test]
async fn fields_with_invalid_values_are_refused() {
    let mut scene = Scene::new().await;
    let (mut bad, controls) = (Vec::new(), ["%00", "%0A", "%0D", "%0D%0A", "%1F", "%7F"]);
    for control in controls {
        bad.push(form(&format!("topic=a&id=x{control}y")));
        bad.push(form(&format!("topic=a&type=x{control}y")));
        bad.push(form(&format!("topic=x{control}y")));
        bad.push(Request::publish(&format!("topic=a&id={control}"), "x"));
    }
    for retry in ["", "-1", "%2B1", "1.5", "1s", "0x1", "18446744073709551616", "%D9%A1"] {
        bad.push(form(&format!("topic=a&retry={retry}")));
    }
    for id in ["", "%20x", "x%20", "%C3%A9", "earliest", "%23x", &"x".repeat(513)] {
        bad.push(Request::publish(&format!("topic=a&id={id}"), "x"));
    }
    bad.extend(["topic=", "topic=*", "topic=a&topic="].map(form));
    bad.push(Request::json(r#"{"topic":1}"#));
    bad.push(Request::json(r#"{"topic":"a","retry":"-1"}"#));
    bad.push(Request::json(r#"{"topic":"a","data":"\ud800"}"#));
    scene.refuses_all("bad-field", &bad).await;
}

#[tokio::test]
async fn a_publishers_id_of_the_form_of_a_node_assigned_id_is_refused() {
    let mut scene = Scene::new().await;
    let own = scene.node.publish("a", "x").await;
    scene.stream.event().await;
    let (log, _) = own.split_once('-').unwrap();
    let future = Request::form(&[("topic", "a"), ("id", &format!("{log}-99999"))]);
    let past = Request::json(format!(r#"{{"topic":"a","id":"{own}"}}"#));
    // Of whatever incarnation: nodes that share a log have ids of several.
    let foreign = Request::form(&[("topic", "a"), ("id", "zzzzzzzz-1")]);
    let restarted = Request::publish("topic=a&id=00000000-0", "x");
    scene.refuses_all("bad-field", &[future, past, foreign, restarted]).await;
    for alike in ["zzzzzzzz-01", "zzzzzzzz-x", "x-zzzzzzzz-1", "ZZZZZZZZ-1"] {
        let alike_request = Request::form(&[("topic", "a"), ("id", alike)]);
        assert_eq!(scene.publisher.publish_request(&alike_request).await, alike);
    }
}

#[tokio::test]
async fn an_event_without_a_topic_is_refused() {
    let bad = [form("data=x"), form(""), Request::json("{}"), Request::publish("", "x")];
    Scene::new().await.refuses_all("missing-topic", &bad).await;
}

#[tokio::test]
async fn unknown_fields_are_refused() {
    let json = [r#"{"topic":"a","topics":["b"]}"#, r#"{"Topic":"a"}"#].map(Request::json);
    let query = ["topic=a&data=x", "topic=a&key=x"].map(|query| Request::publish(query, "x"));
    let bad = [&json[..], &query, &[form("topic=a&event=x"), form(r#"{"topic":"a"}"#)]].concat();
    Scene::new().await.refuses_all("unknown-field", &bad).await;
}

#[tokio::test]
async fn ambiguous_fields_are_refused() {
    let mut scene = Scene::new().await;
    let json = Request::json(r#"{"topic":"a","data":1,"data":2}"#);
    scene.refuses_all("repeated-field", &[form("topic=a&data=1&data=2"), json]).await;
    let beside = Request::new("POST", "/events?topic=a").body("topic=b");
    let beside = beside.header("Content-Type", "application/x-www-form-urlencoded");
    scene.refuses_all("misplaced-fields", &[beside]).await;
}

#[tokio::test]
async fn text_that_is_not_utf_8_is_refused() {
    let json = Request::json(*b"{\"topic\":\"a\",\"data\":\"\xff\"}");
    let plain = Request::publish("topic=a", *b"\xc3\x28");
    let surrogate = Request::publish("topic=a", *b"\xed\xa0\x80");
    let bad =
        [json, plain, surrogate, form("topic=a&data=%FF"), Request::publish("topic=%C3", "x")];
    Scene::new().await.refuses_all("bad-encoding", &bad).await;
}

#[tokio::test]
async fn malformed_json_is_refused() {
    let bad = [
        "",
        "{",
        "[]",
        "null",
        "\"a\"",
        "{\"topic\":\"a\"} x",
        "{\"topic\":\"a\",}",
        "{'topic':'a'}",
    ];
    let deep = "[".repeat(1000);
    Scene::new().await.refuses_all("bad-json", &bad.map(Request::json)).await;
    Scene::new().await.refuses_all("bad-json", &[Request::json(deep)]).await;
}

#[tokio::test]
async fn more_topics_or_longer_ones_than_allowed_are_refused() {
    let bad =
        [form("topic=a&topic=b&topic=c"), form("topic=123456789"), form("topic=1234567%C3%A9")];
    // Duplicates count.
    let bad = [&bad[..], &[form("topic=a&topic=a&topic=a")]].concat();
    Scene::new().await.refuses_all("limit-exceeded", &bad).await;
}

#[tokio::test]
async fn other_encodings_are_refused() {
    let mut scene = Scene::new().await;
    for content_type in ["multipart/form-data; boundary=x", "text/plain; charset=latin1"] {
        let request = Request::publish("topic=a", "x").header("Content-Type", content_type);
        scene.refuses(&request, 415, "about:blank").await;
    }
}

#[tokio::test]
async fn a_wrong_method_is_refused_with_the_allowed_ones() {
    let mut scene = Scene::new().await;
    for (method, path, allowed) in [
        ("PUT", "/events?topic=a", "GET, HEAD, POST, OPTIONS"),
        ("DELETE", "/events", "GET, HEAD, POST, OPTIONS"),
        ("FORGE", "/events", "GET, HEAD, POST, OPTIONS"),
        ("POST", "/healthz", "GET, HEAD"),
        ("POST", "/", "GET, HEAD"),
    ] {
        let response =
            scene.refuses(&Request::new(method, path).body("x"), 405, "about:blank").await;
        assert_eq!(response.header("Allow"), Some(allowed), "{method} {path}");
    }
}

#[tokio::test]
async fn an_unknown_path_is_refused_with_the_known_ones() {
    let mut scene = Scene::new().await;
    for (method, path) in
        [("GET", "/event"), ("POST", "/events/"), ("POST", "/publish"), ("GET", "//events")]
    {
        let response =
            scene.refuses(&Request::new(method, path).body("topic=a"), 404, "about:blank").await;
        assert!(response.text().contains("POST /events"), "{}", response.text());
    }
}

#[tokio::test]
async fn a_body_announced_too_large_is_refused_and_discarded() {
    let request = Request::publish("topic=a", "x".repeat(1025));
    Scene::new().await.refuses(&request, 413, "about:blank").await;
}

#[tokio::test]
async fn a_chunked_body_that_grows_too_large_is_refused_and_discarded() {
    let mut scene = Scene::new().await;
    let head =
        Request::new("POST", "/events?topic=a").header("Transfer-Encoding", "chunked").head();
    let chunks = format!("200\r\n{}\r\n", "x".repeat(512)).repeat(5);
    scene.publisher.send(&[&head, chunks.as_bytes(), b"0\r\n\r\n"].concat()).await;
    scene.publisher.response("POST").await.problem(413);
    let id = scene.publisher.publish("good", "good").await;
    assert_eq!(scene.stream.event().await.id, id);
}

/// Draining it would cost more than a new connection.
#[tokio::test]
async fn a_body_far_too_large_is_refused_and_the_connection_closed() {
    let mut scene = Scene::new().await;
    let request = Request::publish("topic=a", "x".repeat(32 << 20));
    scene.publisher.send_until_closed(&request.to_bytes()).await;
    let response = scene.publisher.response("POST").await;
    response.problem(413);
    assert!(response.closes());
    let id = scene.node.publish("good", "good").await;
    assert_eq!(scene.stream.event().await.id, id);
}

/// A client that expects `100 Continue` may send the body or omit it after a refusal, so the
/// connection has to be closed.
#[tokio::test]
async fn a_publisher_that_expects_100_continue_is_refused_before_it_sends_too_much() {
    let mut scene = Scene::new().await;
    let request = Request::publish("topic=a", "x".repeat(1025)).header("Expect", "100-continue");
    scene.publisher.send(&request.head()).await;
    let response = scene.publisher.response("POST").await;
    response.problem(413);
    assert!(response.closes());
    scene.publisher.closed().await;
    let id = scene.node.publish("good", "good").await;
    assert_eq!(scene.stream.event().await.id, id);
}

#[tokio::test]
async fn refused_publishes_do_not_affect_others_in_a_pipeline() {
    let mut scene = Scene::new().await;
    let good = |n: &str| Request::publish("topic=a", n).to_bytes();
    let too_large = Request::publish("topic=a", "x".repeat(5000)).to_bytes();
    let bad_path = Request::new("POST", "/nowhere").body("x").to_bytes();
    let sent =
        [good("1"), too_large, good("2"), form("topic=a&retry=x").to_bytes(), bad_path, good("3")];
    scene.publisher.send(&sent.concat()).await;
    for status in [200, 413, 200, 400, 404, 200] {
        assert_eq!(scene.publisher.response("POST").await.status, status);
    }
    assert_eq!(scene.stream.data(3).await, ["1", "2", "3"]);
}

#[tokio::test]
async fn a_publisher_that_disconnects_within_its_body_publishes_nothing() {
    let mut scene = Scene::new().await;
    let request = Request::publish("topic=a", "whole").header("Expect", "100-continue");
    scene.publisher.send(&request.head()).await;
    assert_eq!(scene.publisher.head().await.status, 100, "its body is being read");
    scene.publisher.send(b"who").await;
    scene.publisher = scene.node.connect().await;
    scene.node.health_until(|health| health["connections"] == 3).await;
    let id = scene.publisher.publish("good", "good").await;
    assert_eq!(scene.stream.event().await.id, id);
}

#[tokio::test]
async fn malformed_http_is_refused_and_the_connection_closed() {
    let scene = Scene::new().await;
    for sent in
        ["HELO node\r\n\r\n", "GET /events HTTP/1.1\r\nHost x\r\n\r\n", "GET / HTTP/3.7\r\n\r\n"]
    {
        let mut connection = scene.node.connect().await;
        connection.send(sent.as_bytes()).await;
        assert_eq!(connection.response("GET").await.status, 400);
        connection.closed().await;
    }
}

#[tokio::test]
async fn a_head_over_16_kib_is_refused() {
    let scene = Scene::new().await;
    let mut connection = scene.node.connect().await;
    let request = Request::subscribe("").header("Last-Event-ID", &"x".repeat(17 * 1024));
    assert_eq!(connection.request(&request).await.status, 431);
}
