//! The worker process: its event loop, commands and timers.

use super::channel::{self, CommandReader};
use super::churn::Churn;
use super::message::{FromWorker, ToWorker};
use super::stream::DueTimes;
use super::subscriptions::Subscriptions;
use crate::connect;
use crate::error::Error;
use crate::measure::clock::{self, SECOND};
use crate::measure::server;

/// The read buffer, shared by all streams: large enough for a backlog in few reads, small enough
/// for the processor's cache.
const READ_BYTES: usize = 256 * 1024;
/// Epoll events handled before timers and connects are.
const EVENTS_MAX: usize = 1024;
/// The token of standard input.
const COMMANDS: u64 = u64::MAX;
/// From one read of the slow streams to the next.
const SLOW_READ_INTERVAL: u64 = SECOND / 10;
/// The longest wait while the ramp or churn limits a rate.
const RATE_INTERVAL: u64 = SECOND / 1000;

struct Worker {
    subscriptions: Subscriptions,
    commands: CommandReader,
    churn: Churn,
    next_tick: u64,
    next_slow_read: u64,
    reporting: bool,
}

/// Runs the worker of the hidden `worker` sub-command until the parent asks for its report.
pub(crate) fn run() -> Result<(), Error> {
    connect::raise_descriptor_limit();
    let (assignment, mut commands) = CommandReader::open()?;
    if assignment.urgent {
        connect::raise_priority();
    }
    let now = clock::now();
    let next_tick = (now / assignment.tick + 1) * assignment.tick;
    let subscriptions = Subscriptions::new(assignment, now)?;
    subscriptions
        .streams
        .poll(std::io::stdin(), COMMANDS)
        .map_err(|error| Error::system("poll standard input", error))?;
    let buffered = commands.commands();
    let mut worker = Worker {
        subscriptions,
        commands,
        churn: Churn::default(),
        next_tick,
        next_slow_read: now,
        reporting: false,
    };
    buffered.into_iter().for_each(|command| worker.apply(command));
    worker.serve();
    worker.report();
    Ok(())
}

impl Worker {
    fn serve(&mut self) {
        let mut ready = Vec::with_capacity(EVENTS_MAX);
        let mut buffer = vec![0; READ_BYTES];
        while !self.reporting {
            self.subscriptions.streams.wait(&mut ready, self.timeout(clock::now()));
            for event in &ready {
                match event.data.u64() {
                    COMMANDS => self.read_commands(),
                    token => self.subscriptions.on_ready(token, event.flags, &mut buffer),
                }
            }
            self.run_timers(&mut buffer);
        }
    }

    fn timeout(&self, now: u64) -> u64 {
        let ramp = &self.subscriptions.opener.ramp;
        let slow = self.has_slow_streams().then_some(self.next_slow_read);
        let rate = (ramp.is_rate_limited() || self.churn.is_active()).then(|| now + RATE_INTERVAL);
        let deadlines = [slow, rate, ramp.next_due()];
        deadlines.into_iter().flatten().fold(self.next_tick, u64::min).saturating_sub(now)
    }

    fn has_slow_streams(&self) -> bool {
        self.subscriptions.assignment.slow_share > 0.0
    }

    fn read_commands(&mut self) {
        for command in self.commands.read() {
            self.apply(command);
        }
    }

    fn apply(&mut self, command: ToWorker) {
        match command {
            ToWorker::Schedule { start, interval } => {
                self.subscriptions.due_times = Some(DueTimes { start, interval });
            }
            ToWorker::CountPeriods { start, length, until } => {
                self.subscriptions.stats.count_periods(start, length, until);
            }
            ToWorker::WatchStreams => self.subscriptions.watch_streams(),
            ToWorker::Churn { rate } => self.churn.set_rate(rate, clock::now()),
            ToWorker::Storm { reconnect_at, last_due } => {
                self.subscriptions.start_storm(reconnect_at, last_due);
            }
            ToWorker::Finish { counts, rejected } => {
                let publishers = self.subscriptions.assignment.publishers;
                self.subscriptions.accounting.finish(publishers, counts, rejected);
                self.send_if_drained();
            }
            ToWorker::Report => self.reporting = true,
        }
    }

    /// Once per iteration of the event loop.
    fn run_timers(&mut self, buffer: &mut [u8]) {
        let now = clock::now();
        self.subscriptions.connect_some(now);
        self.subscriptions.fail_timed_out(now);
        self.churn.disconnect_due(&mut self.subscriptions, now);
        if self.has_slow_streams() && now >= self.next_slow_read {
            self.next_slow_read = now + SLOW_READ_INTERVAL;
            self.read_slow(buffer);
        }
        if let Some(settled) = self.subscriptions.opener.take_settled() {
            self.send_tick(now);
            channel::send(&settled);
        }
        if let Some(recovered) = self.subscriptions.storm.take_recovered() {
            channel::send(&recovered);
        }
        if now >= self.next_tick {
            let tick = self.subscriptions.assignment.tick;
            // More often while streams open, to see the server's memory grow with them.
            let interval = if self.subscriptions.opener.is_unsettled() { tick / 5 } else { tick };
            self.next_tick = (now / interval + 1) * interval;
            self.send_tick(now);
            self.send_if_drained();
        }
    }

    fn read_slow(&mut self, buffer: &mut [u8]) {
        let rate = self.subscriptions.assignment.slow_bytes_per_second;
        let len = (rate * SLOW_READ_INTERVAL / SECOND) as usize;
        let len = len.min(buffer.len());
        if len > 0 {
            self.subscriptions.read_slow(&mut buffer[..len]);
        }
    }

    fn send_tick(&mut self, now: u64) {
        let Subscriptions { streams, stats, .. } = &mut self.subscriptions;
        let (open, open_min) = (streams.open(), streams.take_open_min());
        channel::send(&FromWorker::Tick(stats.take_tick(open, open_min, now)));
    }

    fn send_if_drained(&mut self) {
        if self.subscriptions.take_drained() {
            channel::send(&FromWorker::Drained);
        }
    }

    fn report(mut self) {
        self.send_tick(clock::now());
        let mut last = self.subscriptions.into_final();
        last.memory = server::user_memory(std::process::id()).unwrap_or(0);
        last.cpu = clock::own_cpu();
        channel::send(&FromWorker::Final(Box::new(last)));
    }
}
