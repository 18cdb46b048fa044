//! The worker's loop: epoll, reads, dials, commands. One thread, one read buffer for all streams.

use std::collections::{BTreeMap, VecDeque};
use std::io::Write as _;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send, sockopt};

use super::message::{Account, Assignment, FromWorker, ToWorker};
use super::stream::{Schedule, State, Stream, parts};
use super::wire::{Found, Parser};
use crate::connect::dial::{cause, dial};
use crate::connect::ramp::Ramp;
use crate::fault::Fault;
use crate::measure::clock::{self, SECOND};
use crate::measure::latency::Latency;
use crate::measure::ledger::{Arrival, Ledger};
use crate::measure::tally::Tallies;

/// Read at once from one stream; a slow server run is then a few reads, and the buffer stays in the cache.
const READ_BYTES: usize = 256 * 1024;
/// Streams looked at before dials and commands have their turn.
const READY_BATCH: usize = 1024;
/// Connects started before reading has its turn.
const DIAL_BATCH: usize = 64;
const COMMANDS: u64 = u64::MAX;
/// `SO_RCVBUF` of slow streams: what they do not read should stay with the server.
const SLOW_RECEIVE_BUFFER: usize = 4096;
/// How often slow streams read.
const SLOW_TURN: u64 = SECOND / 10;

/// A worker process's state.
pub struct Worker {
    pub(super) assignment: Assignment,
    pub(super) epoll: OwnedFd,
    pub(super) streams: Vec<Stream>,
    pub(super) parser: Parser,
    pub(super) ramp: Ramp,
    /// Streams being opened with the time by which they should be, in order.
    opening_until: VecDeque<(u64, u64)>,
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
    listeners: u64,
    pub(super) opened: u64,
    pub(super) deliveries: u64,
    pub(super) bytes: u64,
    pub(super) last_arrival: u64,
    last_opened: u64,
    tell_settled: bool,
    pub(super) finish: Option<(Vec<u64>, Vec<Vec<u64>>)>,
    pub(super) drained: bool,
    next_tick: u64,
    next_slow_turn: u64,
    churn: f64,
    churn_since: u64,
    churned: u64,
    next_to_leave: u32,
    input: Vec<u8>,
    reporting: bool,
}

