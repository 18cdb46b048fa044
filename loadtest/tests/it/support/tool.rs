//! Runs the tool and reads its report.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

/// What a run gave.
pub struct Run {
    pub status: i32,
    pub report: Value,
    pub text: String,
}

impl Run {
    /// The value at `path`, such as `/account/missing`.
    pub fn at(&self, path: &str) -> f64 {
        let value = self.report.pointer(path).and_then(Value::as_f64);
        value.unwrap_or_else(|| panic!("no number at {path}:\n{}", self.text))
    }

    /// Asserts that nothing is wrong.
    pub fn assert_clean(&self) {
        assert_eq!(self.status, 0, "{}", self.text);
        for path in ["/account/missing", "/account/repeated", "/account/misrouted"] {
            assert_eq!(self.at(path), 0.0, "{path}:\n{}", self.text);
        }
    }
}

pub fn command() -> Command {
    Command::new(env!("CARGO_BIN_EXE_loadtest"))
}

/// Runs with these arguments, separated by blanks.
pub fn output(arguments: &str) -> Output {
    command().args(arguments.split(' ')).output().expect("the tool starts")
}

/// A file of this test alone.
pub fn file(extension: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("{}-{number}.{extension}", std::process::id()))
}

/// Runs a scenario against `server` and reads its JSON.
pub fn run(arguments: &str, server: SocketAddr) -> Run {
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

/// A server process that ends with its test.
pub struct Served {
    pub child: Child,
    pub address: SocketAddr,
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The baseline on a port of its own.
pub fn baseline(io: &str) -> Served {
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
    Served { child, address: address.unwrap_or_else(|| panic!("it said {line:?}")) }
}

/// Until a stream of our own has had an event of the run's: then the run is well under way.
pub fn wait_for_arrivals(server: SocketAddr) {
    let mut stream = TcpStream::connect(server).expect("it listens");
    stream.write_all(b"GET /events?topic=loadtest HTTP/1.1\r\n\r\n").expect("it reads");
    let mut had = Vec::new();
    let mut chunk = [0; 4096];
    while had.windows(5).filter(|w| w == b"data:").count() < 10 {
        let len = stream.read(&mut chunk).expect("it writes");
        assert!(len > 0, "the stream ended");
        had.extend_from_slice(&chunk[..len]);
    }
}
