//! The command line: an invalid option is one line and exit status 2; an interrupted run still
//! writes its report.

use std::net::TcpListener;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::tool::{baseline, command, file, output, wait_for_arrivals};

#[test]
fn an_invalid_option_is_one_line_and_exit_status_two() {
    let cases = [
        ("fanout --strems 5", "--strems"),
        ("fanout --streams many", "many"),
        ("fanout --duration soon", "soon"),
        ("fanout --size 10", "--size must be at least 45"),
        ("fanout --url https://127.0.0.1", "only http://"),
        ("fanout --url http://127.0.0.1:1/events", "--subscribe"),
        ("fanout --pid 4294967", "no such process"),
        ("run /nowhere.toml", "/nowhere.toml"),
        ("fanout --topics 5", "--pace rate"),
        ("fair --storms 1", "--small-streams excludes"),
        ("fair --events 5", "--duration instead of --events"),
        ("fair --alternate 10ms", "--alternate must be 0s, or at least 100ms"),
        ("hold --probe 1s", "--probe needs"),
        ("selectors --pace rate", "--pace each"),
        ("selectors --alternate 0s", "--topics-per-stream needs --alternate"),
        ("pause --pace each --pause 1s", "--pause needs --pace rate"),
        ("publish --streams 5 --connections 300", "--connections must be at most 256"),
        ("nonsense", "nonsense"),
        ("compare fanout --with /nowhere.toml", "/nowhere.toml"),
        ("baseline --listen here", "here"),
    ];
    for (arguments, expected) in cases {
        let output = output(arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments}: {text}");
        assert_eq!(text.trim_end().lines().count(), 1, "{arguments}: {text}");
        assert!(text.contains(expected), "{arguments}: {text}");
    }
}

/// Ensures that a mistyped port is told at once.
///
/// Scenario: nothing listens on the port, and streams are retried, as they are by default.
///
/// Cause: refused connects are retried like those of a server that is overloaded.
///
/// Fix: before a run, the port is tried for a second.
#[test]
fn a_closed_port_fails_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    drop(listener);
    let began = Instant::now();
    let output = output(&format!("fanout --url http://{address} --streams 3 --quiet"));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains(&format!("nothing listens on {address}")), "{text}");
    assert_eq!(text.trim_end().lines().count(), 1, "{text}");
    assert!(began.elapsed() < Duration::from_secs(15), "after {:?}", began.elapsed());
}

/// Ensures that a run is not lost because its report can't be written.
///
/// Scenario: the directory of the report does not exist.
///
/// Cause: the file was first opened after the run.
///
/// Fix: it is opened before the run, too.
#[test]
fn a_report_that_cannot_be_written_is_found_before_the_run() {
    let served = baseline("write");
    for option in ["--json", "--html"] {
        let arguments = format!("fanout --url http://{} {option} /nowhere/report", served.address);
        let output = output(&arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains("can't write the report to /nowhere/report"), "{text}");
        assert!(output.stdout.is_empty(), "nothing was measured");
    }
    let compared = output("compare fanout --with baseline --json /nowhere/report");
    assert_eq!(compared.status.code(), Some(2));
}

#[test]
fn an_interrupted_run_reports_what_was_measured() {
    let (json, served) = (file("json"), baseline("write"));
    let url = format!("http://{}", served.address);
    let child = command()
        .args("fanout --streams 50 --rate 100 --duration 600s --quiet --url".split(' '))
        .arg(url)
        .arg("--json")
        .arg(&json)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the tool starts");
    wait_for_arrivals(served.address);
    let pid = Pid::from_raw(child.id() as i32).expect("a process");
    kill_process(pid, Signal::INT).expect("the tool runs");
    let output = child.wait_with_output().expect("the tool ends");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("the run was ended early"), "{text}");
    let report = std::fs::read_to_string(&json).expect("a report");
    let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
    assert_eq!(report["interrupted"], true);
    assert_eq!(report["account"]["missing"], 0, "{text}");
    assert!(report["account"]["received"].as_u64() > Some(0), "{text}");
}
