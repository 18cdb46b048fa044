//! Every scenario against the baseline, or against the test server where history is needed.

use crate::support::server::{Fault, Framing, start};
use crate::support::tool::{baseline, file, output, run};

#[test]
fn hold_measures_the_cost_of_an_idle_stream() {
    let served = baseline("write");
    let run = run("hold --streams 500 --duration 500ms", served.address);
    run.assert_clean();
    assert_eq!(run.at("/opening/streams"), 500.0);
    assert_eq!(run.at("/server/pid"), f64::from(served.child.id()), "found by its port");
    assert!(run.at("/server/memory_per_stream") > 0.0);
    let growth = format!("{:.2} KiB growth", run.at("/server/memory_growth_per_stream") / 1024.0);
    assert!(run.text.contains(&growth), "growth comes first: {}", run.text);
    assert!(run.at("/server/cpu_per_opening_us") > 0.0);
}

#[test]
fn the_baseline_delivers_everything_with_either_io() {
    for io in ["write", "uring"] {
        let served = baseline(io);
        let run = run("fanout --streams 500 --events 20 --duration 10s", served.address);
        run.assert_clean();
        assert_eq!(run.at("/account/received"), 500.0 * 22.0, "20 events and the warm-up");
        assert_eq!(run.at("/delivery/count"), 500.0 * 20.0);
        assert!(run.at("/server/cpu_per_delivery_us") > 0.0);
    }
}

#[test]
fn bursts_are_delivered_completely() {
    let served = baseline("write");
    let run = run("burst --streams 200 --events 50 --bursts 3", served.address);
    run.assert_clean();
    assert_eq!(run.at("/account/received"), 200.0 * 50.0 * 4.0, "3 bursts and the warm-up");
    assert_eq!(run.report["delivery"]["bursts_per_s"].as_array().map(Vec::len), Some(3));
}

#[test]
fn topics_reach_their_own_streams() {
    let served = baseline("write");
    let run = run("topics --streams 300 --topics 100 --rate 1000 --duration 1s", served.address);
    run.assert_clean();
    let published = run.at("/publishing/sent");
    assert!((990.0..1010.0).contains(&published), "{}", run.text);
    assert_eq!(run.at("/account/received"), published * 3.0);
}

#[test]
fn churned_streams_expect_what_is_due_after_they_opened() {
    let served = baseline("write");
    let run = run("churn --streams 200 --rate 50 --churn 300 --duration 2s", served.address);
    run.assert_clean();
    assert!(run.at("/left") > 400.0, "{}", run.text);
    assert!(run.at("/account/received") > 15_000.0, "{}", run.text);
}

#[test]
fn churn_against_a_lossy_server_fails() {
    let server = start(Fault::Loses(10), Framing::Chunked);
    let run = run("churn --streams 20 --rate 50 --churn 20 --duration 2s --patience 1s", server);
    assert_eq!(run.status, 1, "{}", run.text);
    assert!(run.at("/account/missing") > 100.0, "{}", run.text);
}

#[test]
fn a_storm_resumes_exactly_once() {
    let server = start(Fault::None, Framing::Chunked);
    let run = run("storm --streams 100 --storms 2 --rate 50 --duration 2s", server);
    run.assert_clean();
    assert_eq!(run.at("/account/received"), 100.0 * run.at("/publishing/sent"));
    assert_eq!(run.report["storms"].as_array().map(Vec::len), Some(2));
    assert_eq!(run.at("/opening/opened"), 300.0);
}

/// The streams are gone for much less than the interval of the time series.
#[test]
fn the_drop_of_a_storm_is_in_the_time_series() {
    let server = start(Fault::None, Framing::Chunked);
    let run = run("storm --streams 100 --rate 50 --duration 3s --tick 1s", server);
    run.assert_clean();
    let series = run.report["series"].as_array().expect("points");
    let dropped = |point: &&serde_json::Value| {
        point["streams"] == 100 && point["streams_min"].as_u64() < Some(100)
    };
    let opened = series.iter().skip_while(|point| point["streams_min"] != 100);
    assert_eq!(opened.filter(dropped).count(), 1, "{series:?}");
}

#[test]
fn streams_recover_from_a_storm_when_they_have_received_what_they_missed() {
    let server = start(Fault::None, Framing::Chunked);
    let run = run("storm --streams 50 --rate 50 --duration 3s --away 1s", server);
    run.assert_clean();
    assert_eq!(run.at("/account/received"), 50.0 * run.at("/publishing/sent"));
    let (back, whole) = (run.at("/storms/0/back_ms"), run.at("/storms/0/whole_ms"));
    assert!(0.0 < back && back <= whole, "{}", run.text);
    assert!(
        run.at("/delivery/latency/max_ms") > 900.0,
        "what they missed arrived late: {}",
        run.text
    );
}

/// The baseline has no history: events published while the streams were disconnected are lost.
#[test]
fn a_storm_against_a_server_without_history_fails() {
    let served = baseline("write");
    let run = run(
        "storm --streams 300 --rate 500 --duration 2s --patience 1s --ramp 600",
        served.address,
    );
    assert_eq!(run.status, 1, "{}", run.text);
    assert!(run.at("/account/missing") > 0.0, "{}", run.text);
    assert!(run.at("/storms/0/back_ms") > 0.0, "{}", run.text);
    assert!(run.report["storms"][0]["whole_ms"].is_null(), "{}", run.text);
}

