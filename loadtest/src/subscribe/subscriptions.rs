//! Reading streams: what arrives is taken apart, measured and accounted for.

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv, sockopt};

use super::message::FromWorker;
use super::sse::Found;
use super::stream::{State, parts};
use super::worker::{SLOW_TURN, Worker};
use crate::connect::dial::cause;
use crate::measure::clock::{self, SECOND};
use crate::measure::sequence::Arrival;
use crate::measure::stamp::Stamp;

impl Worker {
    pub(super) fn advance(&mut self, token: u64, flags: EventFlags, buffer: &mut [u8]) {
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
        if !flags.intersects(EventFlags::IN | EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR)
        {
            return;
        }
        let gone = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
        if stream.slow && stream.state == State::Open && !gone {
            return;
        }
        self.read(index, gone, buffer);
    }

    /// Reads until the socket is empty. Edge-triggered: a short read proves it is, unless the peer
    /// is leaving.
    pub(super) fn read(&mut self, index: usize, to_the_end: bool, buffer: &mut [u8]) {
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

    pub(super) fn read_slowly(&mut self, buffer: &mut [u8]) {
        let bytes = (self.assignment.slow_bytes_per_second * SLOW_TURN / SECOND) as usize;
        let bytes = bytes.min(buffer.len());
        if bytes == 0 {
            return;
        }
        for index in 0..self.streams.len() {
            let stream = &self.streams[index];
            let Some(socket) =
                stream.socket.as_ref().filter(|_| stream.slow && stream.state == State::Open)
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
    pub(super) fn take(&mut self, index: usize, bytes: &[u8]) {
        let now = clock::now();
        self.bytes += bytes.len() as u64;
        let malformed = self.streams[index].wire.feed(bytes, &mut self.parser).is_err();
        let mut found = std::mem::take(&mut self.parser.found);
        for item in found.drain(..) {
            match item {
                Found::Head(200) => self.open(index, now),
                Found::Head(status) => self.lose(index, &format!("status {status}")),
                Found::Event(stamp) => self.note(index, stamp, now),
                Found::Control(name) => {
                    *self.controls.entry(self.parser.names.text(name)).or_default() += 1
                }
                Found::End => self.lose(index, "ended by the server"),
            }
        }
        self.parser.found = found;
        if malformed {
            self.lose(index, "not HTTP/1.1 or not an event stream");
        }
    }

    pub(super) fn note(&mut self, index: usize, stamp: Stamp, now: u64) {
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
        if self.streams[index].behind {
            self.look_if_whole(index, now);
        }
        let late_by = now.saturating_sub(stamp.due);
        if self.streams[index].slow {
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
}
