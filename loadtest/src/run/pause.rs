//! Stopping and continuing the server's process.

use rustix::process::Signal;

use crate::error::Error;
use crate::measure::server::Server;

/// Checks that the server can be stopped without stopping this tool.
pub(super) fn check(server: Option<Server>) -> Result<(), Error> {
    let Some(server) = server else {
        return Err(Error::usage("--pause needs the server's process: pass it as --pid"));
    };
    if server.process_tree().contains(&std::process::id()) {
        let pid = server.pid;
        return Err(Error::usage(format!(
            "--pause would stop this tool, which process {pid} has started: start them apart"
        )));
    }
    Ok(())
}

/// A stopped server; dropping it continues the server, however the run goes on.
pub(super) struct Paused(Server);

impl Paused {
    pub(super) fn stop(server: Server) -> Result<Self, Error> {
        server.signal(Signal::STOP).map_err(|error| Error::system("stop the server", error))?;
        Ok(Self(server))
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        // If the process has ended meanwhile, the account says so.
        let _ = self.0.signal(Signal::CONT);
    }
}