/// The body of the hidden `worker` sub-command.
pub fn run() -> Result<(), Fault> {
    crate::connect::raise_descriptor_limit();
    let (line, rest) = first_line()?;
    let assignment = serde_json::from_slice(&line).map_err(|e| Fault::system("read the assignment", e))?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|e| Fault::system("open an epoll", e))?;
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
        let slow = |stream: u64| ((stream + 1) as f64 * share).floor() > (stream as f64 * share).floor();
        let mut streams = Vec::with_capacity(assignment.streams as usize);
        for index in 0..assignment.streams {
            streams.push(Stream { slow: slow(assignment.first + u64::from(index)), ..Stream::default() });
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
        let due = self.next_tick.min(slow).saturating_sub(now);
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
        if now >= self.next_tick {
            self.next_tick = (now / self.assignment.tick + 1) * self.assignment.tick;
            self.tick(now);
            self.tell_if_drained();
        }
    }

    fn dial_some(&mut self, now: u64) {
        for _ in 0..DIAL_BATCH {
            let Some(index) = self.ramp.next(now) else { return };
            self.dial(index, now);
        }
    }

    fn dial(&mut self, index: u32, now: u64) {
        let a = &self.assignment;
        let global = a.first + u64::from(index);
        let source = (!a.sources.is_empty())
            .then(|| a.sources[(global / a.streams_per_source) as usize % a.sources.len()]);
        let stream = &mut self.streams[index as usize];
        let buffer = if stream.slow { Some(SLOW_RECEIVE_BUFFER) } else { a.receive_buffer_bytes };
        let dialed = dial(a.target, source, buffer);
        stream.generation = stream.generation.wrapping_add(1);
        stream.state = State::Dialing;
        stream.dialed_at = now;
        stream.wire.restart();
        // Edge-triggered, and for life: an open stream costs no further epoll_ctl and is not polled twice.
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        let watched = dialed.and_then(|socket| {
            epoll::add(&self.epoll, &socket, EventData::new_u64(stream.token(index)), flags)?;
            Ok(socket)
        });
        match watched {
            Ok(socket) => {
                stream.socket = Some(socket);
                let token = stream.token(index);
                self.opening_until.push_back((now + self.assignment.open_timeout, token));
            }
            Err(error) => self.lose(index as usize, cause(error)),
        }
    }

    fn give_up_late(&mut self, now: u64) {
        while let Some(&(until, token)) = self.opening_until.front() {
            let (index, generation) = parts(token);
            let stream = &self.streams[index];
            let opening =
                stream.generation == generation && matches!(stream.state, State::Dialing | State::Asking);
            if opening && until > now {
                return;
            }
            self.opening_until.pop_front();
            if opening {
                self.lose(index, "no response head in time");
            }
        }
    }

    fn advance(&mut self, token: u64, flags: EventFlags, buffer: &mut [u8]) {
        let (index, generation) = parts(token);
        let stream = &mut self.streams[index];
        if stream.generation != generation || stream.socket.is_none() {
            return;
        }
        if stream.state == State::Dialing {
            let Some(socket) = &stream.socket else { return };
            if let Ok(Err(error)) = sockopt::socket_error(socket) {
                return self.lose(index, cause(error));
            }
            if !flags.contains(EventFlags::OUT) {
                return;
            }
            self.ask(index);
        }
        let stream = &self.streams[index];
        if !flags.intersects(EventFlags::IN | EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR) {
            return;
        }
        let gone = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
        if stream.slow && stream.state == State::Open && !gone {
            return;
        }
        self.read(index, gone, buffer);
    }

    fn ask(&mut self, index: usize) {
        let global = self.assignment.first + index as u64;
        let topic = global % u64::from(self.assignment.topics);
        let stream = &mut self.streams[index];
        stream.state = State::Asking;
        let id = if self.assignment.resume { stream.wire.last_id() } else { None };
        let request = self.assignment.request.render(global, topic as u32, self.assignment.topics, id);
        let Some(socket) = &stream.socket else { return };
        match send(socket, &request, SendFlags::NOSIGNAL) {
            Ok(len) if len == request.len() => {}
            Ok(_) => self.lose(index, "request did not fit the socket"),
            Err(error) => self.lose(index, cause(error)),
        }
    }

    /// Reads until the socket is empty. Edge-triggered: a short read proves it is, unless the peer is leaving.
    fn read(&mut self, index: usize, to_the_end: bool, buffer: &mut [u8]) {
        loop {
            let Some(socket) = &self.streams[index].socket else { return };
            match recv(socket, &mut *buffer, RecvFlags::empty()) {
                Ok((0, _)) => return self.lose(index, "ended by the server"),
                Ok((len, _)) => {
                    self.take(index, &buffer[..len]);
                    let slow = self.streams[index].slow && self.streams[index].state == State::Open;
                    if !to_the_end && (slow || len < buffer.len()) {
                        return;
                    }
                }
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => {}
                Err(error) => return self.lose(index, cause(error)),
            }
        }
    }

    fn read_slowly(&mut self, buffer: &mut [u8]) {
        let bytes = (self.assignment.slow_bytes_per_second * SLOW_TURN / SECOND) as usize;
        let bytes = bytes.min(buffer.len());
        if bytes == 0 {
            return;
        }
        for index in 0..self.streams.len() {
            let stream = &self.streams[index];
            let Some(socket) = stream.socket.as_ref().filter(|_| stream.slow && stream.state == State::Open)
            else {
                continue;
            };
            match recv(socket, &mut buffer[..bytes], RecvFlags::empty()) {
                Ok((0, _)) => self.lose(index, "ended by the server"),
                Ok((len, _)) => self.take(index, &buffer[..len]),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => self.lose(index, cause(error)),
            }
        }
    }

    /// Takes what was read of a stream.
    fn take(&mut self, index: usize, bytes: &[u8]) {
        let now = clock::now();
        self.bytes += bytes.len() as u64;
        let malformed = self.streams[index].wire.feed(bytes, &mut self.parser).is_err();
        let mut found = std::mem::take(&mut self.parser.found);
        for item in found.drain(..) {
            match item {
                Found::Head(200) => self.open(index, now),
                Found::Head(status) => self.lose(index, &format!("status {status}")),
                Found::Event(stamp) => self.note(index, stamp, now),
                Found::Control(name) => *self.controls.entry(self.parser.names.text(name)).or_default() += 1,
                Found::End => self.lose(index, "ended by the server"),
            }
        }
        self.parser.found = found;
        if malformed {
            self.lose(index, "not HTTP/1.1 or not an event stream");
        }
    }

    fn open(&mut self, index: usize, now: u64) {
        let topics = u64::from(self.assignment.topics);
        let topic = (self.assignment.first + index as u64) % topics;
        let stream = &mut self.streams[index];
        stream.state = State::Open;
        if !std::mem::replace(&mut stream.met, true) {
            let start = self.schedule.map_or(0, |schedule| schedule.next_after(now, topic, topics));
            stream.ledger = Ledger::owed_from(start);
        }
        self.opening.record(now - stream.dialed_at);
        self.ramp.landed();
        self.opened += 1;
        self.present += 1;
        self.listeners += u64::from(!stream.slow);
        self.last_opened = now;
    }

    fn note(&mut self, index: usize, stamp: crate::measure::stamp::Stamp, now: u64) {
        let topics = u64::from(self.assignment.topics);
        let stream = &mut self.streams[index];
        let account = if stream.slow { &mut self.slow_account } else { &mut self.account };
        if u64::from(stamp.topic) != (self.assignment.first + index as u64) % topics {
            account.misrouted += 1;
            return;
        }
        match stream.ledger.note(stamp.number) {
            Arrival::Fresh => account.received += 1,
            Arrival::Late => {
                account.received += 1;
                account.out_of_order += 1;
            }
            Arrival::Repeated => {
                account.repeated += 1;
                return;
            }
        }
        self.deliveries += 1;
        self.last_arrival = now;
        let late_by = now.saturating_sub(stamp.due);
        if stream.slow {
            self.slow_latency.record(late_by);
            return;
        }
        if stamp.number >= self.assignment.warmup {
            self.interval.record(late_by);
        }
        if self.assignment.announce && self.tallies.note(stamp.number, now) == self.listeners {
            self.tell(&FromWorker::Complete { number: stamp.number, at: now });
        }
    }

    /// The stream is gone, for `cause`, and comes back if it is to.
    pub(super) fn lose(&mut self, index: usize, cause: &str) {
        let was = self.streams[index].state;
        if matches!(was, State::Away | State::GaveUp) {
            return;
        }
        let stage = if was == State::Open { "open" } else { "opening" };
        *self.causes.entry(format!("{stage}: {cause}")).or_default() += 1;
        self.shut(index);
        match self.assignment.retry {
            Some(delay) => {
                // Up to a half more, so that what broke together does not come back together.
                let jitter = delay / 2 * (index as u64 % 16) / 16;
                self.ramp.add_later(index as u32, clock::now() + delay + jitter);
            }
            None => self.streams[index].state = State::GaveUp,
        }
        self.reannounce();
    }

    /// Closes the socket and forgets that it was open.
    fn shut(&mut self, index: usize) {
        let stream = &mut self.streams[index];
        match stream.state {
            State::Open => {
                self.present -= 1;
                self.listeners -= u64::from(!stream.slow);
            }
            State::Dialing | State::Asking => self.ramp.landed(),
            State::Away | State::GaveUp => {}
        }
        stream.socket = None;
        stream.state = State::Away;
    }

    /// With a stream less, an event may have reached all the others.
    fn reannounce(&mut self) {
        if !self.assignment.announce {
            return;
        }
        for (number, tally) in self.tallies.held_by(self.listeners).collect::<Vec<_>>() {
            self.tell(&FromWorker::Complete { number, at: tally.last });
        }
    }

    fn let_leave(&mut self, now: u64) {
        if self.churn <= 0.0 || self.streams.is_empty() {
            return;
        }
        let due = ((now - self.churn_since) as f64 / SECOND as f64 * self.churn) as u64;
        let mut looked = 0;
        while self.churned < due && looked < self.streams.len() {
            looked += 1;
            let index = self.next_to_leave as usize;
            self.next_to_leave = (self.next_to_leave + 1) % self.streams.len() as u32;
            if self.streams[index].state == State::Open {
                self.churned += 1;
                self.leave(index, now);
            }
        }
    }

    /// The stream leaves by itself and asks to be opened again.
    fn leave(&mut self, index: usize, now: u64) {
        self.left += 1;
        self.shut(index);
        if !self.assignment.resume {
            self.settle_visit(index);
        }
        self.ramp.add(index as u32, now);
    }

    fn storm(&mut self) {
        let now = clock::now();
        for index in 0..self.streams.len() {
            if self.streams[index].state == State::Open {
                self.leave(index, now);
            }
        }
        self.tell_settled = true;
    }

    fn read_commands(&mut self) {
        let mut chunk = [0; 16 * 1024];
        match rustix::io::read(std::io::stdin(), &mut chunk) {
            // The parent is gone: so is the reason to run.
            Ok(0) => self.reporting = true,
            Ok(len) => self.input.extend_from_slice(&chunk[..len]),
            Err(_) => return,
        }
        while let Some(end) = memchr::memchr(b'\n', &self.input) {
            let line: Vec<u8> = self.input.drain(..=end).collect();
            match serde_json::from_slice(&line) {
                Ok(command) => self.obey(command),
                Err(_) => self.reporting = true,
            }
        }
    }

    fn obey(&mut self, command: ToWorker) {
        match command {
            ToWorker::Schedule { start, interval } => self.schedule = Some(Schedule { start, interval }),
            ToWorker::Churn { rate } => {
                (self.churn, self.churn_since, self.churned) = (rate, clock::now(), 0);
            }
            ToWorker::Storm => self.storm(),
            ToWorker::Finish { ends, excused } => self.expect_no_more(ends, excused),
            ToWorker::Report => self.reporting = true,
        }
    }

    pub(super) fn tell(&self, message: &FromWorker) {
        let mut line = serde_json::to_vec(message).expect("messages are plain data");
        line.push(b'\n');
        let mut out = std::io::stdout().lock();
        // A parent that is gone is noticed at the next read.
        let _ = out.write_all(&line).and_then(|()| out.flush());
    }
}
