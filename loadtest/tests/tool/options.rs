//! The command line: an invalid option is one line and exit status 2; an interrupted run still
//! writes its report.

use std::process::Stdio;

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

#[test]
fn an_unreachable_server_is_reported_with_exit_status_one() {
    let output = output("fanout --url http://127.0.0.1:1 --streams 3 --retry false --quiet");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("3 × opening: connection refused"), "{text}");
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
