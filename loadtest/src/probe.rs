//! Probes: how long a server under load takes to open a stream and to answer a health check, timed
//! from outside by threads of their own.
//!
//! Probes are due at a fixed interval and are timed from then: if one takes long, those that fell
//! due meanwhile are charged for it.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::connect;
use crate::error::Error;
use crate::http;
use crate::measure::clock;
use crate::measure::latency::Latency;
use crate::scenario::{Scenario, Target};
use crate::subscribe::RequestTemplate;

/// For each step of a probe: the connect, and every read.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest response head.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// What the probes have found.
#[derive(Default)]
pub(crate) struct Probes {
    /// From due to the head of a stream's response.
    pub(crate) opening: Latency,
    /// From due to the head of the health check's response.
    pub(crate) health: Latency,
    /// Probes without a 200 response, by cause.
    pub(crate) failures: BTreeMap<String, u64>,
}

/// Runs the probes until it is finished or dropped.
pub(crate) struct Prober {
    stopped: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Timed>>,
}

/// What one thread has found.
struct Timed {
    name: &'static str,
    latency: Latency,
    failures: BTreeMap<String, u64>,
}

impl Prober {
    /// Starts the probes of a scenario, if it has any.
    pub(crate) fn start(scenario: &Scenario, target: &Target) -> Result<Option<Self>, Error> {
        if scenario.probe.nanos() == 0 {
            return Ok(None);
        }
        let groups = scenario.groups();
        let (first, topics) = (scenario.streams_in_all(), u64::from(groups[0].topics));
        let template = RequestTemplate::new(scenario, groups[0].names.clone(), target);
        // Streams of the large topics in turn, which are closed again once they are open.
        let stream =
            move |number: u64| template.render(first + number, (number % topics) as u32, None);
        let host = target.host.clone();
        let health = format!("GET {} HTTP/1.1\r\nHost: {host}\r\n\r\n", scenario.health);
        let mut prober = Self { stopped: Arc::default(), threads: Vec::new() };
        prober.spawn("opening", scenario, target, stream)?;
        if !scenario.health.is_empty() {
            prober.spawn("health", scenario, target, move |_| health.clone().into_bytes())?;
        }
        Ok(Some(prober))
    }

    fn spawn(
        &mut self,
        name: &'static str,
        scenario: &Scenario,
        target: &Target,
        request: impl Fn(u64) -> Vec<u8> + Send + 'static,
    ) -> Result<(), Error> {
        let (stopped, target) = (Arc::clone(&self.stopped), target.clone());
        let interval = scenario.probe.nanos();
        let run = move || run(name, interval, &stopped, |number| probe(&target, &request(number)));
        let thread = std::thread::Builder::new().name(format!("probe-{name}")).spawn(run);
        self.threads.push(thread.map_err(|error| Error::system("start a thread", error))?);
        Ok(())
    }

    /// Stops the probes; one under way is completed first.
    pub(crate) fn finish(mut self) -> Probes {
        let mut probes = Probes::default();
        for timed in self.join() {
            for (cause, count) in timed.failures {
                probes.failures.insert(format!("{}: {cause}", timed.name), count);
            }
            match timed.name {
                "health" => probes.health = timed.latency,
                _ => probes.opening = timed.latency,
            }
        }
        probes
    }

    fn join(&mut self) -> Vec<Timed> {
        // Ordering: Relaxed, a flag that publishes no data; unpark makes the threads look at it.
        self.stopped.store(true, Ordering::Relaxed);
        self.threads.iter().for_each(|thread| thread.thread().unpark());
        self.threads.drain(..).filter_map(|thread| thread.join().ok()).collect()
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.join();
    }
}

/// Calls `probe` with the number of each probe when it is due.
fn run(
    name: &'static str,
    interval: u64,
    stopped: &AtomicBool,
    probe: impl Fn(u64) -> Result<(), String>,
) -> Timed {
    connect::raise_priority();
    let mut timed = Timed { name, latency: Latency::default(), failures: BTreeMap::new() };
    let start = clock::now();
    for number in 0.. {
        let due = start + number * interval;
        while clock::now() < due && !stopped.load(Ordering::Relaxed) {
            std::thread::park_timeout(Duration::from_nanos(due.saturating_sub(clock::now())));
        }
        if stopped.load(Ordering::Relaxed) {
            break;
        }
        match probe(number) {
            Ok(()) => timed.latency.record(clock::now().saturating_sub(due)),
            Err(cause) => *timed.failures.entry(cause).or_default() += 1,
        }
    }
    timed
}

/// Sends `request` on a new connection and reads the head of the response.
fn probe(target: &Target, request: &[u8]) -> Result<(), String> {
    let failed = |error: std::io::Error| error.kind().to_string();
    let mut socket = TcpStream::connect_timeout(&target.address, STEP_TIMEOUT).map_err(failed)?;
    socket.set_nodelay(true).map_err(failed)?;
    socket.set_read_timeout(Some(STEP_TIMEOUT)).map_err(failed)?;
    socket.write_all(request).map_err(failed)?;
    let mut response = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        match socket.read(&mut chunk).map_err(failed)? {
            0 => return Err("closed by the server".into()),
            len => response.extend_from_slice(&chunk[..len]),
        }
        match http::parse_response(&response) {
            Ok(Some(head)) if head.status == 200 => return Ok(()),
            Ok(Some(head)) => return Err(format!("status {}", head.status)),
            Ok(None) if response.len() <= HEAD_BYTES_MAX => {}
            _ => return Err("not HTTP/1.1".into()),
        }
    }
}
