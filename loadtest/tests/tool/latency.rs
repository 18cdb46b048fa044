//! Latency is measured from the schedule: a stall is charged for every event it delayed.

use crate::support::server::{Fault, Framing, start};
use crate::support::tool::run;

/// The server stalls for a second at event 20 of 100, at 50 events a second. A tool that waits for
/// a response before it sends the next event would measure one slow event in a hundred (coordinated
/// omission). On schedule, the 50 events that fall due meanwhile are late too, by up to a second.
#[test]
fn a_stall_delays_every_event_due_during_it() {
    let fanout = "fanout --streams 10 --rate 50 --events 100 --duration 10s --settle 100ms";
    let run = run(fanout, start(Fault::Stalls(20), Framing::Chunked));
    run.assert_clean();
    let at = |path: &str| run.at(&format!("/delivery/latency/{path}"));
    assert!((950.0..1300.0).contains(&at("max_ms")), "{}", run.text);
    assert!(at("p90_ms") > 700.0, "a tenth is late by more than 0.8 s: {}", run.text);
    assert!(at("p50_ms") < 300.0, "half is not late: {}", run.text);
    let publisher = run.at("/publishing/latency/p90_ms");
    assert!(publisher > 700.0, "the publisher's latency is measured the same way: {}", run.text);
}

#[test]
fn a_closed_loop_measures_the_arrival_at_the_last_stream() {
    let fanout = "fanout --streams 10 --events 30 --warmup 0 --duration 10s --settle 100ms";
    let run = run(fanout, start(Fault::Stalls(20), Framing::Chunked));
    run.assert_clean();
    assert_eq!(run.at("/delivery/last_of_all/count"), 30.0);
    assert!((950.0..1300.0).contains(&run.at("/delivery/last_of_all/max_ms")), "{}", run.text);
    assert_eq!(run.at("/delivery/count"), 300.0);
}

#[test]
fn the_histograms_of_several_workers_are_merged() {
    let fanout =
        "fanout --streams 30 --processes 3 --rate 50 --events 50 --duration 10s --settle 100ms";
    let run = run(fanout, start(Fault::Stalls(10), Framing::Chunked));
    run.assert_clean();
    assert_eq!(run.at("/client/processes"), 3.0);
    assert_eq!(run.at("/delivery/latency/count"), 1500.0);
    assert!((950.0..1300.0).contains(&run.at("/delivery/latency/max_ms")), "{}", run.text);
}
