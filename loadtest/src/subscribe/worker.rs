//! The worker's loop: epoll, reads, dials, commands. One thread, one read buffer for all streams.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;

use super::message::{Account, Assignment, FromWorker};
use super::sse::Parser;
use super::storm::Storm;
use super::stream::{Schedule, Stream};
use crate::connect::ramp::Ramp;
use crate::error::Fault;
use crate::measure::arrivals::Tallies;
use crate::measure::clock::{self, SECOND};
use crate::measure::latency::Latency;

/// Read at once from one stream; a slow server run is then a few reads, and the buffer stays in the
/// cache.
const READ_BYTES: usize = 256 * 1024;
/// Streams looked at before dials and commands have their turn.
const READY_BATCH: usize = 1024;
const COMMANDS: u64 = u64::MAX;
/// How often slow streams read.
pub(super) const SLOW_TURN: u64 = SECOND / 10;

/// A worker process's state.
pub struct Worker {
    pub(super) assignment: Assignment,
    pub(super) epoll: OwnedFd,
    pub(super) streams: Vec<Stream>,
    pub(super) parser: Parser,
    pub(super) ramp: Ramp,
    /// Streams being opened with the time by which they should be, in order.
    pub(super) opening_until: VecDeque<(u64, u64)>,
    pub(super) tallies: Tallies,
    pub(super) schedule: Option<Schedule>,
    pub(super) interval: Latency,
    pub(super) slow_latency: Latency,
    pub(super) opening: Latency,
    pub(super) account: Account,
    pub(super) slow_account: Account,
    pub(super) causes: BTreeMap<String, u64>,
    pub(super) controls: BTreeMap<String, u64>,
    /// Holes of streams that left: topic and range.
    pub(super) left_holes: Vec<(u32, (u64, u64))>,
    pub(super) left: u64,
    pub(super) present: u64,
    /// Open streams that are not slow.
    pub(super) listeners: u64,
    pub(super) opened: u64,
    pub(super) deliveries: u64,
    pub(super) bytes: u64,
    pub(super) last_arrival: u64,
    pub(super) last_opened: u64,
    pub(super) tell_settled: bool,
    pub(super) storm: Storm,
    pub(super) finish: Option<(Vec<u64>, Vec<Vec<u64>>)>,
    pub(super) drained: bool,
    pub(super) next_tick: u64,
    pub(super) next_slow_turn: u64,
    pub(super) churn: f64,
    pub(super) churn_since: u64,
    pub(super) churned: u64,
    pub(super) next_to_leave: u32,
    pub(super) input: Vec<u8>,
    pub(super) reporting: bool,
}

/// The body of the hidden `worker` sub-command.
pub fn run() -> Result<(), Fault> {
    crate::connect::raise_descriptor_limit();
    let (line, rest) = first_line()?;
    let assignment =
        serde_json::from_slice(&line).map_err(|e| Fault::system("read the assignment", e))?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)
        .map_err(|e| Fault::system("open an epoll", e))?;
    let stdin = std::io::stdin();
    epoll::add(&epoll, stdin.as_fd(), EventData::new_u64(COMMANDS), EventFlags::IN)
        .map_err(|error| Fault::system("watch the parent", error))?;
    let mut worker = Worker::new(assignment, epoll);
    worker.input = rest;
    worker.serve();
    Ok(())
}

/// The first line of standard input, and what was read beyond it.
fn first_line() -> Result<(Vec<u8>, Vec<u8>), Fault> {
    let mut line = Vec::new();
    loop {
        let mut chunk = [0; 16 * 1024];
        match rustix::io::read(std::io::stdin(), &mut chunk) {
            Ok(0) => return Err(Fault::Failed("the parent is gone".into())),
            Ok(len) => line.extend_from_slice(&chunk[..len]),
            Err(Errno::INTR) => {}
            Err(error) => return Err(Fault::system("read the assignment", error)),
        }
        if let Some(end) = memchr::memchr(b'\n', &line) {
            let rest = line.split_off(end + 1);
            return Ok((line, rest));
        }
    }
}

