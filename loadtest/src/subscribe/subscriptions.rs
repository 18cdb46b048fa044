//! The life cycle of streams: connect, open, fail, leave. Composes the parts of a worker that a
//! stream's transition touches.

use rustix::net::{SendFlags, send};

use super::accounting::Accounting;
use super::channel;
use super::completion::Completion;
use super::message::{Assignment, Final};
use super::opener::Opener;
use super::sequences::Sequences;
use super::sse::DecodeContext;
use super::stats::Stats;
use super::storm::Storm;
use super::stream::{DueTimes, Fate, State};
use super::stream_set::StreamSet;
use crate::connect::dial::cause;
use crate::error::Error;
use crate::measure::clock;
use crate::measure::sequence::SequenceTracker;

/// Connects started in a row before streams are read again.
const CONNECT_BATCH: usize = 64;

pub(super) struct Subscriptions {
    pub(super) assignment: Assignment,
    pub(super) streams: StreamSet,
    pub(super) context: DecodeContext,
    pub(super) opener: Opener,
    pub(super) storm: Storm,
    pub(super) completion: Completion,
    pub(super) accounting: Accounting,
    pub(super) stats: Stats,
    pub(super) due_times: Option<DueTimes>,
}

impl Subscriptions {
    pub(super) fn new(assignment: Assignment, now: u64) -> Result<Self, Error> {
        let streams =
            StreamSet::new(&assignment).map_err(|error| Error::system("open an epoll", error))?;
        Ok(Self {
            streams,
            context: DecodeContext::new(
                assignment.run_id,
                assignment.resume,
                assignment.publishers > 1,
            ),
            opener: Opener::new(&assignment, now),
            storm: Storm::default(),
            completion: Completion::new(assignment.announce),
            accounting: Accounting::default(),
            stats: Stats::default(),
            due_times: None,
            assignment,
        })
    }

    /// Starts the connects the ramp allows.
    pub(super) fn connect_some(&mut self, now: u64) {
        for _ in 0..CONNECT_BATCH {
            let Some(index) = self.opener.ramp.next(now) else { return };
            let index = index as usize;
            match self.streams.connect(index, &self.assignment, now) {
                Ok(token) => self.opener.start_timeout(token, now),
                Err(error) => self.fail(index, cause(error)),
            }
        }
    }

    pub(super) fn fail_timed_out(&mut self, now: u64) {
        while let Some(index) = self.opener.take_timed_out(&self.streams, now) {
            self.fail(index, "no response head in time");
        }
    }

    /// The connection is established: sends the request.
    pub(super) fn request(&mut self, index: usize) {
        let Assignment { resume, request, .. } = &self.assignment;
        let (global, topic) = (self.assignment.global(index), self.assignment.topic_of(index));
        let stream = &mut self.streams[index];
        stream.state = State::Requested;
        let last_id = if *resume { stream.response.last_id() } else { None };
        let request = request.render(global, topic, last_id);
        let Some(socket) = &stream.socket else { return };
        match send(socket, &request, SendFlags::NOSIGNAL) {
            Ok(len) if len == request.len() => {}
            Ok(_) => self.fail(index, "request did not fit the socket"),
            Err(error) => self.fail(index, cause(error)),
        }
    }

    /// A response head with status 200 has arrived.
    pub(super) fn open(&mut self, index: usize, now: u64) {
        self.streams.set_open(index);
        let stream = &mut self.streams[index];
        self.opener.record_opened(stream.connecting_since, now);
        if !std::mem::replace(&mut stream.tracked, true) {
            let (topic, topics) = self.assignment.topic_in_group(index);
            let tracker = || match (self.due_times, self.assignment.publishers) {
                (Some(due), 1) => due.tracker(now, topic, topics),
                // The connection of a scheduled event is not known in advance.
                (Some(due), _) => DueTimes { interval: 0, ..due }.tracker(now, topic, topics),
                (None, _) => SequenceTracker::default(),
            };
            stream.sequences = Sequences::new(self.assignment.publishers, tracker);
        } else if !self.assignment.resume {
            // What the server announced goes on until the stream is open again.
            stream.told_at = now;
        }
        if stream.recovering {
            self.check_recovery(index, now);
        }
    }

    pub(super) fn check_recovery(&mut self, index: usize, now: u64) {
        let topic = self.assignment.topic_in_group(index);
        self.storm.check(&mut self.streams[index], self.due_times, topic, now);
    }

    /// The connection is lost for `cause`, and opened again if retries are enabled.
    pub(super) fn fail(&mut self, index: usize, cause: &str) {
        let stage = match self.streams[index].state {
            State::Open => "open",
            State::Connecting | State::Requested => "opening",
            State::Closed | State::Failed => return,
        };
        self.stats.record_failure(stage, cause);
        self.streams[index].fate.ended |= stage == "open";
        self.close(index);
        match self.assignment.retry {
            Some(delay) => self.opener.retry(index, delay, clock::now()),
            None => self.streams[index].state = State::Failed,
        }
        for message in self.completion.recheck(self.streams.readers()) {
            channel::send(&message);
        }
    }

    fn close(&mut self, index: usize) {
        if self.streams[index].is_opening() {
            self.opener.ramp.complete();
        }
        self.streams.close(index);
    }

    /// Disconnects an open stream on purpose.
    pub(super) fn leave(&mut self, index: usize) {
        self.stats.record_left();
        self.close(index);
        if !self.assignment.resume {
            let (topic, publishers) = (self.assignment.topic_of(index), self.assignment.publishers);
            self.accounting.settle(topic, publishers, &mut self.streams[index]);
        }
    }

    /// Disconnects all streams; they reconnect from `reconnect_at` on.
    pub(super) fn start_storm(&mut self, reconnect_at: u64, last_due: Option<u64>) {
        let now = clock::now();
        let recovers = self.assignment.resume && self.assignment.publishers == 1;
        self.storm.begin(reconnect_at, last_due, recovers);
        for index in 0..self.streams.len() {
            self.storm.include(&mut self.streams[index]);
            if !self.streams[index].is_open() {
                continue;
            }
            self.leave(index);
            if reconnect_at > now {
                self.opener.ramp.enqueue_at(index as u32, reconnect_at);
            } else {
                self.opener.ramp.enqueue(index as u32, now);
            }
        }
        self.opener.set_unsettled();
    }

    /// Begins to count what becomes of the streams that have been opened by now. One that is just
    /// being opened again has already lost its connection.
    pub(super) fn watch_streams(&mut self) {
        for stream in self.streams.iter_mut() {
            let (watched, ended) = (stream.tracked, !stream.is_open());
            stream.fate = Fate { watched, ended, ..Fate::default() };
        }
    }

    /// True once, after the end of publishing, when no event is missing.
    pub(super) fn take_drained(&mut self) -> bool {
        self.opener.ramp.pending() == 0
            && self.accounting.take_drained(&self.streams, &self.assignment)
    }

    pub(super) fn into_final(mut self) -> Final {
        let mut last = Final { open: self.streams.open(), ..Final::default() };
        self.opener.report(&mut last);
        self.stats.report(&mut last);
        self.accounting.report(&self.streams, &self.assignment, self.due_times, &mut last);
        last
    }
}
