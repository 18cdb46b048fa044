//! Opening streams: dials within the ramp, asks, and is done at the head.

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::net::{SendFlags, send};

use super::stream::{State, parts};
use super::worker::Worker;
use crate::connect::dial::{cause, dial};
use crate::measure::sequence::Ledger;

/// Connects started before reading has its turn.
const DIAL_BATCH: usize = 64;
/// `SO_RCVBUF` of slow streams: what they do not read should stay with the server.
const SLOW_RECEIVE_BUFFER: usize = 4096;

impl Worker {
    pub(super) fn dial_some(&mut self, now: u64) {
        for _ in 0..DIAL_BATCH {
            let Some(index) = self.ramp.next(now) else { return };
            self.dial(index, now);
        }
    }

    pub(super) fn dial(&mut self, index: u32, now: u64) {
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
        // Edge-triggered, and for life: an open stream costs no further epoll_ctl and is not polled
        // twice.
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

    pub(super) fn give_up_late(&mut self, now: u64) {
        while let Some(&(until, token)) = self.opening_until.front() {
            let (index, generation) = parts(token);
            let stream = &self.streams[index];
            let opening = stream.generation == generation
                && matches!(stream.state, State::Dialing | State::Asking);
            if opening && until > now {
                return;
            }
            self.opening_until.pop_front();
            if opening {
                self.lose(index, "no response head in time");
            }
        }
    }

    pub(super) fn ask(&mut self, index: usize) {
        let global = self.assignment.first + index as u64;
        let topic = global % u64::from(self.assignment.topics);
        let stream = &mut self.streams[index];
        stream.state = State::Asking;
        let id = if self.assignment.resume { stream.wire.last_id() } else { None };
        let request =
            self.assignment.request.render(global, topic as u32, self.assignment.topics, id);
        let Some(socket) = &stream.socket else { return };
        match send(socket, &request, SendFlags::NOSIGNAL) {
            Ok(len) if len == request.len() => {}
            Ok(_) => self.lose(index, "request did not fit the socket"),
            Err(error) => self.lose(index, cause(error)),
        }
    }

    pub(super) fn open(&mut self, index: usize, now: u64) {
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
        if self.streams[index].behind {
            self.look_if_whole(index, now);
        }
    }
}
