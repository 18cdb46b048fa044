//! The publisher's event loop: sends what is due on a connection with capacity, reads responses,
//! replaces broken connections.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use super::message::{Command, PublishPlan, PublisherEvent};
use super::poller::{Poller, TIMER};
use super::pool::Pool;
use super::schedule::Schedule;
use super::stats::Stats;
use crate::connect;
use crate::error::Error;
use crate::measure::clock;

/// The token of the eventfd that announces commands; connections have their index.
const WAKE: u64 = u64::MAX - 1;
const EVENTS_MAX: usize = 256;
const READ_BYTES: usize = 64 * 1024;

pub(super) struct EventLoop {
    plan: PublishPlan,
    poller: Poller,
    wake: Arc<OwnedFd>,
    commands: Receiver<Command>,
    pool: Pool,
    schedule: Schedule,
    stats: Stats,
    next_tick: u64,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    /// Waits for the responses in flight.
    Finishing,
    Aborted,
}

impl EventLoop {
    pub(super) fn open(
        plan: PublishPlan,
        wake: Arc<OwnedFd>,
        commands: Receiver<Command>,
    ) -> Result<Self, Error> {
        let poller = Poller::open().map_err(|error| Error::system("open an epoll", error))?;
        poller.add(&*wake, WAKE).map_err(|error| Error::system("poll an eventfd", error))?;
        Ok(Self {
            pool: Pool::open(&plan, &poller)?,
            schedule: Schedule::default(),
            stats: Stats::new(&plan),
            next_tick: clock::now() + plan.tick,
            phase: Phase::Running,
            poller,
            wake,
            commands,
            plan,
        })
    }

    pub(super) fn run(mut self, send: &dyn Fn(PublisherEvent)) {
        self.serve(send);
        send(PublisherEvent::Tick(self.stats.take_tick()));
        send(PublisherEvent::Finished(self.stats.into_published()));
    }

    fn serve(&mut self, send: &dyn Fn(PublisherEvent)) {
        let mut ready = Vec::with_capacity(EVENTS_MAX);
        let mut buffer = vec![0; READ_BYTES];
        if self.plan.urgent {
            connect::raise_priority();
        }
        loop {
            self.send_due();
            let now = clock::now();
            if self.schedule.take_exhausted(now) {
                send(PublisherEvent::Exhausted);
            }
            match self.phase {
                Phase::Aborted => return,
                Phase::Finishing if self.pool.is_idle() => return,
                Phase::Running | Phase::Finishing => {}
            }
            self.reconnect(now);
            if now >= self.next_tick {
                send(PublisherEvent::Tick(self.stats.take_tick()));
                self.replace_timed_out(now);
                self.next_tick = now + self.plan.tick;
            }
            self.poller.wait(&mut ready, now, self.deadline(now));
            for event in &ready {
                match event.data.u64() {
                    TIMER => {}
                    WAKE => self.receive_commands(),
                    index => self.read(index as usize, &mut buffer),
                }
            }
        }
    }

    fn deadline(&self, now: u64) -> u64 {
        let due = self.pool.free().and_then(|_| self.schedule.next_due(now));
        let reconnect = self.pool.next_reconnect();
        [due, reconnect].into_iter().flatten().fold(self.next_tick, u64::min)
    }

    fn receive_commands(&mut self) {
        let _ = rustix::io::read(&*self.wake, &mut [0u8; 8]);
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Abort => self.phase = Phase::Aborted,
                Command::Finish if self.phase == Phase::Running => self.phase = Phase::Finishing,
                _ => {}
            }
            self.schedule.apply(command);
        }
    }

    fn send_due(&mut self) {
        while let Some(index) = self.pool.free() {
            let now = clock::now();
            let Some(due) = self.schedule.take(now) else { return };
            let stamp = self.stats.next_event(due, index);
            let PublishPlan { template, run_id, size, .. } = &self.plan;
            self.pool.push(index, stamp, now, |out| template.render(*run_id, stamp, *size, out));
            self.flush(index);
        }
    }

    fn flush(&mut self, index: usize) {
        match self.pool.get(index).flush() {
            Ok(true) => {}
            Ok(false) => self.poll_writable(index, true),
            Err(cause) => self.replace(index, cause),
        }
    }

    fn poll_writable(&mut self, index: usize, writable: bool) {
        if let Some(socket) = &self.pool.get(index).socket {
            let _ = self.poller.poll_writable(socket, index as u64, writable);
        }
    }

    fn read(&mut self, index: usize, buffer: &mut [u8]) {
        if !self.pool.get(index).out.is_empty() {
            self.poll_writable(index, false);
            self.flush(index);
        }
        if let Err(cause) = self.pool.get(index).fill(buffer) {
            return self.replace(index, cause);
        }
        loop {
            match self.pool.get(index).next_response() {
                Ok(Some((stamp, response))) => {
                    let now = clock::now();
                    self.stats.record_response(stamp, response.status, now);
                    self.pool.release(index, now);
                    if response.close {
                        return self.replace(index, "closed by the server");
                    }
                }
                Ok(None) => return,
                Err(cause) => return self.replace(index, cause),
            }
        }
    }

    fn replace_timed_out(&mut self, now: u64) {
        let mut from = 0;
        while let Some(index) = self.pool.timed_out(from, now) {
            self.replace(index, "no answer in time");
            from = index + 1;
        }
    }

    fn replace(&mut self, index: usize, cause: &str) {
        for stamp in self.pool.close(index) {
            self.stats.record_failure(stamp, cause);
        }
        self.connect(index, clock::now());
    }

    /// Opens a connection again. Events that fall due while it is down stay due.
    fn connect(&mut self, index: usize, now: u64) {
        if !self.pool.connect(index, now, &self.poller) {
            self.stats.count("could not connect");
        }
    }

    fn reconnect(&mut self, now: u64) {
        while let Some(index) = self.pool.take_reconnect(now) {
            self.connect(index, now);
        }
    }
}
