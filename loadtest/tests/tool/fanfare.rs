//! Every scenario with 2,000 streams against Fanfare itself.
//!
//! The executable is `LOADTEST_FANFARE`, or the one beside the tool's, which
//! `cargo test --workspace` builds.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::tool::{Served, run};

/// Fanfare's executable; `None` if only this package was built.
fn executable() -> Option<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "the executable is passed in the environment")]
    if let Some(given) = std::env::var_os("LOADTEST_FANFARE") {
        let given = PathBuf::from(given);
        assert!(given.is_file(), "LOADTEST_FANFARE={} is no file", given.display());
        return Some(given);
    }
    let beside = Path::new(env!("CARGO_BIN_EXE_loadtest")).with_file_name("fanfare");
    beside.is_file().then_some(beside)
}

fn fanfare() -> Option<Served> {
    let Some(executable) = executable() else {
        eprintln!("not run: no fanfare beside the tool, and no LOADTEST_FANFARE");
        return None;
    };
    let mut child = Command::new(executable)
        .env("FANFARE_ADDR", "127.0.0.1:0")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("Fanfare starts");
    let mut log = BufReader::new(child.stderr.take().expect("piped")).lines().map_while(Result::ok);
    let address = log.find_map(|line| {
        let (_, url) = line.split_once("listening on http://")?;
        url.split_whitespace().next()?.parse().ok()
    });
    // Read to the end, so that Fanfare never blocks on a full pipe.
    std::thread::spawn(move || log.for_each(drop));
    Some(Served { child, address: address.expect("Fanfare logs its address") })
}

#[test]
fn every_scenario_passes_against_fanfare() {
    let Some(served) = fanfare() else { return };
    let scenarios = [
        "hold --duration 1s",
        "fanout --duration 2s",
        "fanout --rate 20 --duration 2s",
        "burst --bursts 2",
        "topics --rate 1000 --duration 2s",
        "churn --duration 3s",
        "storm --duration 3s",
        "slow --rate 10 --duration 3s",
        "publish --duration 2s --streams 0",
        "publish --duration 2s --streams 50 --connections 64",
        "fair --duration 3s --alternate 500ms --rate 100",
        "fair --duration 3s --alternate 500ms --pace each --large-topics 5",
        "fair --duration 2s --alternate 500ms --rate 300 --connections 3",
        "selectors --streams 500 --duration 2s --alternate 200ms",
        "selectors --streams 500 --duration 2s --alternate 200ms --event-in all",
        "pause --duration 3s --pause 2s",
    ];
    for scenario in scenarios {
        let streams = if scenario.contains("--streams") { "" } else { " --streams 2000" };
        let run = run(&format!("{scenario}{streams}"), served.address);
        assert_eq!(run.status, 0, "{scenario}: {}", run.text);
        assert_eq!(run.at("/account/missing"), run.at("/account/announced"), "{}", run.text);
        assert_eq!(run.at("/account/out_of_order"), 0.0, "{scenario}: {}", run.text);
        let lagged = run.report["controls"].get("lagged");
        let may_lag = ["slow", "publish", "fair"].iter().any(|name| scenario.starts_with(name));
        assert!(lagged.is_none() || may_lag, "{scenario}: {}", run.text);
    }
}

/// Memory per stream decides how many streams a node holds; the memory of an idle node is excluded.
#[test]
fn an_idle_stream_of_fanfare_takes_little_memory() {
    for (subscribe, kib_max) in
        [("/events?topic={topic}", 1.25), ("/events?topic={topic}&topic=user-{stream}", 2.0)]
    {
        let Some(served) = fanfare() else { return };
        let run = run(
            &format!("hold --streams 4000 --duration 1s --subscribe {subscribe}"),
            served.address,
        );
        run.assert_clean();
        let kib = run.at("/server/memory_growth_per_stream") / 1024.0;
        assert!(
            0.1 < kib && kib <= kib_max,
            "{kib:.2} KiB per stream of {subscribe}\n{}",
            run.text
        );
    }
}
