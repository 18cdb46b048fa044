//! The measured part of a run: how each pace publishes, waits and goes on.

use super::conductor::{Conductor, Stop};
use crate::measure::clock::{self, SECOND};
use crate::measure::latency::Latency;
use crate::publish::Command;
use crate::scenario::{Pace, Scenario};
use crate::subscribe::message::ToWorker;

/// What the measured part found.
#[derive(Default)]
pub struct Measured {
    /// When the first measured event was due.
    pub first_due: u64,
    /// Measured spans, summed, where events are waited for.
    pub busy: u64,
    /// Arrivals in them.
    pub deliveries: u64,
    /// From due until the last stream had it.
    pub last_of_all: Latency,
    /// Arrivals a second, by burst.
    pub bursts_per_s: Vec<f64>,
    /// When a storm's streams began to come back, and when all were, if they were.
    pub storms: Vec<(u64, Option<u64>)>,
}

impl Conductor<'_> {
    /// Publishes as the scenario says.
    pub(super) fn play(&mut self, measured: &mut Measured) -> Result<(), Stop> {
        let scenario = self.scenario;
        match scenario.pace {
            Pace::None => {
                measured.first_due = clock::now();
                self.wait_until(clock::now() + scenario.duration.nanos())
            }
            Pace::Each => self.one_at_a_time(scenario, measured),
            Pace::Burst => self.in_bursts(scenario, measured),
            Pace::Rate => self.at_a_rate(scenario, measured),
        }
    }

    fn one_at_a_time(&mut self, scenario: &Scenario, measured: &mut Measured) -> Result<(), Stop> {
        let most = if scenario.events == 0 { u64::MAX } else { scenario.events + scenario.warmup };
        let mut until = u64::MAX;
        for number in 0..most {
            if number == scenario.warmup {
                self.begin_measuring();
                until = clock::now() + scenario.duration.nanos();
            }
            let due = clock::now();
            if due >= until {
                break;
            }
            let last = self.send_and_wait(1, due, number)?;
            if number >= scenario.warmup {
                measured.first_due = if measured.first_due == 0 { due } else { measured.first_due };
                measured.last_of_all.record(last - due);
                measured.busy += last - due;
                measured.deliveries += self.listeners();
            }
        }
        self.end_measuring();
        Ok(())
    }

    fn in_bursts(&mut self, scenario: &Scenario, measured: &mut Measured) -> Result<(), Stop> {
        for burst in 0..scenario.warmup + scenario.bursts {
            if burst == scenario.warmup {
                self.begin_measuring();
            }
            let due = clock::now();
            let last =
                self.send_and_wait(scenario.events, due, (burst + 1) * scenario.events - 1)?;
            if burst >= scenario.warmup {
                let deliveries = scenario.events * self.listeners();
                measured.first_due = if measured.first_due == 0 { due } else { measured.first_due };
                measured.last_of_all.record(last - due);
                measured.busy += last - due;
                measured.deliveries += deliveries;
                measured
                    .bursts_per_s
                    .push(deliveries as f64 * SECOND as f64 / (last - due).max(1) as f64);
            }
        }
        self.end_measuring();
        Ok(())
    }

    /// Publishes `count` events due now and waits until every stream has all up to `number`;
    /// returns when it had.
    fn send_and_wait(&mut self, count: u64, due: u64, number: u64) -> Result<u64, Stop> {
        self.command(Command::Send { count, due });
        self.wait_complete(number + 1 - count, number, due + self.scenario.patience.nanos())
    }

    fn at_a_rate(&mut self, scenario: &Scenario, measured: &mut Measured) -> Result<(), Stop> {
        self.begin_measuring();
        let count = if scenario.events == 0 { u64::MAX } else { scenario.events };
        // A little ahead, so that every worker knows the schedule before it begins.
        let start = clock::now() + SECOND / 20;
        let until = start + scenario.duration.nanos();
        measured.first_due = start;
        let mut last_due = None;
        if scenario.rate > 0.0 {
            let interval = ((SECOND as f64 / scenario.rate) as u64).max(1);
            let events = count.min(scenario.duration.nanos().div_ceil(interval)).max(1);
            last_due = Some(start.saturating_add((events - 1).saturating_mul(interval)));
            self.tell(&ToWorker::Schedule { start, interval });
            self.command(Command::Rate { start, interval, count, until });
        } else {
            self.command(Command::Flat { count, until });
        }
        if scenario.churn > 0.0 {
            self.tell(&ToWorker::Churn { rate: scenario.churn / self.workers() as f64 });
        }
        for storm in 0..scenario.storms {
            let at = start + scenario.duration.nanos() * (storm + 1) / (scenario.storms + 1);
            self.wait_until(at)?;
            let back = clock::now() + scenario.away.nanos();
            self.tell(&ToWorker::Storm { back, last_due });
            self.wait_until(back)?;
            measured.storms.push((back, self.wait_settled()?));
        }
        let ended = self.wait_exhausted(until + scenario.patience.nanos());
        if scenario.churn > 0.0 {
            self.tell(&ToWorker::Churn { rate: 0.0 });
        }
        ended
    }
}
