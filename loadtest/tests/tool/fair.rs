//! `fair`: a small topic beside large ones, with probes.

use crate::support::server::{Fault, Framing, start};
use crate::support::tool::{baseline, run};

const FAIR: &str = "fair --streams 100 --rate 200 --duration 2s --alternate 500ms \
    --small-interval 10ms --patience 2s --settle 100ms";

#[test]
fn the_small_topic_and_the_probes_are_measured_apart_from_the_large_topics() {
    let served = baseline("write");
    let run = run(&format!("{FAIR} --small-streams 3 --large-topics 2"), served.address);
    run.assert_clean();
    // Every 10 ms in half of the time.
    let sent = run.at("/fair/small_sent");
    assert!((95.0..=101.0).contains(&sent), "{}", run.text);
    assert_eq!(run.at("/fair/small_account/received"), 3.0 * sent, "{}", run.text);
    assert_eq!(run.at("/fair/small_latency/count"), 3.0 * sent, "{}", run.text);
    let large = run.at("/publishing/sent") - sent;
    // Half of the large topics' streams receive each of their events.
    assert_eq!(run.at("/delivery/latency/count"), 50.0 * large, "{}", run.text);
    assert_eq!(run.at("/account/received"), 50.0 * large + 3.0 * sent, "{}", run.text);
    // A second each; what arrives after the last period is in neither.
    let (beside, alone) = (run.at("/fair/large_per_s"), run.at("/fair/large_alone_per_s"));
    let all = 50.0 * large;
    assert!((0.8 * all..=all).contains(&(beside + alone)), "{}", run.text);
    assert!(beside > 0.2 * all && alone > 0.2 * all, "{}", run.text);
    let loss = run.at("/fair/large_loss");
    assert!((loss - (1.0 - beside / alone)).abs() < 1e-9, "{loss}: {}", run.text);
    assert!(run.at("/fair/opening/count") > 20.0, "{}", run.text);
    assert!(run.at("/fair/health/count") > 20.0, "{}", run.text);
    assert!(
        run.report["fair"]["failed_probes"].as_object().is_some_and(|failed| failed.is_empty())
    );
}

#[test]
fn the_large_topics_can_be_measured_alone_or_in_a_closed_loop() {
    let served = baseline("write");
    let alone = run(&format!("{FAIR} --small-streams 0"), served.address);
    alone.assert_clean();
    assert_eq!(alone.at("/fair/small_streams"), 0.0);
    assert!(alone.at("/fair/large_per_s") > 15_000.0, "{}", alone.text);
    assert!(alone.report["fair"]["large_loss"].is_null(), "{}", alone.text);
    let arguments =
        "fair --pace each --streams 100 --large-topics 2 --duration 2s --alternate 500ms";
    let closed = run(arguments, served.address);
    closed.assert_clean();
    assert!(closed.at("/fair/small_account/received") > 40.0, "{}", closed.text);
    assert!(closed.at("/delivery/last_of_all/count") > 10.0, "{}", closed.text);
}

/// As fast as the server acknowledges, over several connections, with events of 60 KiB.
#[test]
fn large_topics_are_published_to_without_pause() {
    let server = start(Fault::None, Framing::Chunked);
    let arguments =
        "fair --streams 4 --connections 3 --bytes 61440 --duration 1s --alternate 200ms";
    let run = run(arguments, server);
    run.assert_clean();
    assert_eq!(run.at("/scenario/size"), 61440.0);
    assert_eq!(run.at("/account/out_of_order"), 0.0, "{}", run.text);
    let large = run.at("/publishing/sent") - run.at("/fair/small_sent");
    assert!(large > 50.0, "{}", run.text);
    assert_eq!(run.at("/account/received"), 4.0 * large + run.at("/fair/small_sent"));
}

/// The server stands still for a second: whatever falls due meanwhile is charged for it.
#[test]
fn a_stall_shows_in_the_small_topic_and_in_the_probes() {
    let arguments = FAIR.replace("--alternate 500ms", "--alternate 0s --probe 20ms");
    let run = run(&arguments, start(Fault::Stalls(60), Framing::Chunked));
    run.assert_clean();
    for latency in ["small_latency", "opening", "health"] {
        let at = |value: &str| run.at(&format!("/fair/{latency}/{value}"));
        assert!(at("max_ms") > 800.0, "{latency}: {}", run.text);
        assert!(at("p90_ms") > 400.0, "all that fell due: {latency}: {}", run.text);
    }
}

#[test]
fn lost_events_of_the_small_topic_fail_the_run() {
    let run = run(FAIR, start(Fault::Loses(7), Framing::Chunked));
    assert_eq!(run.status, 1, "{}", run.text);
    assert!(run.at("/fair/small_account/missing") > 0.0, "{}", run.text);
    assert!(run.at("/account/missing") > run.at("/fair/small_account/missing"), "{}", run.text);
}