impl Worker {
    fn new(assignment: Assignment, epoll: OwnedFd) -> Self {
        let now = clock::now();
        let mut ramp = Ramp::new(assignment.ramp, assignment.in_flight, now);
        let share = assignment.slow_share;
        let slow =
            |stream: u64| ((stream + 1) as f64 * share).floor() > (stream as f64 * share).floor();
        let mut streams = Vec::with_capacity(assignment.streams as usize);
        for index in 0..assignment.streams {
            streams.push(Stream {
                slow: slow(assignment.first + u64::from(index)),
                ..Stream::default()
            });
            ramp.add(index, now);
        }
        Self {
            epoll,
            streams,
            parser: Parser::new(assignment.run, assignment.resume),
            ramp,
            opening_until: VecDeque::new(),
            tallies: Tallies::default(),
            schedule: None,
            interval: Latency::default(),
            slow_latency: Latency::default(),
            opening: Latency::default(),
            account: Account::default(),
            slow_account: Account::default(),
            causes: BTreeMap::new(),
            controls: BTreeMap::new(),
            left_holes: Vec::new(),
            left: 0,
            present: 0,
            listeners: 0,
            opened: 0,
            deliveries: 0,
            bytes: 0,
            last_arrival: 0,
            last_opened: now,
            tell_settled: true,
            storm: Storm::default(),
            finish: None,
            drained: false,
            next_tick: (now / assignment.tick + 1) * assignment.tick,
            next_slow_turn: now,
            churn: 0.0,
            churn_since: now,
            churned: 0,
            next_to_leave: 0,
            input: Vec::new(),
            reporting: false,
            assignment,
        }
    }

    fn serve(&mut self) {
        let mut ready = Vec::with_capacity(READY_BATCH);
        let mut buffer = vec![0; READ_BYTES];
        while !self.reporting {
            ready.clear();
            let span = self.nap(clock::now());
            let spare = rustix::buffer::spare_capacity(&mut ready);
            let _ = epoll::wait(&self.epoll, spare, Some(&clock::timespec(span)));
            for event in &ready {
                match event.data.u64() {
                    COMMANDS => self.read_commands(),
                    token => self.advance(token, event.flags, &mut buffer),
                }
            }
            self.turn(&mut buffer);
        }
        self.tick(clock::now());
        self.tell_final();
    }

    /// How long to wait when nothing happens.
    fn nap(&self, now: u64) -> u64 {
        let busy = self.ramp.is_paced() || self.churn > 0.0;
        let slow = if self.assignment.slow_share > 0.0 { self.next_slow_turn } else { u64::MAX };
        let later = self.ramp.next_due().unwrap_or(u64::MAX);
        let due = self.next_tick.min(slow).min(later).saturating_sub(now);
        if busy { due.min(SECOND / 1000) } else { due }
    }

    /// What is done once a loop.
    fn turn(&mut self, buffer: &mut [u8]) {
        let now = clock::now();
        self.dial_some(now);
        self.give_up_late(now);
        self.let_leave(now);
        if self.assignment.slow_share > 0.0 && now >= self.next_slow_turn {
            self.next_slow_turn = now + SLOW_TURN;
            self.read_slowly(buffer);
        }
        if self.tell_settled && self.ramp.pending() == 0 {
            self.tell_settled = false;
            let (present, at) = (self.present, self.last_opened);
            self.tick(now);
            self.tell(&FromWorker::Settled { present, at });
        }
        self.tell_if_whole();
        if now >= self.next_tick {
            // While streams come, often enough to see the server's memory grow with them.
            let span =
                if self.tell_settled { self.assignment.tick / 5 } else { self.assignment.tick };
            self.next_tick = (now / span + 1) * span;
            self.tick(now);
            self.tell_if_drained();
        }
    }
}
