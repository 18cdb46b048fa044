//! What is seen of a node from its writes: who waits for whom, who is cut off, who is lagged out.

use std::collections::HashMap;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::time::Instant;

use super::finding::{Findings, Kind};
use super::transcript::{Frame, first_frame};
use crate::conn::Conn;
use crate::shard::write::{Write, WriteResult};

/// Time in which the process stands still counts as at most this part of the write timeout: the
/// node can tell it from running only by its timer.
const STANDSTILL_PART: u32 = 8;

/// A stream may be cut off by this part of the write timeout too early: a shard knows the time of
/// its last wake-up, and a tick of its timer may lie between.
const EARLY_PART: u32 = 4;

/// What is known of one client's stream.
#[derive(Clone, Default)]
struct Watched {
    /// The number of writes when a topic it reads was published to, until it is written to.
    owed: Option<u64>,
    /// Since when its socket has accepted nothing, in time that the node ran.
    full: Option<Duration>,
    /// Whether its last write has been accepted whole.
    ended: bool,
    lagged: bool,
}

pub(super) struct Watch {
    pub(super) findings: Findings,
    /// Whether to print what happens.
    trace: bool,
    started: Instant,
    /// Time that the process stood still, but for what counts as running.
    still: Duration,
    write_timeout: Duration,
    /// The clients by shard and key of their connections.
    clients: HashMap<(usize, u32), usize>,
    streams: Vec<Watched>,
    /// Writes of the pump so far.
    writes: u64,
    /// Whether a stream is being opened: its first write is not the pump's.
    pub(super) opening: bool,
    /// Writes that may come between publishing to a small topic and sending to its streams.
    pub(super) writes_max: u64,
    /// Clients that were lagged out since they were last looked at, with the ids they were given.
    pub(super) lagged: Vec<(usize, String)>,
}

impl Watch {
    pub(super) fn new(clients: usize, write_timeout: Duration, trace: bool) -> Self {
        Self {
            findings: Findings::default(),
            trace,
            started: Instant::now(),
            still: Duration::ZERO,
            write_timeout,
            clients: HashMap::new(),
            streams: vec![Watched::default(); clients],
            writes: 0,
            opening: false,
            writes_max: u64::MAX,
            lagged: Vec::new(),
        }
    }

    /// Reads the time, for findings.
    pub(super) fn tick(&mut self) {
        self.findings.now = self.started.elapsed();
    }

    pub(super) fn note(&self, what: impl FnOnce() -> String) {
        if self.trace {
            println!("{:>12?} {}", self.started.elapsed(), what());
        }
    }

    /// The process is about to stand still.
    pub(super) fn stand_still(&mut self, time: Duration) {
        self.still += time.saturating_sub(self.write_timeout / STANDSTILL_PART);
    }

    /// How long the node has run.
    fn ran(&self) -> Duration {
        self.started.elapsed() - self.still
    }

    /// A client's stream is being opened.
    pub(super) fn open(&mut self, client: usize, shard: usize, key: u32) {
        self.streams[client] = Watched::default();
        self.clients.insert((shard, key), client);
    }

    /// A topic that the client reads was published to.
    pub(super) fn owe(&mut self, client: usize) {
        let writes = self.writes;
        self.streams[client].owed.get_or_insert(writes);
    }

    /// A write of a shard, and its result.
    pub(super) fn wrote(&mut self, shard: usize, write: &Write, result: WriteResult) {
        let Some(&client) = self.clients.get(&(shard, write.conn.key())) else { return };
        let (ran, sent) = (self.ran(), result.unwrap_or(0));
        let stream = &mut self.streams[client];
        if let Some(owed) = stream.owed.take() {
            let waited = self.writes - owed;
            self.findings.check(waited <= self.writes_max, Kind::Late, || {
                let max = self.writes_max;
                format!("client {client} waited for {waited} writes to others, not {max} at most")
            });
        }
        self.writes += u64::from(!self.opening);
        if sent > 0 {
            stream.full = None;
        }
        if sent < write.bytes {
            stream.full.get_or_insert(ran);
        } else {
            stream.ended |= write.ends;
        }
        if let Some(id) = lagged_in(write).filter(|_| !stream.lagged) {
            stream.lagged = true;
            self.lagged.push((client, id));
        }
    }

    /// A client has read: its stream's socket may accept bytes again.
    pub(super) fn read(&mut self, client: usize, conn: &Conn) {
        let stream = &mut self.streams[client];
        let fd = conn.fd();
        let mut fds = [PollFd::new(&fd, PollFlags::OUT)];
        if stream.full.is_some() && poll(&mut fds, Some(&Timespec::default())) != Ok(0) {
            stream.full = None;
        }
    }

    /// Checks that a connection is closed by the node after the end of its stream, or when its
    /// socket has accepted nothing for the write timeout; then soon.
    pub(super) fn check_cut_off(&mut self, client: usize, is_closed: bool) {
        let (ran, timeout) = (self.ran(), self.write_timeout);
        let stream = &mut self.streams[client];
        if stream.ended {
            return;
        }
        stream.ended = is_closed;
        let full = stream.full.map(|since| ran.saturating_sub(since));
        let early = full.is_none_or(|full| full + timeout / EARLY_PART < timeout);
        self.findings.check(!is_closed || !early, Kind::Aborted, || {
            format!("client {client} was cut off; its socket was full for {full:?} of running time")
        });
        let late = full.is_some_and(|full| full > 2 * timeout);
        self.findings.check(is_closed || !late, Kind::Stuck, || {
            format!("client {client} is still open; its socket has been full for {full:?}")
        });
    }
}

/// The id of the `lagged` among a write's slices. It begins a slice when it is first written.
fn lagged_in(write: &Write) -> Option<String> {
    write.slices.as_slice().iter().find_map(|slice| {
        if !slice.get(..20)?.windows(13).any(|part| part == b"event: lagged") {
            return None;
        }
        match first_frame(slice) {
            Ok(Some((Frame::Event { kind: "lagged", id: Some(id), .. }, _))) => Some(id.to_owned()),
            _ => None,
        }
    })
}
