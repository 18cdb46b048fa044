//! The program as a user runs it: a process of its own, settings from the environment, lines on its
//! standard error. And what can be seen of it from outside.

use std::io::{BufRead, BufReader, Read as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::subscriber::Ask;
use crate::support::{Connection, Request, Stream, io, within};

/// How often [`eventually`] looks: a node that is asked all the time has no time for what is waited
/// for.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// Requests that are sent before their answers are read: so few that neither side's buffers can
/// fill up.
const PIPELINED: usize = 100;

/// How the program is to be started; nothing of the tests' own environment reaches it.
pub struct Fanfare {
    command: Command,
}

/// The program, running. Killed when dropped.
pub struct Process {
    child: Child,
    said: watch::Receiver<Said>,
    addr: Option<SocketAddr>,
}

/// What it wrote to its standard error.
#[derive(Default)]
struct Said {
    lines: Vec<String>,
    ended: bool,
}

/// How it ended.
pub struct Ended {
    /// Its exit code, unless a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub out: String,
    /// The lines of its standard error.
    pub errors: Vec<String>,
}

impl Fanfare {
    /// With nothing set but a free port.
    pub fn new() -> Self {
        Self::from(Command::new(env!("CARGO_BIN_EXE_fanfare")))
    }

    /// The same, from a shell that has done `preparation`, such as `ulimit -n 256`.
    pub fn after(preparation: &str) -> Self {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", &format!("{preparation} && exec \"$0\""), env!("CARGO_BIN_EXE_fanfare")]);
        Self::from(shell)
    }

    fn from(mut command: Command) -> Self {
        command.env_clear().env("FANFARE_ADDR", "127.0.0.1:0").env("FANFARE_IO", io().to_string());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self { command }
    }

    /// With a variable of the environment.
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// With an argument.
    pub fn arg(mut self, arg: &str) -> Self {
        self.command.arg(arg);
        self
    }

    /// Starts it, and waits until it can be connected to.
    pub async fn start(self) -> Process {
        let mut process = self.spawn();
        let line = process.line("listening on http://").await;
        let addr = line.rsplit("http://").next().expect("a split has a last part");
        process.addr = Some(addr.parse().unwrap_or_else(|error| panic!("{line}: {error}")));
        process
    }

    /// Starts it, and waits until it ends by itself.
    pub async fn run(self) -> Ended {
        self.spawn().end().await
    }

    fn spawn(mut self) -> Process {
        let mut child = self.command.spawn().expect("the program can be started");
        let errors = BufReader::new(child.stderr.take().expect("standard error is piped"));
        let (sender, said) = watch::channel(Said::default());
        std::thread::spawn(move || {
            for line in errors.lines().map_while(Result::ok) {
                sender.send_modify(|said| said.lines.push(line));
            }
            sender.send_modify(|said| said.ended = true);
        });
        Process { child, said, addr: None }
    }
}

impl Process {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr.expect("it was started, not run")
    }

    /// A connection to it.
    pub async fn connect(&self) -> Connection {
        Connection::open(self.addr()).await
    }

    /// A stream of a topic.
    pub async fn subscribe(&self, topic: &str) -> Stream {
        Ask::topic(self.addr(), topic).open().await
    }

    /// A number in its health document, by its JSON pointer. The question's own connection is the
    /// only one for it.
    pub async fn number(&self, pointer: &str) -> u64 {
        let question = Request::get("/healthz").header("Connection", "close");
        let health = self.connect().await.request(&question).await.json();
        let number = health.pointer(pointer).and_then(Value::as_u64);
        number.unwrap_or_else(|| panic!("no {pointer} in {health}"))
    }

    /// Waits until a number in its health document is `wanted`.
    pub async fn settles(&self, pointer: &str, wanted: u64) {
        let what = format!("{pointer} at {wanted}");
        eventually(&what, async || self.number(pointer).await == wanted).await;
    }

    /// Waits until it takes no connections.
    pub async fn refuses(&self) {
        let what = "a refused connection";
        eventually(what, async || TcpStream::connect(self.addr()).await.is_err()).await;
    }

    /// Waits for a line that contains `part`.
    pub async fn line(&mut self, part: &str) -> String {
        let has = |said: &Said| said.lines.iter().any(|line| line.contains(part));
        let heard = within(part, self.said.wait_for(|said| has(said) || said.ended)).await;
        let said = heard.expect("the end was not said");
        let line = said.lines.iter().find(|line| line.contains(part));
        line.unwrap_or_else(|| panic!("it ended without `{part}`: {:#?}", said.lines)).clone()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: libc::c_int) {
        let pid = libc::pid_t::try_from(self.child.id()).expect("a process id fits");
        // SAFETY: kill takes plain numbers. The process has not been waited for, so its id is still
        // its own.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0, "it is still there");
    }

    /// Has it know another limit of descriptors from here on.
    pub fn limit_descriptors(&self, limit: u64) {
        let pid = libc::pid_t::try_from(self.child.id()).expect("a process id fits");
        let (_, hard) = rlimit::Resource::NOFILE.get().expect("there is a limit");
        let limits = libc::rlimit { rlim_cur: limit, rlim_max: hard };
        // SAFETY: the new limits live until the call returns, and the old ones are not asked for.
        let outcome =
            unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, &limits, std::ptr::null_mut()) };
        assert_eq!(outcome, 0, "the limit can be set");
    }

    /// Waits until it has ended: its standard error is closed.
    pub async fn end(mut self) -> Ended {
        let closed = within("the program's end", self.said.wait_for(|said| said.ended)).await;
        let errors = closed.expect("the end was not said").lines.clone();
        let code = self.child.wait().expect("it can be waited for").code();
        let mut out = String::new();
        self.child
            .stdout
            .take()
            .expect("standard output is piped")
            .read_to_string(&mut out)
            .expect("UTF-8");
        Ended { code, out, errors }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the program said: {:#?}", self.said.borrow().lines);
        }
        // It may have ended already, and then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Looks until there is to see what was waited for.
pub async fn eventually(what: &str, mut look: impl AsyncFnMut() -> bool) {
    let looking = async {
        while !look().await {
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    };
    within(what, looking).await;
}

/// Sends bytes on a connection of their own; returns what comes back until the other end closes it.
/// One that ends with a reset has said what it said before.
pub async fn exchange(addr: SocketAddr, bytes: &[u8]) -> String {
    let Ok(mut socket) = TcpStream::connect(addr).await else { return String::new() };
    let (mut reader, mut writer) = socket.split();
    let mut answer = Vec::new();
    // Not all may be taken.
    let (_, _) = tokio::join!(writer.write_all(bytes), reader.read_to_end(&mut answer));
    String::from_utf8(answer).expect("an answer is UTF-8")
}

/// Publishes events, each a topic and its data, many before the first is answered.
pub async fn publish_pipelined(
    publisher: &mut Connection,
    events: impl Iterator<Item = (String, String)>,
) {
    let requests: Vec<_> = events
        .map(|(topic, data)| Request::publish(&format!("topic={topic}"), data).to_bytes())
        .collect();
    for batch in requests.chunks(PIPELINED) {
        publisher.send(&batch.concat()).await;
        for _ in batch {
            let answer = publisher.response("POST").await;
            assert_eq!(answer.status, 200, "{answer:?}");
        }
    }
}
