//! Slow subscribers: their cost is bounded by the settings, and no other stream notices.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::support::{Ending, Fanfare, Subscriber, within};

const READERS: usize = 1000;
const STALLED: usize = 10;

/// A node with the smallest send buffers, so that it soon notices a stream that is not read.
fn narrow() -> Fanfare {
    Fanfare::new().set("FANFARE_SEND_BUFFER_BYTES", "4KiB")
}

#[tokio::test]
async fn stalled_streams_are_closed_and_a_thousand_others_receive_every_event_in_time() {
    let write_timeout = Duration::from_secs(2);
    let node = narrow().set("FANFARE_WRITE_TIMEOUT", "2s").start().await;
    let mut stalled = Vec::new();
    for _ in 0..STALLED {
        stalled.push(node.stream("topic=news").narrow().open().await);
    }
    let (sender, mut deliveries) = mpsc::channel(READERS);
    for reader in 0..READERS {
        let (mut stream, sender) = (node.subscribe("topic=news").await, sender.clone());
        tokio::spawn(async move {
            while let Ok(event) = stream.try_event().await {
                let round: usize = event.data.trim().parse().unwrap();
                // The receiver is gone when the test is over.
                let _ = sender.send((reader, round)).await;
            }
        });
    }

    let mut publisher = node.connect().await;
    let mut worst = Duration::ZERO;
    let mut rounds = 0;
    while rounds < 20 || node.health_number("/streams").await > READERS as u64 {
        let published = Instant::now();
        publisher.publish("news", &format!("{rounds:4096}")).await;
        let mut reached = HashSet::new();
        while reached.len() < READERS {
            let (reader, round) = within("an event for everyone", deliveries.recv()).await.unwrap();
            assert!(
                round == rounds && reached.insert(reader),
                "{round} for {reader} in round {rounds}"
            );
        }
        worst = worst.max(published.elapsed());
        rounds += 1;
        assert!(rounds < 1000, "the stalled streams are still open");
    }
    assert!(worst < write_timeout, "an event took {worst:?} to reach everyone");

    for mut stream in stalled {
        let mut received = 0;
        let ending = loop {
            match stream.try_event().await {
                Ok(_) => received += 1,
                Err(ending) => break ending,
            }
        };
        assert!(
            ending == Ending::Cut && received < rounds,
            "{ending:?} after {received} of {rounds} events"
        );
    }
}

/// 300 stalled streams miss 96 MiB, of which the windows may hold 4 MiB and the history as much.
#[tokio::test]
async fn stalled_streams_do_not_keep_missed_events_in_memory() {
    let node = narrow()
        .set("FANFARE_WRITE_TIMEOUT", "1h")
        .set("FANFARE_WINDOW", "1_000_000")
        .set("FANFARE_WINDOW_BYTES", "4MiB")
        .set("FANFARE_HISTORY_BYTES", "4MiB")
        .start()
        .await;
    let mut stalled = Vec::new();
    for _ in 0..300 {
        stalled.push(node.stream("topic=news").narrow().open().await);
    }
    let before = node.health_number("/memory/resident_bytes").await;
    let mut publisher = node.connect().await;
    let data = "x".repeat(64 * 1024);
    for _ in 0..1536 {
        publisher.publish("news", &data).await;
    }
    assert_eq!(node.health_number("/connections").await, 302, "no stream was closed");
    let grown = node.health_number("/memory/resident_bytes").await.saturating_sub(before);
    assert!(grown < 48 << 20, "{} MiB for 8 MiB of windows and history", grown >> 20);
}

