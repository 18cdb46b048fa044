//! A peer's process: started on a free port, waited for, and ended with everything it made.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::peer::Peer;
use crate::error::Fault;
use crate::measure::server::Server;

/// The longest a peer takes to listen.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// The longest it takes to leave when asked; then it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// The running peer.
pub(super) struct Process {
    child: Child,
    pub(super) port: u16,
    work: PathBuf,
}

impl Process {
    /// Starts a peer and waits until it takes connections.
    pub(super) fn start(peer: &Peer) -> Result<Self, Fault> {
        let port = free_port()?;
        let work = std::env::temp_dir().join(format!("loadtest-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&work).map_err(|error| Fault::system("make a directory", error))?;
        let dir = std::path::absolute(&peer.dir).unwrap_or_else(|_| peer.dir.clone());
        let fill = |text: &str| {
            text.replace("{port}", &port.to_string())
                .replace("{dir}", &dir.to_string_lossy())
                .replace("{work}", &work.to_string_lossy())
        };
        for (name, template) in &peer.files {
            let from = dir.join(template);
            let text = std::fs::read_to_string(&from)
                .map_err(|error| Fault::system(&format!("read {}", from.display()), error))?;
            std::fs::write(work.join(name), fill(&text))
                .map_err(|e| Fault::system("write a file", e))?;
        }
        let program = fill(&peer.command[0]);
        let child = Command::new(&program)
            .args(peer.command[1..].iter().map(|argument| fill(argument)))
            .envs(peer.env.iter().map(|(key, value)| (key, fill(value))))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log(&work)?)
            // An interrupt at the terminal is for the tool; the peer is ended when its run is told.
            .process_group(0)
            .spawn()
            .map_err(|error| Fault::system(&format!("start {} ({program})", peer.name), error))?;
        let mut process = Self { child, port, work };
        process.wait_until_it_listens(&peer.name)?;
        Ok(process)
    }

    /// The process to read the cost of.
    pub(super) fn server(&self) -> Server {
        Server { pid: self.child.id() }
    }

    fn wait_until_it_listens(&mut self, name: &str) -> Result<(), Fault> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let until = Instant::now() + START_TIMEOUT;
        let listens = || {
            let socket = TcpStream::connect_timeout(&address, LOOK_INTERVAL);
            // A connect to a free port may be given that port itself.
            socket.and_then(|socket| socket.local_addr()).is_ok_and(|local| local != address)
        };
        while !listens() {
            if let Some(status) = self.wait_a_look() {
                let said = std::fs::read_to_string(self.work.join("log")).unwrap_or_default();
                let last =
                    said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("nothing");
                return Err(Fault::Failed(format!(
                    "{name} ended at its start ({status}); it said: {last}"
                )));
            }
            if Instant::now() > until {
                return Err(Fault::Failed(format!(
                    "{name} did not listen on port {} in time",
                    self.port
                )));
            }
        }
        Ok(())
    }

    /// Waits a moment, or for the process's end if that is sooner.
    fn wait_a_look(&mut self) -> Option<ExitStatus> {
        #[expect(
            clippy::disallowed_methods,
            reason = "waits for a process that tells nobody when it is ready"
        )]
        std::thread::sleep(LOOK_INTERVAL);
        self.child.try_wait().ok().flatten()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(pid) = Pid::from_raw(self.child.id() as i32) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let until = Instant::now() + STOP_TIMEOUT;
        while self.wait_a_look().is_none() {
            if Instant::now() > until {
                let _ = self.child.kill();
                let _ = self.child.wait();
                break;
            }
        }
        let _ = std::fs::remove_dir_all(&self.work);
    }
}

fn log(work: &std::path::Path) -> Result<Stdio, Fault> {
    let file = std::fs::File::create(work.join("log"));
    file.map(Stdio::from).map_err(|error| Fault::system("write a log", error))
}

/// A port nobody listens on; it may be taken before the peer has it, which then says so.
fn free_port() -> Result<u16, Fault> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let address = listener.and_then(|listener| listener.local_addr());
    address.map(|address| address.port()).map_err(|error| Fault::system("find a free port", error))
}
