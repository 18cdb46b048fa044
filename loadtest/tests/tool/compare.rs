//! Comparisons: servers are started, measured in turn, and stopped.

use crate::support::tool::{file, output};

#[test]
fn servers_are_compared_in_rounds_and_stopped() {
    let json = file("json");
    let arguments = format!(
        "compare fanout --with baseline,uring --rounds 2 --streams 100 --events 10 \
        --settle 100ms --quiet --json {}",
        json.display()
    );
    let output = output(&arguments);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    assert!(text.contains("cpu per delivery"), "{text}");
    let json = std::fs::read_to_string(&json).expect("a report");
    let report: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let rounds = report["reports"].as_array().expect("rounds");
    assert_eq!(rounds.len(), 2);
    for run in rounds.iter().flat_map(|round| round.as_array().expect("servers")) {
        assert_eq!(run["account"]["missing"], 0);
        let pid = run["server"]["pid"].as_u64().expect("a process");
        assert!(
            !std::fs::exists(format!("/proc/{pid}")).unwrap_or(false),
            "{pid} is still running"
        );
    }
}

#[test]
fn a_peer_that_ends_at_its_start_is_reported_with_its_last_output() {
    let peer = file("toml");
    let file_text = "name = \"broken\"\n\
        command = [\"sh\", \"-c\", \"echo no licence for {port} >&2; exit 3\"]\n";
    std::fs::write(&peer, file_text).expect("a file");
    let output = output(&format!("compare fanout --with {} --quiet", peer.display()));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("broken ended at its start") && text.contains("no licence for"),
        "{text}"
    );
}