#[test]
fn slow_streams_have_an_account_of_their_own() {
    let served = baseline("write");
    let run = run("slow --streams 100 --slow-share 0.2 --rate 50 --duration 1s", served.address);
    run.assert_clean();
    assert_eq!(run.at("/slow/streams"), 20.0);
    assert_eq!(run.at("/slow/account/received"), 0.0);
    assert_eq!(run.at("/account/received"), 80.0 * run.at("/publishing/sent"));
}

#[test]
fn slow_streams_receive_what_they_read() {
    let served = baseline("write");
    let arguments =
        "slow --streams 20 --slow-share 0.5 --slow-read 3000 --rate 50 --duration 2s --size 200";
    let run = run(arguments, served.address);
    run.assert_clean();
    let received = run.at("/slow/account/received");
    assert!(received > 50.0 && received < 10.0 * run.at("/publishing/sent"), "{}", run.text);
}

#[test]
fn publish_counts_answers_by_status() {
    let served = baseline("write");
    let run = run("publish --connections 8 --duration 500ms", served.address);
    run.assert_clean();
    assert_eq!(run.at("/publishing/accepted"), run.at("/publishing/sent"));
    assert_eq!(run.at("/publishing/answers/200"), run.at("/publishing/sent"));
    assert!(run.at("/server/cpu_per_publish_us") > 0.0);
}

#[test]
fn a_scenario_can_be_read_from_a_file() {
    let path = file("toml");
    let text =
        "name = \"mine\"\npace = \"rate\"\nrate = 100.0\nevents = 10\nstreams = 5\nsize = 100\n";
    std::fs::write(&path, text).expect("a file");
    let served = baseline("write");
    let run = run(&format!("run {} --streams 7", path.display()), served.address);
    run.assert_clean();
    assert_eq!(run.report["scenario"]["name"], "mine");
    assert_eq!(run.at("/account/received"), 70.0, "the option wins over the file");
}

#[test]
fn the_page_is_self_contained() {
    let (page, served) = (file("html"), baseline("write"));
    let arguments = format!(
        "fanout --streams 50 --rate 50 --duration 2s --tick 100ms --quiet --url http://{} \
        --html {}",
        served.address,
        page.display()
    );
    assert!(output(&arguments).status.success());
    let html = std::fs::read_to_string(&page).expect("a page");
    assert!(html.matches("<svg").count() >= 5, "the plots are inline");
    for outside in ["<script", "<link", "<img", "@import", "src="] {
        assert!(!html.contains(outside), "{outside} refers to another file");
    }
    let began = html.split("began <time>").nth(1).and_then(|rest| rest.split("</time>").next());
    let began = began.expect("a start");
    assert!(began.starts_with("20") && began.ends_with('Z') && began.contains('T'), "{began}");
    assert!(html.contains("50 streams, 1 topic, "), "{html}");
    assert!(
        html.contains("prefers-color-scheme: dark") && html.contains("@media (max-width"),
        "{html}"
    );
}

/// Ensures that the plots show the run, not the wait after it.
///
/// Scenario: events are lost, and the run waits for them for four seconds.
///
/// Cause: the plots reached until the end of the run.
///
/// Fix: they reach until the end of the measurement.
#[test]
fn a_wait_for_missing_events_does_not_squeeze_the_plots() {
    let (page, server) = (file("html"), start(Fault::Loses(10), Framing::Chunked));
    let arguments = format!(
        "fanout --streams 5 --rate 50 --duration 2s --patience 4s --tick 100ms --quiet \
        --url http://{server} --html {}",
        page.display()
    );
    assert_eq!(output(&arguments).status.code(), Some(1));
    let html = std::fs::read_to_string(&page).expect("a page");
    let plot = html.split("<figcaption>Deliveries").nth(1).expect("a plot");
    let plot = plot.split("</figure>").next().expect("its end");
    // About 27 ticks until the last delivery, and 40 more of waiting.
    let points = plot.matches("<circle").count();
    assert!((20..40).contains(&points), "{points} points");
}

/// The server is killed and not restarted: the run ends, and its account is complete.
#[test]
fn a_server_killed_during_a_run_ends_in_a_complete_account() {
    let mut served = baseline("write");
    let address = served.address;
    let killer = std::thread::spawn(move || {
        crate::support::tool::wait_for_arrivals(address);
        served.child.kill().expect("the server runs");
        served.child.wait().expect("the server was started");
    });
    let run = run("fanout --streams 50 --rate 50 --duration 2s --patience 1s", address);
    killer.join().expect("events arrived");
    assert_eq!(run.status, 1, "{}", run.text);
    let refused = run.at("/publishing/answers/could not connect");
    assert!(refused > 0.0 && run.text.contains("behind its schedule"), "{}", run.text);
    // It may be killed between two writes of an event: some streams have then received it.
    let accepted = run.at("/publishing/accepted");
    assert!(accepted >= 9.0, "{}", run.text);
    assert!(run.at("/account/received") >= 50.0 * (accepted - 1.0), "{}", run.text);
    // The event in flight has no response, so it is not expected, but some may have received it.
    let accounted = run.at("/account/received") + run.at("/account/missing");
    assert!((50.0 * accepted..=50.0 * (accepted + 1.0)).contains(&accounted), "{}", run.text);
    assert_eq!(
        run.at("/causes/open: ended by the server") + run.at("/opening/streams_at_end"),
        50.0,
        "{}",
        run.text
    );
}
