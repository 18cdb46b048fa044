//! Clients that make trouble have an answer or an end, and nobody else notices.

use tokio::task::JoinSet;

use crate::process::{Fanfare, Process, exchange};
use crate::subscriber::open_many;
use crate::support::{Stream, within};

/// A node with two streams, on either side of the trouble, and short patience.
struct Bystanders {
    node: Process,
    streams: Vec<Stream>,
}

impl Bystanders {
    async fn new() -> Self {
        // One shard, so that all share it with the trouble.
        let node = Fanfare::new().set("FANFARE_SHARDS", "1").set("FANFARE_HEAD_TIMEOUT", "500ms");
        let node = node.set("FANFARE_HEARTBEAT", "500ms").start().await;
        let streams = open_many(node.addr(), "news", 10).await;
        Self { node, streams }
    }

    /// Sends the trouble many times at once; returns what came back until the connections were
    /// closed.
    async fn see(&mut self, trouble: &[u8]) -> Vec<String> {
        let mut sent = JoinSet::new();
        for _ in 0..20 {
            let (addr, trouble) = (self.node.addr(), trouble.to_vec());
            sent.spawn(async move { exchange(addr, &trouble).await });
        }
        let answers = within("the end of all trouble", sent.join_all()).await;
        self.are_well().await;
        answers
    }

    async fn are_well(&mut self) {
        self.node.connect().await.publish("news", "all is well").await;
        for stream in &mut self.streams {
            assert_eq!(stream.event().await.data, "all is well");
        }
        self.node.settles("/streams", 10).await;
        self.node.settles("/connections", 11).await;
    }
}

/// Whether each answer has this status, and says that it is the last.
fn assert_status(answers: &[String], status: u16) {
    for answer in answers {
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer:?}");
        assert!(answer.to_ascii_lowercase().contains("connection: close\r\n"), "{answer:?}");
    }
}

#[tokio::test]
async fn garbage_is_refused() {
    let mut bystanders = Bystanders::new().await;
    assert_status(&bystanders.see(b"\x00\xff\x13garbage\r\n\r\n").await, 400);
    assert_status(&bystanders.see(b"GET /events?topic=news HTTP/9.9\r\n\r\n").await, 400);
    assert_status(&bystanders.see(b"GET /events HTTP/1.1\r\nno colon\r\n\r\n").await, 400);
}

#[tokio::test]
async fn a_tls_hello_is_refused() {
    let hello =
        b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\x00\x00\x02\x13\x01";
    assert_status(&Bystanders::new().await.see(hello).await, 400);
}

#[tokio::test]
async fn a_head_of_a_megabyte_is_refused() {
    let header = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "x".repeat(1 << 20));
    assert_status(&Bystanders::new().await.see(header.as_bytes()).await, 431);
    let target = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(1 << 20));
    let answers = Bystanders::new().await.see(target.as_bytes()).await;
    assert!(answers.iter().all(|answer| answer.starts_with("HTTP/1.1 4")), "{answers:?}");
}

#[tokio::test]
async fn half_a_head_is_cut_off_when_its_time_is_up() {
    let mut bystanders = Bystanders::new().await;
    bystanders.see(b"GET /events?topic=news HTTP/1.1\r\nHost:").await;
    bystanders.see(b"").await;
}

/// Ensures that a body which can't be read is not said to be other than UTF-8, as it was.
#[tokio::test]
async fn a_body_that_breaks_its_framing_is_refused() {
    let chunked =
        b"POST /events?topic=news HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nnot hex\r\n";
    for answer in Bystanders::new().await.see(chunked).await {
        assert!(
            answer.starts_with("HTTP/1.1 400 ") && answer.contains("\"about:blank\""),
            "{answer:?}"
        );
    }
}

/// What a subscriber sends after its request is left in the socket. When it leaves behind that, the
/// node finds out with the next bytes it sends to it: a heartbeat at the latest.
#[tokio::test]
async fn a_subscriber_that_goes_on_talking_is_no_trouble() {
    let mut bystanders = Bystanders::new().await;
    let request = b"GET /events?topic=news HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1000);
    let talker = exchange(bystanders.node.addr(), &request);
    tokio::select! {
        answer = talker => panic!("it is not ended: {answer:?}"),
        () = bystanders.node.settles("/streams", 11) => {}
    }
    bystanders.are_well().await;
}
