//! Runs the tool and parses its report.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

pub(crate) struct Run {
    pub(crate) status: i32,
    pub(crate) report: Value,
    pub(crate) text: String,
}

impl Run {
    /// The value at `path`, such as `/account/missing`.
    pub(crate) fn at(&self, path: &str) -> f64 {
        let value = self.report.pointer(path).and_then(Value::as_f64);
        value.unwrap_or_else(|| panic!("no number at {path}:\n{}", self.text))
    }

    /// Asserts exit status 0 and an account without problems.
    pub(crate) fn assert_clean(&self) {
        assert_eq!(self.status, 0, "{}", self.text);
        for path in ["/account/missing", "/account/repeated", "/account/misrouted"] {
            assert_eq!(self.at(path), 0.0, "{path}:\n{}", self.text);
        }
    }
}

pub(crate) fn command() -> Command {
    Command::new(env!("CARGO_BIN_EXE_loadtest"))
}

/// Runs the tool with `arguments`, separated by blanks.
pub(crate) fn output(arguments: &str) -> Output {
    command().args(arguments.split(' ')).output().expect("the tool starts")
}

/// A unique path for a temporary file.
pub(crate) fn file(extension: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("{}-{number}.{extension}", std::process::id()))
}

/// Runs a scenario against `server` and parses its JSON report.
pub(crate) fn run(arguments: &str, server: SocketAddr) -> Run {
    let json = file("json");
    let output =
        output(&format!("{arguments} --url http://{server} --quiet --json {}", json.display()));
    let text = format!(
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let report = std::fs::read_to_string(&json).unwrap_or_else(|_| panic!("no report:\n{text}"));
    let report = serde_json::from_str(&report).expect("JSON");
    let _ = std::fs::remove_file(&json);
    Run { status: output.status.code().unwrap_or(-1), report, text }
}

/// A server process that is killed when dropped.
pub(crate) struct Served {
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts the baseline on a free port.
pub(crate) fn baseline(io: &str) -> Served {
    let mut child = command()
        .args(["baseline", "--listen", "127.0.0.1:0", "--io", io])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the tool starts");
    let mut line = String::new();
    let stdout = child.stdout.take().expect("piped");
    BufReader::new(stdout).read_line(&mut line).expect("a line");
    let address =
        line.split("http://").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok());
    Served { child, address: address.unwrap_or_else(|| panic!("no address in {line:?}")) }
}

/// Waits until a stream of the test has received ten events: the run is then under way.
pub(crate) fn wait_for_arrivals(server: SocketAddr) {
    let mut stream = TcpStream::connect(server).expect("the server listens");
    stream.write_all(b"GET /events?topic=loadtest HTTP/1.1\r\n\r\n").expect("the server reads");
    let mut received = Vec::new();
    let mut chunk = [0; 4096];
    while received.windows(5).filter(|w| w == b"data:").count() < 10 {
        let len = stream.read(&mut chunk).expect("the server writes");
        assert!(len > 0, "the stream ended");
        received.extend_from_slice(&chunk[..len]);
    }
}
