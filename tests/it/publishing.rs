//! `POST /events`: what is read, what a subscriber then has, and what the publisher is answered.

use crate::support::{Request, TestNode};

#[tokio::test]
async fn a_publish_is_answered_with_the_id_that_the_stream_carries() {
    let node = TestNode::start();
    let mut stream = node.subscribe("topic=a").await;
    let id = node.publish("a", "hello").await;
    let event = stream.event().await;
    assert_eq!((event.kind.as_str(), event.data.as_str(), &event.id), ("message", "hello", &id));
}
