//! A publisher that stops in the middle of its body.

use std::time::{Duration, Instant};

use crate::support::{Request, TestNode};

/// Ensures that a publish with an incomplete body is refused with 408 after `FANFARE_BODY_TIMEOUT`,
/// and that its connection is closed.
///
/// Scenario: 3 of 10 bytes are sent.
///
/// Cause: the refusal waited for the rest of the body to discard it, under a second timeout of the
/// same length. The rest did not come either, so the response was sent after twice the time.
///
/// Fix: the rest of a body that timed out is not discarded.
///
/// The timeout itself is under test, so time is measured.
#[tokio::test]
async fn an_incomplete_body_is_refused_after_one_timeout() {
    let timeout = Duration::from_secs(2);
    let node = TestNode::with(|config| config.body_timeout = timeout);
    let mut publisher = node.connect().await;
    let request = Request::publish("topic=a", "0123456789");
    let sent = Instant::now();
    publisher.send(&[&request.head(), &b"012"[..]].concat()).await;
    publisher.response("POST").await.problem(408);
    publisher.closed().await;
    let waited = sent.elapsed();
    assert!((timeout..timeout.mul_f64(1.9)).contains(&waited), "{waited:?}");
}
