//! The publisher's loop: takes what is due, writes it to a connection that has room, reads the
//! answers.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use rustix::event::epoll::{self, EventData, EventFlags};

use super::connection::Connection;
use super::schedule::Drive;
use super::{Command, FromPublisher, PublishPlan, PublishTick};
use crate::error::Fault;
use crate::measure::clock::{self, SECOND};
use crate::measure::latency::Latency;
use crate::measure::stamp::Stamp;

const WAKE: u64 = u64::MAX;
/// A request without an answer after this long is given up with its connection.
const ANSWER_TIMEOUT: u64 = 30 * SECOND;
/// From a connect that failed to the next on the same connection.
const RECONNECT_INTERVAL: u64 = SECOND / 5;

pub(super) struct Loop {
    plan: PublishPlan,
    epoll: OwnedFd,
    wake: Arc<OwnedFd>,
    inbox: Receiver<Command>,
    connections: Vec<Connection>,
    /// Connections with room, last used first, so that one is enough where one is.
    free: Vec<usize>,
    drive: Drive,
    next: Vec<u64>,
    sent: u64,
    excused: Vec<(u32, u64)>,
    tick: PublishTick,
    latency: Latency,
    next_tick: u64,
    /// Connections that are down, with the time to try again, in order.
    down: VecDeque<(u64, usize)>,
    finishing: bool,
    aborting: bool,
}

