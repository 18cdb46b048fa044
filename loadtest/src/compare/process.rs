//! A peer's process: started on a free port, and stopped with the files it made removed.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::peer::Peer;
use crate::error::Error;
use crate::measure::server::Server;

/// For a peer to listen.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// For a peer to end on SIGTERM; then it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

pub(super) struct Process {
    child: Child,
    pub(super) port: u16,
    /// Removed with the process.
    work: PathBuf,
}

impl Process {
    /// Starts a peer and waits until it accepts connections.
    pub(super) fn start(peer: &Peer) -> Result<Self, Error> {
        let port = free_port()?;
        let work = std::env::temp_dir().join(format!("loadtest-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&work)
            .map_err(|error| Error::system("create a directory", error))?;
        let dir = std::path::absolute(&peer.dir).unwrap_or_else(|_| peer.dir.clone());
        let fill = |text: &str| {
            text.replace("{port}", &port.to_string())
                .replace("{dir}", &dir.to_string_lossy())
                .replace("{work}", &work.to_string_lossy())
        };
        for (name, template) in &peer.files {
            let from = dir.join(template);
            let text = std::fs::read_to_string(&from)
                .map_err(|error| Error::system(&format!("read {}", from.display()), error))?;
            std::fs::write(work.join(name), fill(&text))
                .map_err(|e| Error::system("write a file", e))?;
        }
        let program = fill(&peer.command[0]);
        let child = Command::new(&program)
            .args(peer.command[1..].iter().map(|argument| fill(argument)))
            .envs(peer.env.iter().map(|(key, value)| (key, fill(value))))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log(&work)?)
            // A terminal's interrupt must not reach the peer, which is stopped after its run.
            .process_group(0)
            .spawn()
            .map_err(|error| Error::system(&format!("start {} ({program})", peer.name), error))?;
        let mut process = Self { child, port, work };
        process.wait_until_listening(&peer.name)?;
        Ok(process)
    }

    pub(super) fn server(&self) -> Server {
        Server { pid: self.child.id() }
    }

    fn wait_until_listening(&mut self, name: &str) -> Result<(), Error> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let until = Instant::now() + START_TIMEOUT;
        let listens = || {
            let socket = TcpStream::connect_timeout(&address, POLL_INTERVAL);
            // A connect to a port without a listener may be assigned that port as its own.
            socket.and_then(|socket| socket.local_addr()).is_ok_and(|local| local != address)
        };
        while !listens() {
            if let Some(status) = self.poll_exit() {
                let log = std::fs::read_to_string(self.work.join("log")).unwrap_or_default();
                let last =
                    log.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("nothing");
                return Err(Error::Failed(format!(
                    "{name} ended at its start ({status}); its last output: {last}"
                )));
            }
            if Instant::now() > until {
                return Err(Error::Failed(format!(
                    "{name} did not listen on port {} in time",
                    self.port
                )));
            }
        }
        Ok(())
    }

    /// Waits for [`POLL_INTERVAL`]; returns the exit status if the process has ended.
    fn poll_exit(&mut self) -> Option<ExitStatus> {
        #[expect(
            clippy::disallowed_methods,
            reason = "polls a foreign process, which announces nothing"
        )]
        std::thread::sleep(POLL_INTERVAL);
        self.child.try_wait().ok().flatten()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(pid) = Pid::from_raw(self.child.id() as i32) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let until = Instant::now() + STOP_TIMEOUT;
        while self.poll_exit().is_none() {
            if Instant::now() > until {
                let _ = self.child.kill();
                let _ = self.child.wait();
                break;
            }
        }
        let _ = std::fs::remove_dir_all(&self.work);
    }
}

fn log(work: &std::path::Path) -> Result<Stdio, Error> {
    let file = std::fs::File::create(work.join("log"));
    file.map(Stdio::from).map_err(|error| Error::system("write a log", error))
}

/// A port without a listener. If it is taken before the peer binds it, the peer fails to start.
fn free_port() -> Result<u16, Error> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let address = listener.and_then(|listener| listener.local_addr());
    address.map(|address| address.port()).map_err(|error| Error::system("find a free port", error))
}
