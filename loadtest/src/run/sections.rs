//! The report's sections of single scenarios: `fair`, `selectors` and `pause`.

use super::driver::Driver;
use super::outcome::{Outcome, Turns};
use crate::measure::clock::SECOND;
use crate::measure::server::Cost;
use crate::report::{Fair, Pause, SelectorCost, Selectors};

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

/// Streams with many topics beside streams with one.
pub(super) fn selectors(driver: &Driver<'_>, outcome: &Outcome) -> Option<Selectors> {
    let [one_turns, many_turns] = outcome.measured.turns.as_slice() else { return None };
    let [one_opened, many_opened] = outcome.opened.as_slice() else { return None };
    let one = selector_cost(one_turns, *one_opened, outcome.cost_before);
    let many = selector_cost(many_turns, *many_opened, one_opened.1);
    let ratio = |value: fn(&SelectorCost) -> Option<f64>| {
        value(&one).filter(|one| *one > 0.0).and_then(|one| Some(value(&many)? / one))
    };
    Some(Selectors {
        topics: driver.scenario.topics_per_stream,
        event_in: driver.scenario.event_in,
        cpu_ratio: ratio(|cost| cost.cpu_per_delivery_us),
        memory_ratio: ratio(|cost| cost.memory_per_stream),
        opening_ratio: ratio(|cost| cost.cpu_per_opening_us),
        one,
        many,
    })
}

/// `opened` are the group's streams and the server's usage with them; `before` is without them.
fn selector_cost(
    turns: &Turns,
    (streams, opened): (u64, Option<Cost>),
    before: Option<Cost>,
) -> SelectorCost {
    let each = |amount: u64, count: u64| (count > 0).then(|| amount as f64 / count as f64);
    let growth = opened.zip(before).map(|(opened, before)| opened.since(&before));
    let micros = |nanos: f64| nanos / 1000.0;
    SelectorCost {
        deliveries: turns.deliveries,
        per_s: each(turns.deliveries * SECOND, turns.busy_nanos).unwrap_or(0.0),
        last_of_all: turns.last_arrival.percentiles(),
        cpu_per_delivery_us: turns.cpu.and_then(|cpu| each(cpu, turns.deliveries)).map(micros),
        memory_per_stream: growth.and_then(|growth| each(growth.data_memory, streams)),
        cpu_per_opening_us: growth.and_then(|growth| each(growth.cpu, streams)).map(micros),
    }
}

/// What a stop of the server did to the streams.
pub(super) fn pause(outcome: &Outcome) -> Option<Pause> {
    let nanos = outcome.measured.paused_nanos?;
    Some(Pause { seconds: nanos as f64 / SECOND as f64 })
}
