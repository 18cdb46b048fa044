//! Every scenario with 2,000 streams against Fanfare itself, in its own ways and by its own
//! account.
//!
//! The program is `FANFARE_BIN`, or the one beside the tool's, which `cargo test --workspace` has
//! built.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::tool::{Served, run};

/// Where Fanfare is, or `None` where only this package is built.
fn program() -> Option<PathBuf> {
    #[expect(
        clippy::disallowed_methods,
        reason = "a test is told by its environment where the other program is"
    )]
    if let Some(given) = std::env::var_os("FANFARE_BIN") {
        let given = PathBuf::from(given);
        assert!(given.is_file(), "FANFARE_BIN={} is no file", given.display());
        return Some(given);
    }
    let beside = Path::new(env!("CARGO_BIN_EXE_loadtest")).with_file_name("fanfare");
    beside.is_file().then_some(beside)
}

fn fanfare() -> Option<Served> {
    let program = program()?;
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address: SocketAddr = listener.local_addr().expect("bound");
    drop(listener);
    let child = Command::new(program)
        // It refuses settings it does not know, and this one is ours.
        .env_remove("FANFARE_BIN")
        .env("FANFARE_ADDR", address.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("Fanfare starts");
    let mut served = Served { child, address };
    let until = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect_timeout(&address, Duration::from_millis(100)).is_err() {
        let ended = served.child.try_wait().expect("it was started");
        assert!(ended.is_none(), "Fanfare ended at its start: {ended:?}");
        assert!(Instant::now() < until, "Fanfare does not listen on {address}");
        std::thread::yield_now();
    }
    Some(served)
}

#[test]
fn every_scenario_finds_fanfare_in_order() {
    let Some(served) = fanfare() else {
        eprintln!("not run: no Fanfare beside the tool, and no FANFARE_BIN");
        return;
    };
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
    ];
    for scenario in scenarios {
        let streams = if scenario.contains("--streams") { "" } else { " --streams 2000" };
        let run = run(&format!("{scenario}{streams}"), served.address);
        run.assert_clean();
        let lagged = run.report["controls"].get("lagged");
        assert!(lagged.is_none() || scenario.starts_with("slow"), "{scenario}: {}", run.text);
    }
}

/// Memory per stream is what decides how many a node holds; what a node has without streams is left
/// out.
#[test]
fn an_idle_stream_costs_fanfare_little_memory() {
    for (subscribe, kib_max) in
        [("/events?topic={topic}", 1.25), ("/events?topic={topic}&topic=user-{stream}", 2.0)]
    {
        let Some(served) = fanfare() else {
            eprintln!("not run: no Fanfare beside the tool, and no FANFARE_BIN");
            return;
        };
        let run = run(
            &format!("hold --streams 4000 --duration 1s --subscribe {subscribe}"),
            served.address,
        );
        run.assert_clean();
        let kib = run.at("/server/memory_growth_per_stream") / 1024.0;
        assert!(0.1 < kib && kib <= kib_max, "{kib:.2} KiB each of {subscribe}\n{}", run.text);
    }
}
