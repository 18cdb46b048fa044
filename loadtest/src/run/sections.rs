//! The report's sections of single scenarios: `fair` and `pause`.

use super::driver::Driver;
use super::outcome::Outcome;
use crate::measure::clock::SECOND;
use crate::report::{Fair, Pause};

/// The small topic beside the large ones.
pub(super) fn fair(driver: &Driver<'_>, outcome: &Outcome) -> Option<Fair> {
    let (record, measured) = (&driver.record, &outcome.measured);
    let nanos = measured.parity_nanos.filter(|_| driver.scenario.is_fair())?;
    let per_s = |parity: usize| {
        let seconds = nanos[parity] as f64 / SECOND as f64;
        (seconds > 0.0).then(|| record.total.by_parity[parity] as f64 / seconds)
    };
    // Odd periods are those with the small topic; without odd ones, there is only one kind.
    let (even, odd) = (per_s(0).unwrap_or(0.0), per_s(1));
    let small = driver.groups.get(1);
    let probes = measured.probes.as_ref();
    Some(Fair {
        small_streams: small.map_or(0, |small| small.streams),
        small_latency: record
            .latency
            .get(1)
            .map(|latency| latency.percentiles())
            .unwrap_or_default(),
        small_account: record.accounts.get(1).cloned().unwrap_or_default(),
        small_sent: record.published.get(1).map_or(0, |published| published.sent),
        large_per_s: odd.unwrap_or(even),
        large_alone_per_s: odd.map(|_| even),
        large_loss: odd.filter(|_| even > 0.0).map(|odd| 1.0 - odd / even),
        opening: probes.map(|probes| probes.opening.percentiles()).unwrap_or_default(),
        health: probes.map(|probes| probes.health.percentiles()).unwrap_or_default(),
        failed_probes: probes.map(|probes| probes.failures.clone()).unwrap_or_default(),
    })
}

/// What a stop of the server did to the streams.
pub(super) fn pause(outcome: &Outcome) -> Option<Pause> {
    let nanos = outcome.measured.paused_nanos?;
    Some(Pause { seconds: nanos as f64 / SECOND as f64 })
}
