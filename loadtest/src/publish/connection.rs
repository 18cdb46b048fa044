//! One keep-alive connection: unsent output, requests in flight, and partial responses.

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::response::{self, Response};
use crate::connect::dial::cause;
use crate::measure::stamp::Stamp;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) struct Connection {
    /// `None` while the connection is down.
    pub(super) socket: Option<TcpStream>,
    /// Events without a response, oldest first.
    pub(super) in_flight: VecDeque<Stamp>,
    /// When the oldest of them began to wait.
    pub(super) waiting_since: u64,
    pub(super) out: Vec<u8>,
    input: Vec<u8>,
}

impl Connection {
    /// Connects; blocks until connected.
    pub(super) fn open(target: SocketAddr) -> Result<Self, String> {
        let connect = || {
            let socket = TcpStream::connect_timeout(&target, CONNECT_TIMEOUT)?;
            if socket.local_addr()? == target {
                // No listener, and the kernel assigned the target port as the source port.
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
            waiting_since: 0,
            out: Vec::new(),
            input: Vec::new(),
        })
    }

    /// Closes the connection; returns the events without a response.
    pub(super) fn close(&mut self) -> VecDeque<Stamp> {
        self.socket = None;
        self.out.clear();
        self.input.clear();
        std::mem::take(&mut self.in_flight)
    }

    /// Writes the output; false if the socket does not accept all of it.
    pub(super) fn flush(&mut self) -> Result<bool, &'static str> {
        let Some(socket) = &self.socket else { return Ok(true) };
        while !self.out.is_empty() {
            match send(socket, &self.out, SendFlags::NOSIGNAL) {
                Ok(len) => drop(self.out.drain(..len)),
                Err(Errno::AGAIN) => return Ok(false),
                Err(Errno::INTR) => {}
                Err(error) => return Err(cause(error)),
            }
        }
        Ok(true)
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

    /// The next complete response, with the event it belongs to.
    pub(super) fn next_response(&mut self) -> Result<Option<(Stamp, Response)>, &'static str> {
        loop {
            let parsed = response::parse(&self.input).map_err(|_| "not HTTP/1.1")?;
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