impl Loop {
    pub(super) fn open(
        plan: PublishPlan,
        wake: Arc<OwnedFd>,
        inbox: Receiver<Command>,
    ) -> Result<Self, Fault> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)
            .map_err(|e| Fault::system("open an epoll", e))?;
        epoll::add(&epoll, wake.as_fd(), EventData::new_u64(WAKE), EventFlags::IN)
            .map_err(|error| Fault::system("watch an eventfd", error))?;
        let mut publisher = Self {
            epoll,
            wake,
            inbox,
            connections: Vec::new(),
            free: (0..plan.connections).rev().collect(),
            drive: Drive::default(),
            next: vec![0; plan.topics as usize],
            sent: 0,
            excused: Vec::new(),
            tick: PublishTick::default(),
            latency: Latency::default(),
            next_tick: clock::now() + plan.tick,
            down: VecDeque::new(),
            finishing: false,
            aborting: false,
            plan,
        };
        for index in 0..publisher.plan.connections {
            let connection = Connection::open(publisher.plan.target).map_err(Fault::Failed)?;
            publisher.connections.push(connection);
            publisher.watch(index)?;
        }
        Ok(publisher)
    }

    fn watch(&self, index: usize) -> Result<(), Fault> {
        let Some(socket) = &self.connections[index].socket else { return Ok(()) };
        epoll::add(&self.epoll, socket, EventData::new_u64(index as u64), EventFlags::IN)
            .map_err(|error| Fault::system("watch a connection", error))
    }

    pub(super) fn run(&mut self, tell: &dyn Fn(FromPublisher)) {
        self.serve(tell);
        self.tell_tick(tell);
        let (ends, excused) = (self.next.clone(), std::mem::take(&mut self.excused));
        tell(FromPublisher::Finished { ends, excused });
    }

    fn serve(&mut self, tell: &dyn Fn(FromPublisher)) {
        let mut ready = Vec::with_capacity(256);
        let mut buffer = vec![0; 64 * 1024];
        loop {
            self.send_due();
            let now = clock::now();
            if self.drive.exhausted(now) {
                tell(FromPublisher::Exhausted);
            }
            let idle =
                |publisher: &Self| publisher.connections.iter().all(|c| c.in_flight.is_empty());
            if self.aborting || (self.finishing && idle(self)) {
                return;
            }
            self.reconnect(now);
            if now >= self.next_tick {
                self.tell_tick(tell);
                self.give_up_unanswered(now);
                self.next_tick = now + self.plan.tick;
            }
            ready.clear();
            let nap = clock::timespec(self.nap(now));
            let _ =
                epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut ready), Some(&nap));
            for event in &ready {
                match event.data.u64() {
                    WAKE => self.obey(),
                    index => self.read(index as usize, &mut buffer),
                }
            }
        }
    }

    fn nap(&self, now: u64) -> u64 {
        let due = if self.free.is_empty() { None } else { self.drive.due(now) };
        let again = self.down.front().map_or(u64::MAX, |&(due, _)| due);
        due.unwrap_or(u64::MAX).min(self.next_tick).min(again).saturating_sub(now)
    }

    fn obey(&mut self) {
        let _ = rustix::io::read(&*self.wake, &mut [0u8; 8]);
        while let Ok(command) = self.inbox.try_recv() {
            self.finishing |= matches!(command, Command::Finish | Command::Abort);
            self.aborting |= matches!(command, Command::Abort);
            self.drive.obey(command);
        }
    }

    fn send_due(&mut self) {
        while let Some(&index) = self.free.last() {
            let now = clock::now();
            let Some(due) = self.drive.take(now) else { return };
            let topic = (self.sent % u64::from(self.plan.topics)) as u32;
            let number = self.next[topic as usize];
            self.next[topic as usize] += 1;
            self.sent += 1;
            self.tick.sent += 1;
            let stamp = Stamp { topic, number, due };
            let connection = &mut self.connections[index];
            self.plan.template.render(
                self.plan.run,
                stamp,
                self.plan.topics,
                self.plan.size,
                &mut connection.out,
            );
            if connection.in_flight.is_empty() {
                connection.since = now;
            }
            connection.in_flight.push_back(stamp);
            if connection.in_flight.len() >= self.plan.depth {
                self.free.pop();
            }
            self.flush(index);
        }
    }

    fn flush(&mut self, index: usize) {
        let left = match self.connections[index].flush() {
            Ok(left) => left,
            Err(why) => return self.reopen(index, why),
        };
        if left {
            self.rewatch(index, EventFlags::IN | EventFlags::OUT);
        }
    }

    fn rewatch(&self, index: usize, flags: EventFlags) {
        if let Some(socket) = &self.connections[index].socket {
            let _ = epoll::modify(&self.epoll, socket, EventData::new_u64(index as u64), flags);
        }
    }

    fn read(&mut self, index: usize, buffer: &mut [u8]) {
        if !self.connections[index].out.is_empty() {
            self.rewatch(index, EventFlags::IN);
            self.flush(index);
        }
        if let Err(why) = self.connections[index].fill(buffer) {
            return self.reopen(index, why);
        }
        loop {
            match self.connections[index].next_answer() {
                Ok(Some((stamp, response))) => {
                    self.note(stamp, response.status);
                    self.connections[index].since = clock::now();
                    self.release(index);
                    if response.last {
                        return self.reopen(index, "closed by the server");
                    }
                }
                Ok(None) => return,
                Err(why) => return self.reopen(index, why),
            }
        }
    }

    /// The connection has room again.
    fn release(&mut self, index: usize) {
        if self.connections[index].in_flight.len() + 1 == self.plan.depth {
            self.free.push(index);
        }
    }

    fn note(&mut self, stamp: Stamp, status: u16) {
        *self.tick.answers.entry(status.to_string()).or_default() += 1;
        if (200..300).contains(&status) {
            self.latency.record(clock::now().saturating_sub(stamp.due));
        } else {
            self.excused.push((stamp.topic, stamp.number));
        }
    }

    fn give_up_unanswered(&mut self, now: u64) {
        for index in 0..self.connections.len() {
            let connection = &self.connections[index];
            if !connection.in_flight.is_empty()
                && now.saturating_sub(connection.since) > ANSWER_TIMEOUT
            {
                self.reopen(index, "no answer in time");
            }
        }
    }

    /// Replaces a connection. Whether its unanswered events were taken is unknown: nobody is owed
    /// them.
    fn reopen(&mut self, index: usize, why: &str) {
        for stamp in self.connections[index].close() {
            *self.tick.answers.entry(why.to_owned()).or_default() += 1;
            self.excused.push((stamp.topic, stamp.number));
        }
        self.free.retain(|&free| free != index);
        self.connect(index, clock::now());
    }

    /// Opens a connection again, or notes when to try next. What is due meanwhile stays due.
    fn connect(&mut self, index: usize, now: u64) {
        let opened = Connection::open(self.plan.target).and_then(|connection| {
            self.connections[index] = connection;
            self.watch(index).map_err(|fault| fault.to_string())
        });
        match opened {
            Ok(()) => self.free.push(index),
            Err(_) => {
                *self.tick.answers.entry("could not connect".into()).or_default() += 1;
                self.down.push_back((now + RECONNECT_INTERVAL, index));
            }
        }
    }

    fn reconnect(&mut self, now: u64) {
        while let Some(&(due, index)) = self.down.front()
            && due <= now
        {
            self.down.pop_front();
            self.connect(index, now);
        }
    }

    fn tell_tick(&mut self, tell: &dyn Fn(FromPublisher)) {
        self.tick.latency = self.latency.take();
        tell(FromPublisher::Tick(std::mem::take(&mut self.tick)));
    }
}
