//! Starting and leaving service: drains, signals, kills and restarts, descriptors.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::process::{Fanfare, Process, eventually, exchange};
use crate::subscriber::{Ask, open_many};
use crate::support::{Connection, Ending, Event, Request, Stream, within};

/// A publisher that has announced ten bytes, and a node that has begun to read them.
async fn begin_publish(node: &Process) -> Connection {
    let mut publisher = node.connect().await;
    let announced = Request::publish("topic=news", "0123456789").header("Expect", "100-continue");
    publisher.send(&announced.head()).await;
    assert_eq!(publisher.head().await.status, 100);
    publisher
}

/// Reads every stream to its end: what came, how it ended and when.
async fn ends_of(streams: Vec<Stream>) -> Vec<(Vec<Event>, Ending, Instant)> {
    let mut readers = JoinSet::new();
    for mut stream in streams {
        readers.spawn(async move {
            let mut events = Vec::new();
            loop {
                match stream.try_event().await {
                    Ok(event) => events.push(event),
                    Err(end) => return (events, end, Instant::now()),
                }
            }
        });
    }
    within("the end of all streams", readers.join_all()).await
}

#[tokio::test]
async fn a_drain_tells_every_stream_and_spreads_them_over_its_time() {
    let drain = Duration::from_secs(2);
    let node = Fanfare::new().set("FANFARE_DRAIN", "2s").start().await;
    let addr = node.addr();
    let mut streams = open_many(addr, "news", 400).await;
    let id = Connection::open(addr).await.publish("news", "hello").await;
    for stream in &mut streams {
        assert_eq!(stream.event().await.id, id);
    }

    let signalled = Instant::now();
    node.signal(libc::SIGTERM);
    let (ends, ()) = tokio::join!(ends_of(streams), node.refuses());
    for (events, end, _) in &ends {
        let [event] = &events[..] else { panic!("one event, not {events:?}") };
        assert_eq!((event.kind.as_str(), &event.id, end), ("shutdown", &id, &Ending::Complete));
    }
    let mut times: Vec<_> = ends.iter().map(|(_, _, at)| *at - signalled).collect();
    times.sort();
    let spread = times[300] - times[100];
    assert!(spread > drain / 10, "the middle half of the streams went within {spread:?}");
    assert!(
        times[399] < drain + Duration::from_secs(1),
        "the last stream went after {:?}",
        times[399]
    );
    assert_eq!(node.end().await.code, Some(0));
}

#[tokio::test]
async fn a_stream_without_an_event_is_sent_away_with_a_position_to_resume_from() {
    let node = Fanfare::new().start().await;
    let earlier = node.connect().await.publish("other", "1").await;
    let mut stream = node.subscribe("news").await;
    node.signal(libc::SIGTERM);
    let event = stream.event().await;
    assert_eq!((event.kind.as_str(), event.id), ("shutdown", earlier));
    assert_eq!(stream.end().await, Ending::Complete);
}

#[tokio::test]
async fn either_signal_ends_a_node_without_streams_at_once() {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let node = Fanfare::new().set("FANFARE_DRAIN", "1h").start().await;
        let mut idle = node.connect().await;
        idle.publish("news", "hello").await;
        let _silent = TcpStream::connect(node.addr()).await.unwrap();
        node.signal(signal);
        idle.closed().await;
        assert_eq!(node.end().await.code, Some(0));
    }
}

#[tokio::test]
async fn a_publish_that_was_begun_before_the_signal_is_finished() {
    let mut node = Fanfare::new().set("FANFARE_DRAIN", "1h").start().await;
    let mut publisher = begin_publish(&node).await;
    publisher.send(b"first").await;
    node.signal(libc::SIGTERM);
    node.line("draining").await;
    node.refuses().await;
    publisher.send(b" rest").await;
    let answer = publisher.response("POST").await;
    assert_eq!((answer.status, answer.closes()), (200, true), "{answer:?}");
    publisher.closed().await;
    assert_eq!(node.end().await.code, Some(0));
}

#[tokio::test]
async fn a_publish_that_is_never_finished_holds_a_drain_no_longer_than_its_time() {
    let node = Fanfare::new().set("FANFARE_DRAIN", "500ms").start().await;
    let mut publisher = begin_publish(&node).await;
    node.signal(libc::SIGTERM);
    publisher.closed().await;
    assert_eq!(node.end().await.code, Some(0));
}

#[tokio::test]
async fn a_second_signal_ends_a_drain_that_waits_for_a_publish() {
    let mut node = Fanfare::new().set("FANFARE_DRAIN", "1h").start().await;
    let _publisher = begin_publish(&node).await;
    node.signal(libc::SIGTERM);
    node.line("draining").await;
    node.signal(libc::SIGINT);
    assert_eq!(node.end().await.code, Some(1));
}

#[tokio::test]
async fn a_second_signal_ends_a_drain_that_waits_for_a_stream_that_is_not_read() {
    let node = Fanfare::new().set("FANFARE_DRAIN", "1h").set("FANFARE_WRITE_TIMEOUT", "1h");
    let mut node = node.set("FANFARE_SEND_BUFFER_BYTES", "4KiB").start().await;
    let _stalled = Ask::topic(node.addr(), "news").narrow().open().await;
    let mut read = node.subscribe("news").await;
    let mut publisher = node.connect().await;
    // Far more than its buffers take; with each event the stalled stream has had its batch at the
    // latest by the next.
    for _ in 0..64 {
        publisher.publish("news", &"x".repeat(16 * 1024)).await;
        read.event().await;
    }
    node.signal(libc::SIGTERM);
    node.line("draining").await;
    assert_eq!(read.event().await.kind, "shutdown");
    node.signal(libc::SIGTERM);
    assert_eq!(node.end().await.code, Some(1));
}

