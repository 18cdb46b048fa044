//! Deterministic simulation of a node: sequencer, log, rings, sessions, pump, timer and reactor on
//! one thread, with virtual time.
//!
//! A seed chooses the settings, and what clients, publishers and the clock do. Sockets are pairs of
//! Unix sockets, whose other ends the simulation reads promptly, slowly or not at all; the kernel
//! reports their readiness to the shard's own reactor. Only what is between socket and session is
//! left out: accepting, HTTP and hyper. The clock stands still while code runs, moves on when all
//! is quiet, and jumps when the process stands still.
//!
//! Every client is an `EventSource`: it checks what it receives against a list of all that was
//! published, and reconnects with the last id it received. What the node does is also checked as it
//! happens, by its writes. A broken promise is a [`Finding`].
//!
//! One seed gives one run, always the same on one kernel: all random numbers of the thread are
//! seeded, and nothing iterates over a hash map. `CONTRIBUTING.md` says how to replay one.
//!
//! Files, in dependency order: `finding`, `transcript` (a stream's bytes as events), `plan` (what
//! a seed chooses before the run), `model` (all that was published), `client`, `watch` (the node's
//! writes), `world` (the run), with its `network` (connecting, reading) and `checks`.

mod checks;
mod client;
mod finding;
mod model;
mod network;
mod plan;
mod transcript;
mod watch;
mod world;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use tokio::task::LocalSet;

use finding::{Finding, Kind};
use plan::Plan;
use world::World;

/// Seeds that a run without parameters tries.
const SEEDS: u64 = 300;

/// Failed seeds that are printed with what was found, and those of each kind.
const PRINTED: usize = 10;

/// Descriptors for the sockets of every thread, beside those of other tests.
const DESCRIPTORS: u64 = 16 * 1024;

/// What became of one seed.
#[derive(Default)]
struct Outcome {
    findings: Vec<Finding>,
    /// Hash of all bytes that clients received, in the order they did.
    digest: u64,
    /// Events that clients received.
    delivered: u64,
}

/// Runs one seed; with `trace`, prints what happens.
fn simulate(seed: u64, trace: bool) -> Outcome {
    fastrand::seed(seed);
    let mut rng = fastrand::Rng::with_seed(seed);
    let plan = Plan::draw(&mut rng);
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().start_paused(true).build().expect("a runtime can be built");
    let tasks = LocalSet::new();
    runtime.block_on(tasks.run_until(async { World::new(rng, plan, trace).run().await }))
}

/// A number from the environment: which seeds to run is no setting of the node.
#[expect(clippy::disallowed_methods, reason = "no setting of the node")]
fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} must be a number, not {text:?}")))
}

/// `SIMULATION_SEED` alone is one seed; with `SIMULATION_SEEDS`, so many from it on.
#[test]
fn every_seed_keeps_the_promises() {
    let _ = rlimit::increase_nofile_limit(DESCRIPTORS);
    let seed = number("SIMULATION_SEED");
    let count = number("SIMULATION_SEEDS").unwrap_or(if seed.is_some() { 1 } else { SEEDS });
    let (first, started) = (seed.unwrap_or(0), Instant::now());
    let (next, delivered) = (AtomicU64::new(first), AtomicU64::new(0));
    let failed = Mutex::new(BTreeMap::new());
    let run = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + count {
                return;
            }
            let run = catch_unwind(AssertUnwindSafe(|| simulate(seed, count == 1)));
            let outcome = run.unwrap_or_else(|_| Outcome {
                findings: vec![Finding::panicked()],
                ..Outcome::default()
            });
            delivered.fetch_add(outcome.delivered, Ordering::Relaxed);
            if !outcome.findings.is_empty() {
                let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                failed.insert(seed, outcome.findings);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, |cores| cores.get()) {
            scope.spawn(run);
        }
    });
    let (failed, seconds) = (failed.into_inner().unwrap(), started.elapsed().as_secs_f64());
    let (rate, failures) = (count as f64 / seconds, failed.len());
    println!("{count} seeds, {rate:.0}/s, {delivered:?} events delivered, {failures} failed");
    report(&failed);
}

/// Fails if a seed has.
fn report(failed: &BTreeMap<u64, Vec<Finding>>) {
    let mut by_kind: BTreeMap<Kind, Vec<u64>> = BTreeMap::new();
    for (seed, findings) in failed {
        for finding in findings {
            by_kind.entry(finding.kind).or_default().push(*seed);
        }
    }
    for (seed, findings) in failed.iter().take(PRINTED) {
        findings.iter().for_each(|finding| println!("seed {seed}: {finding}"));
    }
    for (kind, seeds) in &by_kind {
        let first = &seeds[..seeds.len().min(PRINTED)];
        println!("{kind:?}: {} seeds, the first {first:?}", seeds.len());
    }
    if let Some(seed) = failed.keys().next() {
        panic!("a promise was broken; make simulate SEED={seed} replays it");
    }
}

#[test]
fn a_seed_replays_exactly() {
    let _ = rlimit::increase_nofile_limit(DESCRIPTORS);
    for seed in 0..8 {
        let [once, again] = [(); 2].map(|()| {
            let run = simulate(seed, false);
            let findings: Vec<_> = run.findings.iter().map(ToString::to_string).collect();
            (run.digest, run.delivered, findings)
        });
        assert_eq!(once, again, "seed {seed}");
        assert!(once.1 > 0, "seed {seed} delivers events");
    }
}
