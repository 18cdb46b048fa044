//! Slow subscribers: they cost what the settings say, and nobody else notices.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::process::Fanfare;
use crate::subscriber::{Ask, Follower};
use crate::support::{Ending, within};

const READERS: usize = 1000;
const STALLED: usize = 10;

/// With the smallest send buffer there can be, so that not reading is soon felt.
fn narrow() -> Fanfare {
    Fanfare::new().set("FANFARE_SEND_BUFFER_BYTES", "4KiB")
}

#[tokio::test]
async fn streams_that_are_not_read_are_closed_and_a_thousand_others_have_every_event_in_time() {
    let write_timeout = Duration::from_secs(2);
    let node = narrow().set("FANFARE_WRITE_TIMEOUT", "2s").start().await;
    let addr = node.addr();
    let mut stalled = Vec::new();
    for _ in 0..STALLED {
        stalled.push(Ask::topic(addr, "news").narrow().open().await);
    }
    let (sender, mut received) = mpsc::channel(READERS);
    for reader in 0..READERS {
        let (mut stream, sender) = (node.subscribe("news").await, sender.clone());
        tokio::spawn(async move {
            while let Ok(event) = stream.try_event().await {
                let round: usize = event.data.trim().parse().unwrap();
                // When the test is over, nobody receives.
                let _ = sender.send((reader, round)).await;
            }
        });
    }

    let mut publisher = node.connect().await;
    let mut worst = Duration::ZERO;
    let mut wakes = 0;
    while wakes < 20 || node.number("/streams").await > READERS as u64 {
        let published = Instant::now();
        publisher.publish("news", &format!("{wakes:4096}")).await;
        let mut reached = HashSet::new();
        while reached.len() < READERS {
            let (reader, round) = within("an event for everyone", received.recv()).await.unwrap();
            assert!(
                round == wakes && reached.insert(reader),
                "{round} for {reader} in round {wakes}"
            );
        }
        worst = worst.max(published.elapsed());
        wakes += 1;
        assert!(wakes < 1000, "streams that take nothing are still open");
    }
    assert!(worst < write_timeout, "an event took {worst:?} to reach everyone");

    for mut stream in stalled {
        let mut had = 0;
        let ending = loop {
            match stream.try_event().await {
                Ok(_) => had += 1,
                Err(ending) => break ending,
            }
        };
        assert!(ending == Ending::Cut && had < wakes, "{ending:?} after {had} of {wakes} events");
    }
}

/// 96 MiB pass by 300 streams that are not read. The windows may hold 4 MiB of it, and the history
/// as much.
#[tokio::test]
async fn streams_that_are_not_read_do_not_hold_what_they_miss_in_memory() {
    let node = narrow()
        .set("FANFARE_WRITE_TIMEOUT", "1h")
        .set("FANFARE_WINDOW", "1_000_000")
        .set("FANFARE_WINDOW_BYTES", "4MiB")
        .set("FANFARE_HISTORY_BYTES", "4MiB")
        .start()
        .await;
    let mut stalled = Vec::new();
    for _ in 0..300 {
        stalled.push(Ask::topic(node.addr(), "news").narrow().open().await);
    }
    let before = node.number("/memory/resident_bytes").await;
    let mut publisher = node.connect().await;
    let data = "x".repeat(64 * 1024);
    for _ in 0..1536 {
        publisher.publish("news", &data).await;
    }
    assert_eq!(node.number("/connections").await, 302, "nobody was closed");
    let grown = node.number("/memory/resident_bytes").await.saturating_sub(before);
    assert!(grown < 48 << 20, "{} MiB for 8 MiB of windows and history", grown >> 20);
}

/// The window has room for every batch, so that only its bytes can run out. When the stream notices
/// is up to the kernel, which finds room for a few more bytes now and then.
#[tokio::test]
async fn a_stream_that_fell_out_of_the_window_is_told_how_many_it_missed_and_ends() {
    const EVENTS: usize = 6000;
    let node = narrow()
        .set("FANFARE_WINDOW", "1_000_000")
        .set("FANFARE_WINDOW_BYTES", "1MiB")
        .start()
        .await;
    let mut stream = Ask::topic(node.addr(), "news").narrow().open().await;
    let mut publisher = node.connect().await;
    let data = "x".repeat(1000);
    for _ in 0..EVENTS {
        publisher.publish("news", &data).await;
    }
    let mut had = 0;
    let mut last_id = String::new();
    let lagged = loop {
        let event = stream.event().await;
        if event.kind == "lagged" {
            break event;
        }
        (had, last_id) = (had + 1, event.id);
    };
    assert_eq!(lagged.id, last_id);
    let missed = lagged.data.strip_prefix("{\"missed\":").and_then(|rest| rest.strip_suffix('}'));
    let missed: usize = missed.expect("lagged says how many").parse().expect("it is a number");
    // The window holds about 770 of these with what a batch takes beside its bytes. Less than that,
    // and it would not have fallen out; more than there were, and it would be wrong.
    assert!((700..=EVENTS - had).contains(&missed), "{missed} missed and {had} had of {EVENTS}");
    assert_eq!(stream.end().await, Ending::Complete);
}

/// The reader takes one event for eight that are published, so it falls out of a window of 16 again
/// and again.
#[tokio::test]
async fn a_reader_that_trickles_is_told_that_it_lags_and_resumes_without_a_gap() {
    const EVENTS: usize = 2000;
    let node =
        narrow().set("FANFARE_WINDOW", "16").set("FANFARE_HISTORY_EVENTS", "2000").start().await;
    let mut publisher = node.connect().await;
    let mut follower = Follower::open(Ask::topic(node.addr(), "news").narrow()).await;
    let mut had = Vec::new();
    for number in 0..EVENTS {
        publisher.publish("news", &format!("{number:1024}")).await;
        if number % 8 == 7 {
            had.push(follower.event().await.data);
        }
    }
    while had.len() < EVENTS {
        had.push(follower.event().await.data);
    }
    let had: Vec<usize> = had.iter().map(|data| data.trim().parse().unwrap()).collect();
    assert!(had.iter().copied().eq(0..EVENTS), "each event once, in order: {had:?}");
    assert!(follower.lagged > 0);
}
