//! The worker's end of the parent's pipes: assignment and commands on standard input, messages on
//! standard output.

use std::io::Write as _;

use rustix::io::Errno;

use super::message::{Assignment, FromWorker, ToWorker};
use crate::error::Error;

const READ_BYTES: usize = 16 * 1024;

/// Reads commands line by line.
pub(super) struct CommandReader {
    /// An incomplete line.
    buffer: Vec<u8>,
}

impl CommandReader {
    /// Blocks until the assignment, the first line, has arrived.
    pub(super) fn open() -> Result<(Assignment, Self), Error> {
        let mut reader = Self { buffer: Vec::new() };
        let line = loop {
            match reader.fill() {
                Ok(0) => return Err(Error::Failed("the parent process has ended".into())),
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(Error::system("read the assignment", error)),
            }
            if let Some(line) = reader.next_line() {
                break line;
            }
        };
        let assignment = serde_json::from_slice(&line)
            .map_err(|error| Error::system("read the assignment", error))?;
        Ok((assignment, reader))
    }

    /// The commands buffered so far.
    pub(super) fn commands(&mut self) -> Vec<ToWorker> {
        let parse = |line: Vec<u8>| serde_json::from_slice(&line).unwrap_or(ToWorker::Report);
        std::iter::from_fn(|| self.next_line()).map(parse).collect()
    }

    /// Reads once; returns the commands that are complete. If the parent has ended, that is a
    /// [`ToWorker::Report`].
    pub(super) fn read(&mut self) -> Vec<ToWorker> {
        match self.fill() {
            Ok(0) => vec![ToWorker::Report],
            Ok(_) => self.commands(),
            Err(_) => Vec::new(),
        }
    }

    fn fill(&mut self) -> Result<usize, Errno> {
        let mut chunk = [0; READ_BYTES];
        let len = rustix::io::read(std::io::stdin(), &mut chunk)?;
        self.buffer.extend_from_slice(&chunk[..len]);
        Ok(len)
    }

    fn next_line(&mut self) -> Option<Vec<u8>> {
        let end = memchr::memchr(b'\n', &self.buffer)?;
        Some(self.buffer.drain(..=end).collect())
    }
}

pub(super) fn send(message: &FromWorker) {
    let mut line = serde_json::to_vec(message).expect("messages are plain data");
    line.push(b'\n');
    let mut out = std::io::stdout().lock();
    // If the parent has ended, the next read of standard input says so.
    let _ = out.write_all(&line).and_then(|()| out.flush());
}
