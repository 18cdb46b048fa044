//! Latency is counted from the schedule: a stall is charged for every event it held up.

use crate::support::server::{Fault, Framing, start};
use crate::support::tool::run;

/// The server stands still for a second at event 20 of 100, which come 50 a second. A meter that
/// waits for an answer before it sends would see one slow event in a hundred. On schedule, the 50
/// that were due meanwhile are late too, by a second and less.
#[test]
fn a_stall_of_a_second_shows_as_a_second_for_all_it_held_up() {
    let fanout = "fanout --streams 10 --rate 50 --events 100 --duration 10s --settle 100ms";
    let run = run(fanout, start(Fault::Stalls(20), Framing::Chunked));
    run.assert_clean();
    let at = |path: &str| run.at(&format!("/delivery/latency/{path}"));
    assert!((950.0..1300.0).contains(&at("max_ms")), "{}", run.text);
    assert!(at("p90_ms") > 700.0, "a tenth is late by more than 0.8 s: {}", run.text);
    assert!(at("p50_ms") < 300.0, "half is not late: {}", run.text);
    let publisher = run.at("/publishing/latency/p90_ms");
    assert!(publisher > 700.0, "the publisher's wait is counted the same way: {}", run.text);
}

#[test]
fn waiting_for_all_tells_when_the_last_has_it() {
    let fanout = "fanout --streams 10 --events 30 --warmup 0 --duration 10s --settle 100ms";
    let run = run(fanout, start(Fault::Stalls(20), Framing::Chunked));
    run.assert_clean();
    assert_eq!(run.at("/delivery/last_of_all/count"), 30.0);
    assert!((950.0..1300.0).contains(&run.at("/delivery/last_of_all/max_ms")), "{}", run.text);
    assert_eq!(run.at("/delivery/count"), 300.0);
}

#[test]
fn the_histograms_of_several_workers_make_one() {
    let fanout =
        "fanout --streams 30 --processes 3 --rate 50 --events 50 --duration 10s --settle 100ms";
    let run = run(fanout, start(Fault::Stalls(10), Framing::Chunked));
    run.assert_clean();
    assert_eq!(run.at("/client/processes"), 3.0);
    assert_eq!(run.at("/delivery/latency/count"), 1500.0);
    assert!((950.0..1300.0).contains(&run.at("/delivery/latency/max_ms")), "{}", run.text);
}
