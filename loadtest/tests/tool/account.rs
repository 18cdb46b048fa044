//! The account: a server that loses, repeats, reorders or misroutes events fails the run, and a
//! correct one does not.

use crate::support::server::{Fault, Framing, start};
use crate::support::tool::run;

/// 40 events at 100/s to 20 streams.
const FANOUT: &str =
    "fanout --streams 20 --rate 100 --events 40 --duration 5s --patience 1s --settle 100ms";

#[test]
fn a_correct_server_passes_with_any_framing() {
    for framing in [Framing::Chunked, Framing::OddChunks, Framing::UntilClose] {
        let run = run(FANOUT, start(Fault::None, framing));
        run.assert_clean();
        assert_eq!(run.at("/account/expected"), 800.0, "{framing:?}");
        assert_eq!(run.at("/account/received"), 800.0, "{framing:?}");
        assert_eq!(run.at("/account/out_of_order"), 0.0, "{framing:?}");
    }
}

#[test]
fn lost_events_are_counted_and_fail_the_run() {
    let run = run(FANOUT, start(Fault::Loses(10), Framing::Chunked));
    assert_eq!(run.status, 1);
    assert_eq!(run.at("/account/missing"), 80.0, "{}", run.text);
    assert_eq!(run.at("/account/received"), 720.0);
    assert!(run.text.contains("80 events are missing"), "{}", run.text);
}

#[test]
fn repeated_events_are_counted_and_fail_the_run() {
    let run = run(FANOUT, start(Fault::Repeats(8), Framing::Chunked));
    assert_eq!(run.status, 1);
    assert_eq!(run.at("/account/repeated"), 100.0, "{}", run.text);
    assert_eq!(run.at("/account/missing"), 0.0);
    assert_eq!(run.at("/account/received"), 800.0);
}

#[test]
fn reordered_events_are_counted_but_not_missing() {
    let run = run(FANOUT, start(Fault::Reorders(7), Framing::Chunked));
    assert_eq!(run.status, 0, "{}", run.text);
    // Events 7, 14, 21, 28 and 35 come after their successors.
    assert_eq!(run.at("/account/out_of_order"), 100.0, "{}", run.text);
    assert_eq!(run.at("/account/received"), 800.0);
}

#[test]
fn misrouted_events_are_counted_and_fail_the_run() {
    let topics =
        "topics --streams 20 --topics 5 --rate 100 --events 40 --duration 5s --patience 1s";
    let run = run(topics, start(Fault::Misroutes, Framing::Chunked));
    assert_eq!(run.status, 1, "{}", run.text);
    // Sent to all five topics instead of one; each has four streams.
    assert_eq!(run.at("/account/misrouted"), 16.0, "{}", run.text);
    assert_eq!(run.at("/account/missing"), 0.0, "{}", run.text);
}

#[test]
fn rejected_publishes_are_counted_and_not_expected() {
    let run = run(FANOUT, start(Fault::RefusesPublish(4), Framing::Chunked));
    run.assert_clean();
    assert_eq!(run.at("/publishing/answers/503"), 10.0);
    assert_eq!(run.at("/publishing/answers/200"), 30.0);
    assert_eq!(run.at("/account/expected"), 600.0);
}

#[test]
fn refused_streams_are_counted_by_cause_and_retried() {
    let arguments = format!("{FANOUT} --retry-delay 50ms");
    let run = run(&arguments, start(Fault::Refuses, Framing::Chunked));
    run.assert_clean();
    assert_eq!(run.at("/opening/streams"), 20.0);
    assert!(run.at("/causes/opening: status 503") >= 10.0, "{}", run.text);
}

#[test]
fn refused_streams_that_are_not_retried_fail_the_run() {
    let arguments = format!("{FANOUT} --retry false");
    let run = run(&arguments, start(Fault::Refuses, Framing::Chunked));
    assert_eq!(run.status, 1);
    assert_eq!(run.at("/opening/streams"), 10.0);
    assert!(run.text.contains("only 10 of 20 streams"), "{}", run.text);
}

/// The connection is closed inside an event whose `id:` comes first: only complete events may move
/// the last event id.
#[test]
fn a_stream_cut_inside_an_event_resumes_exactly_once() {
    for framing in [Framing::Chunked, Framing::OddChunks, Framing::UntilClose] {
        let fanout = FANOUT.replace("--events 40", "--events 60");
        let arguments = format!("{fanout} --resume true --retry-delay 20ms");
        let run = run(&arguments, start(Fault::Cuts(16), framing));
        run.assert_clean();
        assert_eq!(run.at("/account/received"), 1200.0, "{framing:?}: {}", run.text);
        assert_eq!(run.at("/causes/open: ended by the server"), 60.0, "{framing:?}: {}", run.text);
    }
}

#[test]
fn without_resume_the_events_of_a_cut_are_missing() {
    let arguments = format!("{FANOUT} --resume false --retry-delay 20ms");
    let run = run(&arguments, start(Fault::Cuts(12), Framing::Chunked));
    assert_eq!(run.status, 1);
    assert!(run.at("/account/missing") >= 60.0, "{}", run.text);
}
