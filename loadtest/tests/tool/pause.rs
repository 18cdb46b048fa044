//! `pause`: the server's process is stopped and continued.

use crate::support::server::{Fault, Framing, start};
use crate::support::tool::{baseline, output, run};

#[test]
fn a_stopped_server_is_continued_and_every_stream_accounted_for() {
    let served = baseline("write");
    let run = run("pause --streams 50 --rate 50 --duration 2s --pause 1s", served.address);
    run.assert_clean();
    assert!((1.0..2.0).contains(&run.at("/pause/seconds")), "{}", run.text);
    assert_eq!(run.at("/fates/watched"), 50.0, "{}", run.text);
    assert_eq!(run.at("/fates/stayed"), 50.0, "{}", run.text);
    assert!(run.at("/delivery/latency/max_ms") > 900.0, "events were late: {}", run.text);
    // Two seconds of events, and those that fell due while the server was stopped.
    assert!(run.at("/publishing/accepted") >= 148.0, "{}", run.text);
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", served.child.id()));
    let stat = stat.expect("the server runs");
    let state = stat.rsplit(')').next().unwrap_or_default().trim_start();
    assert!(!state.starts_with('T'), "the server is still stopped: {stat}");
}

/// The baseline closes streams that do not accept an event at once, as they can't when those of the
/// pause arrive together, and has no history.
#[test]
fn what_is_lost_in_silence_fails_the_run() {
    let served = baseline("write");
    let arguments = "pause --streams 20 --rate 100 --duration 2s --pause 1s --size 60000 \
        --pipeline 64 --receive-buffer 4096 --patience 1s";
    let run = run(arguments, served.address);
    assert_eq!(run.status, 1, "{}", run.text);
    assert!(run.text.contains("events are missing without an announcement"), "{}", run.text);
    assert!(run.at("/fates/ended") >= 1.0, "{}", run.text);
    assert!(run.at("/fates/missing_silently") >= 1.0, "{}", run.text);
    assert_eq!(run.at("/account/announced"), 0.0, "{}", run.text);
}

#[test]
fn a_server_that_cannot_be_stopped_is_refused_before_the_run() {
    // It runs in this process, which starts the tool.
    let server = start(Fault::None, Framing::Chunked);
    let output = output(&format!("pause --url http://{server} --streams 5 --quiet"));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("would stop this tool"), "{text}");
}
