//! The program as a user runs it: a child process with settings from its environment, observed
//! through its log lines, its exit code and its [`Endpoint`].

use std::io::{BufRead, BufReader, Read as _};
use std::ops::Deref;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use tokio::sync::watch;

use super::endpoint::Endpoint;
use super::node::io;
use super::within;

/// The program, not yet started. It inherits nothing of the tests' own environment.
pub struct Fanfare {
    command: Command,
}

/// The running program, used through its [`Endpoint`]. Killed when dropped.
pub struct Process {
    running: Running,
    endpoint: Endpoint,
}

/// An exited program.
pub struct Ended {
    /// The exit code, unless a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub out: String,
    /// The lines of its standard error.
    pub errors: Vec<String>,
}

struct Running {
    child: Child,
    log: watch::Receiver<Log>,
}

/// The standard error so far.
#[derive(Default)]
struct Log {
    lines: Vec<String>,
    ended: bool,
}

impl Fanfare {
    /// Nothing set but a free port and the I/O path under test.
    pub fn new() -> Self {
        Self::from(Command::new(env!("CARGO_BIN_EXE_fanfare")))
    }

    /// The same, started by a shell after a `preparation` such as `ulimit -n 256`.
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

    /// Sets a variable of the environment.
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Adds an argument.
    pub fn arg(mut self, arg: &str) -> Self {
        self.command.arg(arg);
        self
    }

    /// Makes a system call fail with `EPERM`, as the profile of a container does.
    pub fn forbid(mut self, call: libc::c_long) -> Self {
        let code = |parts: [u32; 3]| u16::try_from(parts.iter().sum::<u32>()).expect("it is small");
        let load = code([libc::BPF_LD, libc::BPF_W, libc::BPF_ABS]);
        let jump = code([libc::BPF_JMP, libc::BPF_JEQ, libc::BPF_K]);
        let end = code([libc::BPF_RET, libc::BPF_K, 0]);
        let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
        let call = u32::try_from(call).expect("the number of a system call is small");
        let mut filter = [
            // The number is the first field of `seccomp_data`.
            step(load, 0, 0, 0),
            step(jump, 0, 1, call),
            step(end, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
            step(end, 0, 0, libc::SECCOMP_RET_ALLOW),
        ];
        let install = move || {
            let len = u16::try_from(filter.len()).expect("it has four steps");
            let program = libc::sock_fprog { len, filter: filter.as_mut_ptr() };
            // SAFETY: takes plain numbers. A filter without privileges needs it.
            let unprivileged = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
            // SAFETY: the program lives until the call returns, and the kernel copies it.
            let installed = unsafe {
                libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program)
            };
            match (unprivileged, installed) {
                (0, 0) => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        };
        // SAFETY: between fork and exec it only makes two system calls on memory of its own, and
        // allocates nothing.
        unsafe { self.command.pre_exec(install) };
        self
    }

    /// Starts it; returns when it listens.
    pub async fn start(self) -> Process {
        let running = self.spawn();
        let line = running.line("listening on http://").await;
        let (_, addr) = line.rsplit_once("http://").expect("the line was found by it");
        let addr = addr.parse().unwrap_or_else(|error| panic!("{line}: {error}"));
        Process { running, endpoint: Endpoint::new(addr) }
    }

    /// Starts it; returns when it has exited by itself.
    pub async fn run(self) -> Ended {
        self.spawn().end().await
    }

    fn spawn(mut self) -> Running {
        let mut child = self.command.spawn().expect("the program can be started");
        let errors = BufReader::new(child.stderr.take().expect("standard error is piped"));
        let (sender, log) = watch::channel(Log::default());
        std::thread::spawn(move || {
            for line in errors.lines().map_while(Result::ok) {
                sender.send_modify(|log| log.lines.push(line));
            }
            sender.send_modify(|log| log.ended = true);
        });
        Running { child, log }
    }
}

impl Process {
    /// Waits for a log line that contains `part`.
    pub async fn line(&self, part: &str) -> String {
        self.running.line(part).await
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: libc::c_int) {
        // SAFETY: kill takes plain numbers. The child has not been waited for, so its id is still
        // its own.
        assert_eq!(unsafe { libc::kill(self.running.pid(), signal) }, 0, "it is still running");
    }

    /// Changes its soft limit of descriptors.
    pub fn limit_descriptors(&self, limit: u64) {
        let (_, hard) = rlimit::Resource::NOFILE.get().expect("there is a limit");
        let limits = libc::rlimit { rlim_cur: limit, rlim_max: hard };
        let (pid, none) = (self.running.pid(), std::ptr::null_mut());
        // SAFETY: the new limits live until the call returns, and the old ones are not requested.
        let result = unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, &limits, none) };
        assert_eq!(result, 0, "the limit can be set");
    }

    /// Waits until it has exited.
    pub async fn end(self) -> Ended {
        self.running.end().await
    }
}

impl Deref for Process {
    type Target = Endpoint;

    fn deref(&self) -> &Endpoint {
        &self.endpoint
    }
}

impl Running {
    fn pid(&self) -> libc::pid_t {
        libc::pid_t::try_from(self.child.id()).expect("a process id fits")
    }

    async fn line(&self, part: &str) -> String {
        let find = |log: &Log| log.lines.iter().find(|line| line.contains(part)).cloned();
        let mut log = self.log.clone();
        let found = within(part, log.wait_for(|log| log.ended || find(log).is_some())).await;
        let log = found.expect("the sender lives until the log has ended");
        find(&log).unwrap_or_else(|| panic!("it exited without `{part}`: {:#?}", log.lines))
    }

    async fn end(mut self) -> Ended {
        let ended = within("the program's exit", self.log.wait_for(|log| log.ended)).await;
        let errors = ended.expect("the sender lives until the log has ended").lines.clone();
        let code = self.child.wait().expect("it can be waited for").code();
        let mut out = String::new();
        let stdout = self.child.stdout.as_mut().expect("standard output is piped");
        stdout.read_to_string(&mut out).expect("standard output is UTF-8");
        Ended { code, out, errors }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the program's log: {:#?}", self.log.borrow().lines);
        }
        // It may have exited already, and then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
