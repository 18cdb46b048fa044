//! The memory of a node: its defaults follow the limits of the process, and it stays within them,
//! whoever doesn't read or sends too much.

use std::time::{Duration, Instant};

use fanfare::config::Io;
use tokio::task::JoinSet;

use crate::support::{
    Connection, Container, Ending, Endpoint, Fanfare, Process, Request, Stream, io, within,
};

const MIB: u64 = 1 << 20;

/// Bytes of a large event.
const LARGE: usize = 1_000_000;

/// Streams of large events that are read.
const READERS: usize = 2;

/// Events for stalled streams between two for those that are read: the kernel takes long to send
/// large events through small buffers.
const READ_EVERY: usize = 20;

/// A program without any setting, in 128 MiB: in a container if this process may make one, else
/// with an address space of that size.
fn small() -> (Fanfare, Option<Container>) {
    match Container::new(128 * MIB) {
        Some(container) => (container.program(), Some(container)),
        None => (with_address_space(128), None),
    }
}

fn with_address_space(mib: u64) -> Fanfare {
    Fanfare::after(&format!("ulimit -v {}", mib * 1024))
}

/// Streams that are never read, of which the node soon notices it.
async fn stalled(node: &Endpoint, topic: &str, count: usize) -> Vec<Stream> {
    let mut streams = Vec::with_capacity(count);
    for _ in 0..count {
        streams.push(node.stream(&format!("topic={topic}")).narrow().open().await);
    }
    streams
}

/// Publishes large events to stalled streams, now and then one to streams that are read, and small
/// ones to many others: each that reads receives all of its topic, once and in order.
async fn publish_to_all(node: &Process, events: usize, stalled_streams: usize, live: usize) {
    let _stalled = stalled(node, "stalled", stalled_streams).await;
    let mut readers = node.subscribe_many("topic=large", READERS).await;
    let mut small = node.subscribe_many("topic=small", live).await;
    let mut publisher = node.connect().await;
    let padding = "x".repeat(LARGE);
    for number in 0..events {
        publisher.publish("stalled", &padding).await;
        if number % READ_EVERY > 0 {
            continue;
        }
        let id = publisher.publish("large", &padding).await;
        for reader in &mut readers {
            let event = reader.event().await;
            assert_eq!((event.id.as_str(), event.data.len()), (&*id, LARGE), "{}", event.kind);
        }
        let id = publisher.publish("small", "small").await;
        for reader in &mut small {
            let event = reader.event().await;
            assert_eq!((event.id.as_str(), event.data.as_str()), (&*id, "small"));
        }
    }
}

/// More publishes at once than there is room for: each is accepted, or refused with the reason.
async fn publish_at_once(node: &Process, publishers: usize) {
    let request = Request::publish("topic=burst", "x".repeat(LARGE));
    let endpoint: Endpoint = **node;
    let mut requests: JoinSet<_> = (0..publishers)
        .map(|_| {
            let request = request.clone();
            async move { endpoint.request(request).await }
        })
        .collect();
    let mut accepted = 0;
    while let Some(response) = requests.join_next().await {
        let response = response.expect("a request does not panic");
        if response.status == 200 {
            accepted += 1;
            continue;
        }
        assert_eq!(response.header("Retry-After"), Some("1"));
        let problem = response.problem(503);
        assert!(problem["detail"].as_str().unwrap().contains("FANFARE_QUEUE_BYTES"), "{problem}");
    }
    assert!(accepted > 0);
    let too_large = Request::publish("topic=burst", "x".repeat(2 * LARGE));
    node.request(too_large).await.problem(413);
}

async fn ends_by_a_signal(node: Process) {
    assert_eq!(node.health().await["status"], "ok");
    node.signal(libc::SIGTERM);
    let ended = node.end().await;
    assert_eq!(ended.code, Some(0), "{:#?}", ended.errors);
}

async fn holds(events: usize, stalled: usize, live: usize) {
    let (program, container) = small();
    let node = program.start().await;
    publish_to_all(&node, events, stalled, live).await;
    publish_at_once(&node, 64).await;
    if let Some(peak) = container.as_ref().and_then(Container::peak) {
        println!("{} MiB of 128 in use at the most", peak / MIB);
    }
    ends_by_a_signal(node).await;
}

/// Ensures that a node without settings stays within the memory of a small container.
///
/// Scenario: 128 MiB, publishes of 1 MB, streams that don't read and others that do.
///
/// Cause: the defaults were meant for a machine with gigabytes: the history alone could take
/// 256 MiB. The kernel killed the node after 108 publishes.
///
/// Fix: the defaults are shares of the memory that the process may use.
#[tokio::test]
async fn a_node_without_settings_stays_within_the_memory_of_its_container() {
    holds(200, 100, 300).await;
}

#[tokio::test]
#[ignore = "takes minutes: make memory"]
async fn a_node_without_settings_stays_within_the_memory_of_its_container_for_long() {
    holds(2000, 300, 1000).await;
}

/// Ensures that a node stays within the address space it may use.
///
/// Scenario: `ulimit -v` of 128 MiB, publishes of 1 MB.
///
/// Cause: the budgets were larger than the address space, of which glibc reserved half for a heap
/// of a thread. An allocation failed, which aborts the program.
///
/// Fix: `RLIMIT_AS` counts as a limit of memory, and glibc uses one heap for all threads.
#[tokio::test]
async fn a_node_without_settings_stays_within_its_address_space() {
    let node = with_address_space(128).start().await;
    publish_to_all(&node, 150, 50, 50).await;
    publish_at_once(&node, 64).await;
    ends_by_a_signal(node).await;
}

