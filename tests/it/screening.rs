//! Requests that a proxy and the node could understand differently: each is refused, and what
//! follows it on the connection is not taken for a request.

use crate::support::{Request, TestNode};

/// Ensures that a request has exactly one valid `Host` (RFC 9112 §3.2).
///
/// Cause: hyper does not check it, and nothing else did.
#[tokio::test]
async fn a_request_without_exactly_one_valid_host_is_refused() {
    let node = TestNode::start();
    for (version, hosts) in [
        ("1.1", ""),
        ("1.1", "Host: node.test\r\nHost: node.test\r\n"),
        ("1.1", "Host: node.test\r\nX: y\r\nHost: other.test\r\n"),
        ("1.1", "Host: two words\r\n"),
        ("1.1", "Host: user@node.test\r\n"),
        ("1.1", "Host: node.test/path\r\n"),
        ("1.1", "Host: node.test:http\r\n"),
        ("1.1", "Host: [::1\r\n"),
        ("1.0", "Host: a\r\nHost: b\r\n"),
    ] {
        for target in ["/healthz", "http://node.test/healthz", "/nowhere"] {
            let mut connection = node.connect().await;
            let head = format!("GET {target} HTTP/{version}\r\n{hosts}\r\n");
            connection.send(head.as_bytes()).await;
            let problem = connection.response("GET").await.problem(400);
            assert!(problem["detail"].as_str().unwrap().contains("Host"), "{head}: {problem}");
            if version == "1.1" {
                let next = connection.request(&Request::get("/healthz")).await;
                assert_eq!(next.status, 200, "after {head}");
            }
        }
    }
}

#[tokio::test]
async fn a_request_with_a_valid_host_or_over_http_1_0_without_one_is_answered() {
    let node = TestNode::start();
    for head in [
        "GET /healthz HTTP/1.0\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost:\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n",
        "GET /healthz HTTP/1.1\r\nhost: node_1.test:\r\n\r\n",
    ] {
        let mut connection = node.connect().await;
        connection.send(head.as_bytes()).await;
        assert_eq!(connection.response("GET").await.status, 200, "{head}");
    }
}

#[tokio::test]
async fn a_publish_without_a_host_publishes_nothing() {
    let node = TestNode::start();
    let mut stream = node.subscribe("").await;
    let mut connection = node.connect().await;
    let request = b"POST /events?topic=a HTTP/1.1\r\nContent-Length: 3\r\n\r\nbad";
    connection.send(request).await;
    connection.response("POST").await.problem(400);
    let id = connection.publish("a", "good").await;
    assert_eq!(stream.event().await.id, id);
}

/// Ensures that a body whose framing is ambiguous is refused, and that the connection ends.
///
/// Scenario: a publish names `chunked` twice, or another coding before it, and has a second publish
/// behind its last chunk: the end of a body to one server, the inside of it to another.
///
/// Cause: hyper takes whatever ends in `chunked` for chunked once.
///
/// Fix: `chunked` has to be the only transfer coding.
#[tokio::test]
async fn an_ambiguous_transfer_encoding_is_refused_and_the_connection_closed() {
    let node = TestNode::start();
    let mut stream = node.subscribe("").await;
    let behind = Request::publish("topic=a", "behind").to_bytes();
    for (codings, status) in [
        ("Transfer-Encoding: chunked, chunked\r\n", 400),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", 400),
        ("Transfer-Encoding: gzip, chunked\r\n", 501),
        ("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", 501),
        ("Transfer-Encoding: identity, chunked\r\n", 501),
    ] {
        for target in ["/events?topic=a", "/nowhere"] {
            let mut connection = node.connect().await;
            let head = format!("POST {target} HTTP/1.1\r\nHost: node.test\r\n{codings}\r\n");
            let body = b"3\r\nbad\r\n0\r\n\r\n";
            connection.send(&[head.as_bytes(), body, &behind].concat()).await;
            let response = connection.response("POST").await;
            response.problem(status);
            assert!(response.closes(), "{head}");
            connection.closed().await;
        }
    }
    let id = node.publish("a", "good").await;
    assert_eq!(stream.event().await.id, id);
}

#[tokio::test]
async fn chunked_alone_is_not_ambiguous() {
    let node = TestNode::start();
    let mut connection = node.connect().await;
    for coding in ["chunked", "Chunked", " chunked\t"] {
        let head = "POST /events?topic=a HTTP/1.1\r\nHost: node.test\r\n";
        let rest = format!("Transfer-Encoding:{coding}\r\n\r\n1\r\nx\r\n0\r\n\r\n");
        connection.send(&[head.as_bytes(), rest.as_bytes()].concat()).await;
        assert_eq!(connection.response("POST").await.status, 200, "{coding}");
    }
}
