//! Many topics: each subscriber has a topic of its own and receives exactly its events.

use crate::support::{Fanfare, Stream};

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