#[tokio::test]
async fn a_killed_node_comes_back_on_its_port_and_knows_the_old_ids_for_foreign() {
    let first = Fanfare::new().start().await;
    let addr = first.addr();
    let mut stream = Ask::topic(addr, "news").open().await;
    let old = Connection::open(addr).await.publish("news", "before").await;
    assert_eq!(stream.event().await.id, old);
    first.signal(libc::SIGKILL);
    assert_eq!(stream.end().await, Ending::Cut);
    assert_eq!(first.end().await.code, None);

    let second = Fanfare::new().set("FANFARE_ADDR", &addr.to_string()).start().await;
    assert_eq!(second.addr(), addr);
    let mut stream = Ask::topic(addr, "news").after(&old).open().await;
    let reset = stream.event().await;
    assert_eq!(reset.kind, "reset");
    assert!(reset.data.contains(&format!("\"asked\":\"{old}\"")), "{reset:?}");
    let new = Connection::open(addr).await.publish("news", "after").await;
    assert_eq!(stream.event().await.id, new);
}

#[tokio::test]
async fn curl_publishes_and_sees_what_was_published() {
    let node = Fanfare::new().start().await;
    let url = format!("http://{}/events", node.addr());
    let mut curl = Command::new("curl")
        .args(["-sN", "--max-time", "15", &format!("{url}?topic=news")])
        .stdout(Stdio::piped())
        .spawn()
        .expect("tests/setup.sh installs curl");
    let mut lines = BufReader::new(curl.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.next().expect("a first line").starts_with("retry: "));

    let publish = ["-sf", "--max-time", "15", "-d", "topic=news", "-d", "data=hello", &url];
    let id = Command::new("curl").args(publish).output().unwrap();
    let id = format!("id: {}", String::from_utf8(id.stdout).unwrap());
    let event: Vec<_> =
        lines.by_ref().skip_while(|line| !line.starts_with("data")).take(2).collect();
    assert_eq!(event, ["data: hello", &id]);
    curl.kill().unwrap();
    curl.wait().unwrap();
}

#[tokio::test]
async fn the_soft_limit_of_descriptors_is_raised() {
    let node = Fanfare::after("ulimit -Sn 256").start().await;
    let _streams = open_many(node.addr(), "news", 400).await;
    assert_eq!(node.number("/streams").await, 400);
}

/// Scenario: a hard limit of 200 descriptors, with two shards: 120 connections, 60 of them for
/// streams.
#[tokio::test]
async fn with_few_descriptors_what_is_too_much_is_refused_until_streams_leave() {
    let node = Fanfare::after("ulimit -n 200").set("FANFARE_SHARDS", "2");
    let node = node.set("FANFARE_DESCRIPTOR_TABLES", "shared").start().await;
    let addr = node.addr();
    let mut streams = open_many(addr, "news", 60).await;
    let mut busy = Stream::begin(addr, Request::subscribe("topic=news")).await;
    assert_eq!(busy.try_event().await.unwrap().kind, "busy");
    assert_eq!(busy.end().await, Ending::Complete);
    node.connect().await.publish("news", "to a full node").await;

    let mut idle = Vec::new();
    for _ in 0..200 {
        idle.push(node.connect().await);
    }
    // Those that found no place have been closed; the last of them has.
    idle.pop().expect("there are 200").closed().await;
    for stream in &mut streams {
        assert_eq!(stream.event().await.data, "to a full node");
    }

    drop((streams, idle));
    let health = Request::get("/healthz").header("Connection", "close").to_bytes();
    eventually("room", async || exchange(addr, &health).await.contains("\"streams\":0")).await;
    let mut streams = open_many(addr, "news", 60).await;
    node.connect().await.publish("news", "again").await;
    for stream in &mut streams {
        assert_eq!(stream.event().await.data, "again");
    }
}

/// The limit counts for each table: 310 streams would never fit one.
#[tokio::test]
async fn with_a_table_for_each_shard_a_node_holds_more_streams_than_the_limit() {
    let node = Fanfare::after("ulimit -n 300").set("FANFARE_SHARDS", "4").start().await;
    let mut streams = open_many(node.addr(), "news", 310).await;
    node.connect().await.publish("news", "to all").await;
    for stream in &mut streams {
        assert_eq!(stream.event().await.data, "to all");
    }
}

/// Ensures that a node outlives running out of descriptors, which other threads or a lower limit
/// can bring about whatever the node counts. Scenario: the limit falls below what is open; `accept`
/// fails until it is raised again.
#[tokio::test]
async fn a_node_that_can_accept_nothing_serves_its_streams_and_accepts_again_when_it_can() {
    let mut node = Fanfare::new().start().await;
    let addr = node.addr();
    let mut streams = open_many(addr, "news", 20).await;
    // An answer, so that its connection has been accepted.
    let mut publisher = node.connect().await;
    publisher.publish("other", "before").await;
    node.limit_descriptors(20);
    let mut waiting = JoinSet::new();
    for _ in 0..20 {
        waiting.spawn(async move { Ask::topic(addr, "news").open().await });
    }
    node.line("can't accept connections").await;
    publisher.publish("news", "while starved").await;
    for stream in &mut streams {
        assert_eq!(stream.event().await.data, "while starved");
    }

    node.limit_descriptors(1000);
    let mut late = within("those that waited", waiting.join_all()).await;
    publisher.publish("news", "to all").await;
    for stream in streams.iter_mut().chain(&mut late) {
        assert_eq!(stream.event().await.data, "to all");
    }
}
