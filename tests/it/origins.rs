//! CORS and origin checks: which web pages may publish, and which may read streams.

use fanfare::config::{Config, CorsOrigins};

use crate::support::{Request, Response, Stream, TestNode};

const PAGE: &str = "https://app.example";

fn listed(config: &mut Config) {
    config.cors_origins = CorsOrigins::List([PAGE.to_owned()].into());
}

fn any(config: &mut Config) {
    config.cors_origins = CorsOrigins::Any;
}

async fn publish_from(node: &TestNode, origin: &str) -> Response {
    node.request(Request::publish("topic=a", "x").header("Origin", origin)).await
}

#[tokio::test]
async fn a_page_of_another_origin_may_not_publish() {
    let node = TestNode::start();
    let mut stream = node.subscribe("").await;
    for origin in ["https://evil.example", "null", "http://node.test:81", PAGE] {
        let response = publish_from(&node, origin).await;
        response.problem(403);
        assert_eq!(response.header("Access-Control-Allow-Origin"), None);
    }
    let id = node.publish("a", "good").await;
    assert_eq!(stream.event().await.id, id);
}

#[tokio::test]
async fn a_page_of_the_nodes_own_origin_may_publish() {
    let node = TestNode::with(|config| config.allow_anonymous_publish = true);
    for origin in ["http://node.test", "https://NODE.test", "http://node.test:80"] {
        assert_eq!(publish_from(&node, origin).await.status, 200, "{origin}");
    }
}

/// DNS rebinding: the name of a hostile page can be made to resolve to the node.
#[tokio::test]
async fn a_page_under_a_name_is_foreign_to_a_node_that_is_not_open_to_everyone() {
    publish_from(&TestNode::start(), "http://node.test").await.problem(403);
}

/// The unspecified address is no host's own, although connecting to it reaches this one.
#[tokio::test]
async fn a_page_of_the_unspecified_address_may_not_publish() {
    let node = TestNode::start();
    for (host, status) in
        [("0.0.0.0:8080", 403), ("[::]:8080", 403), ("127.0.0.1:8080", 200), ("[::1]:8080", 200)]
    {
        let head = format!(
            "POST /events?topic=a HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\n\
             Content-Length: 0\r\n\r\n"
        );
        let mut connection = node.connect().await;
        connection.send(head.as_bytes()).await;
        assert_eq!(connection.response("POST").await.status, status, "{host}");
    }
}

#[tokio::test]
async fn of_two_origins_the_last_counts() {
    let node = TestNode::with(listed);
    let two = |first, last| {
        Request::publish("topic=a", "x").header("Origin", first).another_header("Origin", last)
    };
    let response = node.request(two("https://evil.example", PAGE)).await;
    assert_eq!(response.status, 200);
    assert_eq!(response.header("Access-Control-Allow-Origin"), Some(PAGE));
    let response = node.request(two(PAGE, "https://evil.example")).await;
    response.problem(403);
    assert_eq!(response.header("Access-Control-Allow-Origin"), None);
}

#[tokio::test]
async fn a_page_of_a_listed_origin_may_publish_and_no_other() {
    let node = TestNode::with(listed);
    let response = publish_from(&node, PAGE).await;
    assert_eq!(response.status, 200);
    assert_eq!(response.header("Access-Control-Allow-Origin"), Some(PAGE));
    publish_from(&node, "https://app.example.evil").await.problem(403);
    publish_from(&node, "null").await.problem(403);
}

#[tokio::test]
async fn a_page_that_may_publish_can_read_why_it_was_refused() {
    let node = TestNode::with(listed);
    let bad = Request::publish("topic=a&retry=x", "").header("Origin", PAGE);
    let response = node.request(bad).await;
    response.problem(400);
    assert_eq!(response.header("Access-Control-Allow-Origin"), Some(PAGE));
}

#[tokio::test]
async fn a_stream_may_be_read_by_the_allowed_origins() {
    let request = Request::subscribe("").header("Origin", PAGE);
    let none = Stream::open(TestNode::start().addr(), request.clone()).await;
    assert_eq!(none.head.header("Access-Control-Allow-Origin"), None);
    let one = Stream::open(TestNode::with(listed).addr(), request.clone()).await;
    assert_eq!(one.head.header("Access-Control-Allow-Origin"), Some(PAGE));
    assert_eq!(one.head.header("Access-Control-Allow-Credentials"), Some("true"));
    assert_eq!(one.head.header("Vary"), Some("Origin"));
    let all = Stream::open(TestNode::with(any).addr(), request).await;
    assert_eq!(all.head.header("Access-Control-Allow-Origin"), Some("*"));
    assert_eq!(all.head.header("Access-Control-Allow-Credentials"), None);
}

#[tokio::test]
async fn a_refused_subscriber_of_a_listed_origin_can_read_why() {
    let node = TestNode::with(listed);
    let response = node.request(Request::subscribe("topic=").header("Origin", PAGE)).await;
    response.problem(400);
    assert_eq!(response.header("Access-Control-Allow-Origin"), Some(PAGE));
}

#[tokio::test]
async fn a_preflight_allows_what_event_source_replacements_send() {
    let preflight = Request::new("OPTIONS", "/events").header("Origin", PAGE);
    let response = TestNode::with(listed).request(preflight.clone()).await;
    assert_eq!((response.status, response.body.len()), (204, 0));
    assert_eq!(response.header("Access-Control-Allow-Origin"), Some(PAGE));
    assert_eq!(response.header("Access-Control-Allow-Methods"), Some("GET, HEAD, POST, OPTIONS"));
    let allowed = response.header("Access-Control-Allow-Headers").unwrap();
    for name in ["last-event-id", "content-encoding"] {
        assert!(allowed.split(", ").any(|allowed| allowed == name), "{allowed}");
    }
    let response = TestNode::start().request(preflight).await;
    assert_eq!(response.status, 204);
    assert_eq!(response.header("Allow"), Some("GET, HEAD, POST, OPTIONS"));
    assert_eq!(response.header("Access-Control-Allow-Origin"), None);
}