#[tokio::test]
async fn the_budgets_and_the_limit_they_follow_are_logged() {
    let node = with_address_space(512).set("FANFARE_HISTORY_BYTES", "1GiB").start().await;
    let line = node.line("budgets: ").await;
    let (_, text) = line.split_once("memory: ").expect("the limit comes first");
    let budgets = "232 MiB (RLIMIT_AS (ulimit -v)); budgets: FANFARE_REQUEST_CONNECTIONS_MAX=448, \
                   FANFARE_QUEUE_BYTES=14MiB, \
                   FANFARE_STREAMS_MAX=14_848, FANFARE_SUBSCRIPTIONS_MAX=114_688, \
                   FANFARE_TOPICS_MAX=14_336, \
                   FANFARE_WINDOW_BYTES=14MiB, FANFARE_UNSENT_BYTES=29MiB, \
                   FANFARE_HISTORY_BYTES=1GiB";
    assert_eq!(text, budgets);
    let Some(container) = Container::new(100 * MIB) else { return };
    let node = container.program().start().await;
    let line = node.line("budgets: ").await;
    assert!(line.contains("memory: 100 MiB (/sys/fs/cgroup/"), "{line}");
    assert!(line.contains(container.name()) && line.contains("FANFARE_QUEUE_BYTES=6MiB"), "{line}");
    ends_by_a_signal(node).await;
}

/// Each stream has a topic of its own, so nothing of what one keeps is shared with another.
#[tokio::test]
async fn stalled_streams_keep_no_more_than_the_budget_and_the_longest_stalled_are_closed() {
    const STREAMS: usize = 60;
    const BUDGET: u64 = 2 * MIB;
    let node = Fanfare::new()
        .set("FANFARE_SEND_BUFFER_BYTES", "4KiB")
        .set("FANFARE_WRITE_TIMEOUT", "1h")
        .set("FANFARE_UNSENT_BYTES", "2MiB")
        .start()
        .await;
    let mut streams = Vec::new();
    for number in 0..STREAMS {
        streams.push(node.stream(&format!("topic={number}")).narrow().open().await);
    }
    let mut publisher = node.connect().await;
    let event = "x".repeat(200_000);
    for number in 0..STREAMS {
        publisher.publish(&number.to_string(), &event).await;
        let unsent = node.health_number("/memory/unsent_bytes").await;
        // What hyper writes may exceed it until the next step of the timer.
        assert!(unsent <= BUDGET || io() == Io::Hyper, "{unsent} after {number}");
    }
    node.line("FANFARE_UNSENT_BYTES reached").await;
    let within_budget = |health: &serde_json::Value| {
        health["streams"].as_u64() <= Some(11)
            && health["memory"]["unsent_bytes"].as_u64() <= Some(BUDGET)
    };
    let health = node.health_until(within_budget).await;
    let open = health["streams"].as_u64().unwrap();
    assert!(open >= 5, "{open} streams of 200 kB in {BUDGET} bytes");
    let mut cut = Vec::new();
    for stream in &mut streams {
        let event = within("an event or the end", stream.try_event()).await;
        cut.push(event == Err(Ending::Cut));
    }
    // On each shard those that were stalled first have been closed, in the middle of their event.
    assert_eq!(cut.iter().filter(|cut| **cut).count() as u64, STREAMS as u64 - open);
    assert!(cut[..STREAMS / 2].iter().all(|cut| *cut), "{cut:?}");
    drop(streams);
    node.health_reaches("/memory/unsent_bytes", 0).await;
}

/// All streams have the same topic, so what they keep is shared and takes a fraction of the budget.
#[tokio::test]
async fn the_buffers_of_the_kernel_count_when_a_stream_is_stalled() {
    const STREAMS: u64 = 60;
    let node = Fanfare::new()
        .set("FANFARE_WRITE_TIMEOUT", "1h")
        .set("FANFARE_UNSENT_BYTES", "2MiB")
        .start()
        .await;
    let _stalled = stalled(&node, "a", STREAMS as usize).await;
    node.publish("a", &"x".repeat(200_000)).await;
    assert_eq!(node.health_number("/streams").await, STREAMS, "a moment later none is stalled");
    // 64 KiB in the kernel for each: there is room for 32 at most.
    let health = node.health_until(|health| health["streams"].as_u64() <= Some(32)).await;
    assert!(health["streams"].as_u64() >= Some(16), "{health}");
    node.line("FANFARE_UNSENT_BYTES reached").await;
}

/// Ensures that a stream can't keep what it has to send for ever by reading a little now and then.
///
/// Scenario: a client reads 7 kB per second of a large event; `FANFARE_WRITE_TIMEOUT` is 2 s, in
/// which the socket always accepts a few bytes.
///
/// Cause: the timeout began anew whenever the socket accepted anything.
///
/// Fix: 64 KiB have to be accepted within four timeouts.
///
/// The rate and the timeout are under test, so time is measured.
#[tokio::test]
async fn a_stream_that_reads_a_little_now_and_then_is_closed() {
    let node = Fanfare::new()
        .set("FANFARE_SEND_BUFFER_BYTES", "4KiB")
        .set("FANFARE_WRITE_TIMEOUT", "2s")
        .start()
        .await;
    let mut slow: Connection = node.connect_trickling().await;
    slow.send(&Request::subscribe("topic=a").to_bytes()).await;
    assert_eq!(slow.head().await.status, 200);
    node.publish("a", &"x".repeat(500_000)).await;
    let published = Instant::now();
    within("the end of the connection", slow.trickle(7000)).await;
    let lasted = published.elapsed();
    assert!(lasted > Duration::from_secs(4), "not by the timeout itself: {lasted:?}");
    assert!(lasted < Duration::from_secs(20), "{lasted:?}");
}
