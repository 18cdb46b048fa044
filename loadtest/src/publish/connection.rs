//! One keep-alive connection: what is on its way out, and which events await their answers.

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::response::{self, Response};
use crate::connect::dial::cause;
use crate::measure::stamp::Stamp;

/// The longest a publisher waits for its connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection and its requests in flight, oldest first.
pub(super) struct Connection {
    /// None while it is down.
    pub(super) socket: Option<TcpStream>,
    pub(super) in_flight: VecDeque<Stamp>,
    /// When the oldest unanswered request was sent.
    pub(super) since: u64,
    pub(super) out: Vec<u8>,
    input: Vec<u8>,
}

impl Connection {
    /// Connects, waiting for it.
    pub(super) fn open(target: SocketAddr) -> Result<Self, String> {
        let connect = || {
            let socket = TcpStream::connect_timeout(&target, CONNECT_TIMEOUT)?;
            if socket.local_addr()? == target {
                // Nobody listened, and the kernel gave out the very port that was asked for.
                return Err(std::io::ErrorKind::ConnectionRefused.into());
            }
            socket.set_nodelay(true)?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        let socket = connect()
            .map_err(|error: std::io::Error| format!("could not connect to {target}: {error}"))?;
        Ok(Self {
            socket: Some(socket),
            in_flight: VecDeque::new(),
            since: 0,
            out: Vec::new(),
            input: Vec::new(),
        })
    }

    /// Closes it; the events that were not answered.
    pub(super) fn close(&mut self) -> VecDeque<Stamp> {
        self.socket = None;
        self.out.clear();
        self.input.clear();
        std::mem::take(&mut self.in_flight)
    }

    /// Writes what the socket takes; true if something is left.
    pub(super) fn flush(&mut self) -> Result<bool, &'static str> {
        let Some(socket) = &self.socket else { return Ok(false) };
        while !self.out.is_empty() {
            match send(socket, &self.out, SendFlags::NOSIGNAL) {
                Ok(len) => drop(self.out.drain(..len)),
                Err(Errno::AGAIN) => return Ok(true),
                Err(Errno::INTR) => {}
                Err(error) => return Err(cause(error)),
            }
        }
        Ok(false)
    }

    /// Reads once.
    pub(super) fn fill(&mut self, buffer: &mut [u8]) -> Result<(), &'static str> {
        let Some(socket) = &self.socket else { return Ok(()) };
        match recv(socket, &mut *buffer, RecvFlags::empty()) {
            Ok((0, _)) => Err("closed by the server"),
            Ok((len, _)) => {
                self.input.extend_from_slice(&buffer[..len]);
                Ok(())
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(()),
            Err(error) => Err(cause(error)),
        }
    }

    /// The next whole response that was read, with the event it answers.
    pub(super) fn next_answer(&mut self) -> Result<Option<(Stamp, Response)>, &'static str> {
        loop {
            let parsed = response::parse(&self.input).map_err(|()| "not HTTP/1.1")?;
            let Some(response) = parsed else { return Ok(None) };
            self.input.drain(..response.len);
            if (100..200).contains(&response.status) {
                continue;
            }
            let stamp = self.in_flight.pop_front().ok_or("an answer without a request")?;
            return Ok(Some((stamp, response)));
        }
    }
}
