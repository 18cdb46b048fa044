//! `GET /healthz`, and the document of the console page at `/`.

use crate::support::{Request, TestNode};

#[tokio::test]
async fn health_counts_streams_events_and_topics() {
    let node = TestNode::start();
    let health = node.health().await;
    assert_eq!(
        (&health["status"], &health["streams"], &health["events"]),
        (&"ok".into(), &0.into(), &0.into())
    );
    let mut streams = [node.subscribe("topic=a&topic=b").await, node.subscribe("topic=a").await];
    for topic in ["a", "x", "a"] {
        node.publish(topic, "data").await;
    }
    streams[1].data(2).await;
    let health = node.health_until(|health| health["connections"] == 3).await;
    assert_eq!((&health["streams"], &health["events"]), (&2.into(), &3.into()));
    assert_eq!(health["topics"], serde_json::json!({ "read": 2, "kept": 2 }));
    assert_eq!(health["history"]["events"], 3);
    assert!(health["history"]["bytes"].as_u64().unwrap() > 12);
    assert!(health["memory"]["resident_bytes"].as_u64().unwrap() > 1024 * 1024);
    assert_eq!(
        (&health["shards"], &health["version"]),
        (&2.into(), &env!("CARGO_PKG_VERSION").into())
    );
    assert!(health["uptime_seconds"].is_u64());
}

#[tokio::test]
async fn the_documents_are_not_cached_and_head_is_answered_like_get() {
    let node = TestNode::start();
    for (path, content_type) in
        [("/healthz", "application/json"), ("/", "text/html; charset=utf-8")]
    {
        for method in ["GET", "HEAD"] {
            let response = node.request(Request::new(method, path)).await;
            assert_eq!(response.status, 200);
            assert_eq!(response.header("Content-Type"), Some(content_type));
            assert_eq!(response.header("Cache-Control"), Some("no-store"));
            assert_eq!(response.body.is_empty(), method == "HEAD");
            assert!(response.header("Content-Length").is_some_and(|length| length != "0"));
        }
    }
}

/// References to other hosts in an HTML document: URLs with a scheme, and those without one that
/// begin with `//` as a value. XML namespaces are names, not references.
fn remote_references(html: &str) -> Vec<&str> {
    let html = html.trim();
    let starts = ["http:", "https:", "ws:", "wss:", "=//", "\"//", "'//", "`//", "(//"];
    let found = starts.iter().flat_map(|start| html.match_indices(start).map(|(at, _)| at));
    let rest = found.map(|at| &html[at..]);
    let rest = rest.filter(|rest| !rest.starts_with("http://www.w3.org/2000/svg'"));
    rest.map(|rest| rest.lines().next().unwrap_or_default()).collect()
}

#[tokio::test]
async fn the_page_loads_nothing_from_other_hosts() {
    let response = TestNode::start().request(Request::get("/")).await;
    let policy = response.header("Content-Security-Policy").expect("the page has a policy");
    assert!(policy.starts_with("default-src 'none'; "), "{policy}");
    let page = response.text().to_ascii_lowercase();
    assert!(page.starts_with("<!doctype html>"), "{page}");
    assert_eq!(remote_references(&page), [""; 0]);
}

#[test]
fn references_to_other_hosts_are_found() {
    for remote in [
        "<script src=https://cdn.example/x.js></script>",
        "<link rel=stylesheet href=\"//cdn.example/x.css\">",
        "<img src=//cdn.example/x.png>",
        "<style>@import url(//cdn.example/x.css)</style>",
        "<script>import('//cdn.example/x.js')</script>",
        "<script>new WebSocket('wss://cdn.example')</script>",
    ] {
        assert_eq!(remote_references(remote).len(), 1, "{remote}");
    }
    let local = "<svg xmlns='http://www.w3.org/2000/svg'/><a href=/events></a> // A comment.";
    assert_eq!(remote_references(local), [""; 0]);
}
