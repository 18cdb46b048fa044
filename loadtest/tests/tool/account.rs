//! The account: a server that loses, repeats, reorders or misroutes events fails the run, and a
//! correct one does not.

use crate::support::server::{Fault, Framing, start};
use crate::support::tool::run;

/// 400 events to 20 streams, as fast as eight connections can.
const RACING: &str = "fanout --streams 20 --rate 0 --pace rate --events 400 --connections 8 \
    --duration 20s --patience 2s --settle 100ms";

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

/// Ensures that a server's order is not called wrong because of the order in which the tool sends.
///
/// Scenario: eight connections publish as fast as they can, and every third event is overtaken by
/// one of another connection.
///
/// Cause: events were numbered over all connections, in the order in which they were sent.
///
/// Fix: each connection numbers its own events, whose order the server does keep.
#[test]
fn events_of_racing_connections_are_neither_missing_nor_out_of_order() {
    let run = run(RACING, start(Fault::Overtakes(3), Framing::Chunked));
    run.assert_clean();
    assert_eq!(run.at("/account/received"), 8000.0, "{}", run.text);
    assert_eq!(run.at("/account/out_of_order"), 0.0, "{}", run.text);
}

/// The test server's ids are the order in which it took the events.
#[test]
fn a_server_that_reorders_the_events_of_several_connections_is_found_out() {
    let run = run(RACING, start(Fault::Reorders(7), Framing::Chunked));
    run.assert_clean();
    assert!(run.at("/account/out_of_order") >= 1000.0, "{}", run.text);
}

#[test]
fn events_that_one_of_several_connections_loses_are_missing() {
    let run = run(RACING, start(Fault::Loses(10), Framing::Chunked));
    assert_eq!(run.status, 1, "{}", run.text);
    assert_eq!(run.at("/account/missing"), 800.0, "{}", run.text);
    assert_eq!(run.at("/account/announced"), 0.0, "{}", run.text);
}

#[test]
fn announced_losses_are_told_from_silent_ones() {
    let server = start(Fault::Announces(16), Framing::Chunked);
    let strict = run(FANOUT, server);
    assert_eq!(strict.status, 1, "{}", strict.text);
    assert_eq!(strict.at("/account/missing"), 40.0, "{}", strict.text);
    assert_eq!(strict.at("/account/announced"), 40.0, "{}", strict.text);
    assert_eq!(strict.at("/fates/reset"), 20.0, "{}", strict.text);
    let tolerant = format!("{FANOUT} --announced-losses true");
    let announced = run(&tolerant, start(Fault::Announces(16), Framing::Chunked));
    assert_eq!(announced.status, 0, "{}", announced.text);
    assert_eq!(announced.at("/fates/missing_announced"), 20.0, "{}", announced.text);
    let silent = run(&tolerant, start(Fault::Loses(10), Framing::Chunked));
    assert_eq!(silent.status, 1, "{}", silent.text);
    assert_eq!(silent.at("/fates/missing_silently"), 20.0, "{}", silent.text);
    assert!(
        silent.text.contains("80 events are missing without an announcement"),
        "{}",
        silent.text
    );
}

/// `lagged` excuses nothing if the stream resumes: the server has said where it stopped.
#[test]
fn lagged_streams_are_in_the_headline_and_resume_completely() {
    let fanout = FANOUT.replace("--events 40", "--events 60");
    let arguments = format!("{fanout} --retry-delay 20ms --announced-losses true --resume");
    let run_with = |resume: &str| {
        run(&format!("{arguments} {resume}"), start(Fault::Lags(20), Framing::Chunked))
    };
    let resumed = run_with("true");
    resumed.assert_clean();
    assert_eq!(resumed.at("/account/received"), 1200.0, "{}", resumed.text);
    assert_eq!(resumed.at("/fates/lagged"), 20.0, "{}", resumed.text);
    let headline = resumed.text.lines().nth(1).unwrap_or_default();
    assert!(headline.contains("20 lagged") && headline.contains("20 reconnected"), "{headline}");
    let lost = run_with("false");
    assert_eq!(lost.status, 0, "{}", lost.text);
    assert!(lost.at("/account/announced") >= 60.0, "{}", lost.text);
    assert_eq!(lost.at("/account/announced"), lost.at("/account/missing"), "{}", lost.text);
}

/// Ensures that processor shares are those of the work, not of the wait.
///
/// Scenario: events are lost, and the run waits for them for as long as its patience lasts.
///
/// Cause: the measurement ended after that wait, and averaged over it.
///
/// Fix: it ends with the last delivery or response.
#[test]
fn a_wait_for_missing_events_is_not_measured() {
    let at_a_rate = FANOUT.replace("--patience 1s", "--patience 4s");
    let closed_loop = at_a_rate.replace("--rate 100", "--pace each");
    for fanout in [at_a_rate, closed_loop] {
        let run = run(&fanout, start(Fault::Loses(10), Framing::Chunked));
        assert_eq!(run.status, 1, "{}", run.text);
        let series = run.report["series"].as_array().expect("points");
        let last = series.last().and_then(|point| point["at_s"].as_f64()).expect("a point");
        let measured = run.at("/measured_s");
        assert!(measured + 2.0 < last, "{fanout}: {measured} of {last} s");
    }
}