/// The window has room for every batch, so that only its bytes can run out. When that is noticed
/// depends on the kernel, whose send buffer accepts a few more bytes now and then.
#[tokio::test]
async fn without_history_a_stream_behind_the_window_ends_with_the_number_of_missed_events() {
    const EVENTS: usize = 6000;
    let node = narrow()
        .set("FANFARE_HISTORY_EVENTS", "0")
        .set("FANFARE_WINDOW", "1_000_000")
        .set("FANFARE_WINDOW_BYTES", "1MiB")
        .start()
        .await;
    let mut stream = node.stream("topic=news").narrow().open().await;
    let mut publisher = node.connect().await;
    let data = "x".repeat(1000);
    for _ in 0..EVENTS {
        publisher.publish("news", &data).await;
    }
    let mut received = 0;
    let mut last_id = String::new();
    let lagged = loop {
        let event = stream.event().await;
        if event.kind == "lagged" {
            break event;
        }
        (received, last_id) = (received + 1, event.id);
    };
    assert_eq!(lagged.id, last_id);
    let missed = lagged.data.strip_prefix("{\"missed\":").and_then(|rest| rest.strip_suffix('}'));
    let missed: usize =
        missed.expect("lagged carries a count").parse().expect("a count is a number");
    // The window holds about 770 of these events, with the overhead of a batch each. A stream that
    // missed fewer would not have been behind it.
    let most = EVENTS - received;
    assert!((700..=most).contains(&missed), "{missed} missed, {received} received of {EVENTS}");
    assert_eq!(stream.end().await, Ending::Complete);
}

/// Publishes numbered events to a subscriber that reads one in eight of them at first, so that it
/// falls behind a window of 16 again and again. Returns how often it was lagged out.
async fn read_an_eighth(lag_max: &str) -> usize {
    const EVENTS: usize = 2000;
    let node = narrow()
        .set("FANFARE_WINDOW", "16")
        .set("FANFARE_HISTORY_EVENTS", "2000")
        .set("FANFARE_LAG_MAX", lag_max)
        .start()
        .await;
    let mut publisher = node.connect().await;
    let mut subscriber = Subscriber::open(node.stream("topic=news").narrow()).await;
    let mut received = Vec::new();
    for number in 0..EVENTS {
        publisher.publish("news", &format!("{number:1024}")).await;
        if number % 8 == 7 {
            received.push(subscriber.event().await.data);
        }
    }
    while received.len() < EVENTS {
        received.push(subscriber.event().await.data);
    }
    let received: Vec<usize> = received.iter().map(|data| data.trim().parse().unwrap()).collect();
    assert!(received.iter().copied().eq(0..EVENTS), "not each once, in order: {received:?}");
    subscriber.lagged
}

#[tokio::test]
async fn a_stream_behind_the_window_catches_up_from_the_history_in_place() {
    assert_eq!(read_an_eighth("1h").await, 0);
}

#[tokio::test]
async fn a_stream_that_may_not_be_behind_is_lagged_out_and_resumes_without_a_gap() {
    assert!(read_an_eighth("0s").await > 0);
}

/// The history has every event, but the stream reads nothing for longer than it may be behind.
#[tokio::test]
async fn a_stream_that_is_behind_for_too_long_is_lagged_out_and_can_resume() {
    const EVENTS: usize = 1000;
    let lag_max = Duration::from_secs(1);
    let node = narrow()
        .set("FANFARE_WINDOW", "16")
        .set("FANFARE_HISTORY_EVENTS", "1000")
        .set("FANFARE_LAG_MAX", "1s")
        .start()
        .await;
    let mut stream = node.stream("topic=news").narrow().open().await;
    let mut publisher = node.connect().await;
    let published = Instant::now();
    // Each event that is read lets the node write a little, and notice that the stream is behind.
    let mut received = 0;
    let lagged = loop {
        if received < EVENTS / 2 {
            for number in 2 * received..2 * received + 2 {
                publisher.publish("news", &format!("{number:4096}")).await;
            }
        }
        let event = stream.event().await;
        if event.kind == "lagged" {
            break event;
        }
        assert_eq!(event.data.trim().parse(), Ok(received));
        received += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert!(published.elapsed() >= lag_max, "after {:?}", published.elapsed());
    assert_eq!(stream.end().await, Ending::Complete);
    let mut again = node.stream("topic=news").after(&lagged.id).open().await;
    let next: usize = again.event().await.data.trim().parse().unwrap();
    assert_eq!(next, received);
}
