//! The streams of a worker and the epoll instance that polls them.

use std::ops::{Index, IndexMut};
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll::{self, Event, EventData, EventFlags};
use rustix::io::Errno;

use super::message::Assignment;
use super::stream::{State, Stream, token_parts};
use crate::connect::dial::dial;
use crate::measure::clock;

/// `SO_RCVBUF` of slow streams: unread bytes should stay with the server.
const SLOW_RECEIVE_BUFFER: usize = 4096;

pub(super) struct StreamSet {
    epoll: OwnedFd,
    streams: Vec<Stream>,
    open: u64,
    /// Fewest open since the last [`StreamSet::take_open_min`].
    open_min: u64,
    readers: u64,
}

impl StreamSet {
    pub(super) fn new(assignment: &Assignment) -> Result<Self, Errno> {
        let stream = |index| Stream { slow: assignment.is_slow(index), ..Stream::default() };
        Ok(Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            streams: (0..assignment.streams as usize).map(stream).collect(),
            open: 0,
            open_min: 0,
            readers: 0,
        })
    }

    /// Polls a descriptor that is not a stream.
    pub(super) fn poll(&self, fd: impl AsFd, token: u64) -> Result<(), Errno> {
        epoll::add(&self.epoll, fd, EventData::new_u64(token), EventFlags::IN)
    }

    /// Waits for events, at most `timeout` nanoseconds, rounded up to a millisecond.
    pub(super) fn wait(&self, ready: &mut Vec<Event>, timeout: u64) {
        ready.clear();
        let spare = rustix::buffer::spare_capacity(ready);
        // EINTR: the caller goes on and waits again.
        let _ = epoll::wait(&self.epoll, spare, Some(&clock::timespec(timeout)));
    }

    pub(super) fn len(&self) -> usize {
        self.streams.len()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.streams.iter_mut()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &Stream)> {
        self.streams.iter().enumerate()
    }

    /// Streams open.
    pub(super) fn open(&self) -> u64 {
        self.open
    }

    /// The fewest streams that were open at a time since the last call.
    pub(super) fn take_open_min(&mut self) -> u64 {
        std::mem::replace(&mut self.open_min, self.open)
    }

    /// Streams open that are not slow.
    pub(super) fn readers(&self) -> u64 {
        self.readers
    }

    /// The stream an epoll token belongs to, unless its socket has been closed since.
    pub(super) fn resolve(&self, token: u64) -> Option<usize> {
        let (index, generation) = token_parts(token);
        let stream = &self.streams[index];
        (stream.generation == generation && stream.socket.is_some()).then_some(index)
    }

    /// Starts to connect a stream; returns the token of its socket.
    pub(super) fn connect(
        &mut self,
        index: usize,
        assignment: &Assignment,
        now: u64,
    ) -> Result<u64, Errno> {
        let stream = &mut self.streams[index];
        stream.generation = stream.generation.wrapping_add(1);
        stream.state = State::Connecting;
        stream.connecting_since = now;
        stream.response.restart();
        let buffer =
            if stream.slow { Some(SLOW_RECEIVE_BUFFER) } else { assignment.receive_buffer_bytes };
        let socket = dial(assignment.target, assignment.source_of(index), buffer)?;
        // Edge-triggered and added once: an open stream costs no further epoll_ctl, and the kernel
        // does not check it again after each event.
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        let token = stream.token(index);
        epoll::add(&self.epoll, &socket, EventData::new_u64(token), flags)?;
        stream.socket = Some(socket);
        Ok(token)
    }

    /// The response head has arrived.
    pub(super) fn set_open(&mut self, index: usize) {
        let stream = &mut self.streams[index];
        stream.state = State::Open;
        self.open += 1;
        self.readers += u64::from(!stream.slow);
    }

    /// Closes the socket.
    pub(super) fn close(&mut self, index: usize) {
        let stream = &mut self.streams[index];
        if stream.is_open() {
            self.open -= 1;
            self.open_min = self.open_min.min(self.open);
            self.readers -= u64::from(!stream.slow);
        }
        stream.socket = None;
        stream.state = State::Closed;
    }
}

impl Index<usize> for StreamSet {
    type Output = Stream;

    fn index(&self, index: usize) -> &Stream {
        &self.streams[index]
    }
}

impl IndexMut<usize> for StreamSet {
    fn index_mut(&mut self, index: usize) -> &mut Stream {
        &mut self.streams[index]
    }
}
