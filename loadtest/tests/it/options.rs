//! What people type: bad options are one clear line and exit 2; an interrupt still gives a report.

use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::tool::{baseline, command, file, output, wait_for_arrivals};

#[test]
fn a_bad_option_is_one_line_and_exit_two() {
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
    for (arguments, wanted) in cases {
        let output = output(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments}: {said}");
        assert_eq!(said.trim_end().lines().count(), 1, "{arguments}: {said}");
        assert!(said.contains(wanted), "{arguments}: {said}");
    }
}

#[test]
fn a_server_that_is_not_there_is_said_and_exit_one() {
    let output = output("fanout --url http://127.0.0.1:1 --streams 3 --retry false --quiet");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("3 × opening: connection refused"), "{said}");
}

#[test]
fn an_interrupt_ends_early_with_a_report_of_what_was_measured() {
    let (json, served) = (file("json"), baseline("write"));
    let url = format!("http://{}", served.address);
    let child = command()
        .args([
            "fanout",
            "--streams",
            "50",
            "--rate",
            "100",
            "--duration",
            "600s",
            "--quiet",
            "--url",
            &url,
        ])
        .arg("--json")
        .arg(&json)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the tool starts");
    wait_for_arrivals(served.address);
    let pid = Pid::from_raw(child.id() as i32).expect("a process");
    kill_process(pid, Signal::INT).expect("it lives");
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("early, by hand"), "{said}");
    let report = std::fs::read_to_string(&json).expect("a report");
    let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
    assert_eq!(report["interrupted"], true);
    assert_eq!(report["account"]["missing"], 0, "{said}");
    assert!(report["account"]["received"].as_u64() > Some(0), "{said}");
}
