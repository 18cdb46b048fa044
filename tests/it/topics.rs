//! Many topics: each subscriber has a topic of its own and receives exactly its events, or one has
//! a thousand.

use crate::support::{Fanfare, Request, Stream, TestNode};

const TOPICS: usize = 10_000;

/// Descriptors for the other tests, which run in this process at the same time.
const DESCRIPTORS_OF_OTHERS: usize = 6_000;

#[tokio::test]
async fn ten_thousand_topics_reach_one_subscriber_each() {
    let wanted = (TOPICS + DESCRIPTORS_OF_OTHERS) as u64;
    let limit = rlimit::increase_nofile_limit(wanted).expect("the limit can be read");
    assert!(
        limit >= wanted,
        "this test needs a hard limit (ulimit -Hn) of {wanted}; it is {limit}"
    );
    let node = Fanfare::new().start().await;

    let mut streams: Vec<Stream> = Vec::with_capacity(TOPICS);
    for number in 0..TOPICS {
        streams.push(node.subscribe(&format!("topic=t{number}")).await);
    }

    let mut publisher = node.connect().await;
    for word in ["first", "last"] {
        let events = (0..TOPICS).map(|number| (format!("t{number}"), format!("{word} {number}")));
        publisher.publish_pipelined(events).await;
    }
    for (number, stream) in streams.iter_mut().enumerate() {
        for word in ["first", "last"] {
            assert_eq!(stream.event().await.data, format!("{word} {number}"));
        }
    }
}

#[tokio::test]
async fn a_stream_of_a_thousand_topics_receives_each_of_them_once_and_in_order() {
    let node = TestNode::with(|config| {
        (config.selectors_max, config.event_topics_max) = (1000, 1000);
    });
    let names: Vec<String> = (0..1000).map(|number| number.to_string()).collect();
    let query = names.iter().map(|name| format!("topic={name}")).collect::<Vec<_>>().join("&");
    let mut stream = node.subscribe(&query).await;
    let mut publisher = node.connect().await;
    for name in &names {
        publisher.publish(name, name).await;
    }
    let all: Vec<_> =
        names.iter().map(|name| ("topic", &**name)).chain([("data", "all")]).collect();
    publisher.publish_request(&Request::form(&all)).await;
    for name in &names {
        assert_eq!(stream.event().await.data, *name);
    }
    assert_eq!(stream.event().await.data, "all");
    publisher.publish("0", "last").await;
    assert_eq!(stream.event().await.data, "last", "the event of all topics came once");
}
