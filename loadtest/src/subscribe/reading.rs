//! The read path: epoll events, reads, decoded items. The hot path of the tool: per event it does
//! not allocate, and takes the time once per read.

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv, sockopt};

use super::channel;
use super::sse::Item;
use super::stream::State;
use super::subscriptions::Subscriptions;
use crate::connect::dial::cause;
use crate::measure::clock;
use crate::measure::sequence::Arrival;
use crate::measure::stamp::Stamp;

const HANGUP: EventFlags = EventFlags::RDHUP.union(EventFlags::HUP).union(EventFlags::ERR);
const ENDED: &str = "ended by the server";

impl Subscriptions {
    /// An epoll event of a stream.
    pub(super) fn on_ready(&mut self, token: u64, flags: EventFlags, buffer: &mut [u8]) {
        let Some(index) = self.streams.resolve(token) else { return };
        let stream = &self.streams[index];
        if stream.state == State::Connecting {
            let Some(socket) = &stream.socket else { return };
            if let Ok(Err(error)) = sockopt::socket_error(socket) {
                return self.fail(index, cause(error));
            }
            if !flags.contains(EventFlags::OUT) {
                return;
            }
            self.request(index);
        }
        let hangup = flags.intersects(HANGUP);
        if !hangup && !flags.contains(EventFlags::IN) {
            return;
        }
        let stream = &self.streams[index];
        if stream.slow && stream.is_open() && !hangup {
            return;
        }
        self.read(index, hangup, buffer);
    }

    /// Reads until the socket is empty, which a short read proves (edge-triggered epoll), unless
    /// the peer has hung up.
    fn read(&mut self, index: usize, to_end: bool, buffer: &mut [u8]) {
        loop {
            let Some(socket) = &self.streams[index].socket else { return };
            match recv(socket, &mut *buffer, RecvFlags::empty()) {
                Ok((0, _)) => return self.fail(index, ENDED),
                Ok((len, _)) => {
                    self.receive(index, &buffer[..len]);
                    let stream = &self.streams[index];
                    if !to_end && (len < buffer.len() || (stream.slow && stream.is_open())) {
                        return;
                    }
                }
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => {}
                Err(error) => return self.fail(index, cause(error)),
            }
        }
    }

    /// Reads once from every slow stream, as much as fits `buffer`.
    pub(super) fn read_slow(&mut self, buffer: &mut [u8]) {
        for index in 0..self.streams.len() {
            let stream = &self.streams[index];
            let Some(socket) = stream.socket.as_ref().filter(|_| stream.slow && stream.is_open())
            else {
                continue;
            };
            match recv(socket, &mut *buffer, RecvFlags::empty()) {
                Ok((0, _)) => self.fail(index, ENDED),
                Ok((len, _)) => self.receive(index, &buffer[..len]),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => self.fail(index, cause(error)),
            }
        }
    }

    fn receive(&mut self, index: usize, bytes: &[u8]) {
        let now = clock::now();
        self.stats.record_bytes(bytes.len());
        let malformed = self.streams[index].response.feed(bytes, &mut self.context).is_err();
        let mut items = std::mem::take(&mut self.context.items);
        for item in items.drain(..) {
            match item {
                Item::Head(200) => self.open(index, now),
                Item::Head(status) => self.fail(index, &format!("status {status}")),
                Item::Event(stamp) => self.record(index, (stamp, false), now),
                Item::LateEvent(stamp) => self.record(index, (stamp, true), now),
                Item::Control(event_type) => self.record_control(index, event_type, now),
                Item::End => self.fail(index, ENDED),
            }
        }
        self.context.items = items;
        if malformed {
            self.fail(index, "not HTTP/1.1 or not an event stream");
        }
    }

    fn record_control(&mut self, index: usize, event_type: u8, now: u64) {
        let event_type = self.context.types.name(event_type);
        self.stats.record_control(event_type);
        let stream = &mut self.streams[index];
        match event_type {
            b"reset" => {
                stream.fate.reset = true;
                stream.announce_loss(now);
            }
            b"lagged" => {
                stream.fate.lagged = true;
                // A stream that resumes expects what it has missed.
                if !self.assignment.resume {
                    stream.announce_loss(now);
                }
            }
            _ => {}
        }
    }

    /// Accounts for an event; `is_late` if its id is not above that of the event before.
    fn record(&mut self, index: usize, (stamp, is_late): (Stamp, bool), now: u64) {
        let stream = &mut self.streams[index];
        let slow = stream.slow;
        if stamp.topic != self.assignment.topic_of(index) {
            return self.accounting.record_misrouted(slow);
        }
        let Some(arrival) = stream.sequences.record(stamp.publisher, stamp.number) else {
            return self.accounting.record_misrouted(slow);
        };
        self.accounting.record(slow, arrival, is_late);
        if arrival == Arrival::Duplicate {
            return;
        }
        self.stats.record_delivery(now);
        if stream.recovering {
            self.check_recovery(index, now);
        }
        let latency = now.saturating_sub(stamp.due);
        if slow {
            return self.stats.record_slow_latency(latency);
        }
        if stamp.number >= self.assignment.warmup {
            self.stats.record_latency(latency);
        }
        let readers = self.streams.readers();
        if let Some(message) = self.completion.record(stamp.number, now, readers) {
            channel::send(&message);
        }
    }
}
