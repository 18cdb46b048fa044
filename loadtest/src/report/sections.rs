//! The rows of single scenarios, `fair`, `selectors` and `pause`, and of what became of the
//! streams.

use super::rows::{Rows, count, grouped, kib, list, percentiles};
use super::{Fair, Report, SelectorCost, Selectors};

/// What became of the streams, if any was disturbed or the server was stopped.
pub(super) fn fates(report: &Report, rows: &mut Rows) {
    let fates = &report.fates;
    if let Some(pause) = &report.pause {
        rows.row("server stopped", &format!("for {:.1} s", pause.seconds));
    }
    let disturbed = fates.ended + fates.lagged + fates.reset;
    if disturbed == 0 && report.pause.is_none() {
        return;
    }
    let shown = [
        (fates.stayed, "stayed"),
        (fates.ended, "ended"),
        (fates.lagged, "lagged"),
        (fates.reset, "reset"),
        (fates.reconnected, "reconnected"),
        (fates.missing_announced, "missed announced events"),
        (fates.missing_silently, "missed events in silence"),
    ];
    let words: Vec<String> =
        shown.iter().map(|(count, name)| format!("{} {name}", grouped(*count))).collect();
    rows.row("streams", &words.join(", "));
}

pub(super) fn fair(fair: &Fair, rows: &mut Rows) {
    if fair.small_streams > 0 {
        let account = &fair.small_account;
        rows.row("small topic", &percentiles(&fair.small_latency));
        let text = format!(
            "{}, {} sent, {} received, {} missing, {} repeated",
            count(fair.small_streams, "stream"),
            grouped(fair.small_sent),
            grouped(account.received),
            grouped(account.missing),
            grouped(account.repeated)
        );
        rows.row("  account", &text);
    }
    let mut text = format!("{} deliveries/s", grouped(fair.large_per_s as u64));
    if let (Some(alone), Some(loss)) = (fair.large_alone_per_s, fair.large_loss) {
        let (alone, loss) = (grouped(alone as u64), loss * 100.0);
        text += &format!(" beside the small one, {alone} alone: {loss:.1} % lost");
    }
    rows.row("large topics", &text);
    for (name, latency) in [("opening a stream", &fair.opening), ("health check", &fair.health)] {
        if latency.count > 0 {
            rows.row(name, &percentiles(latency));
        }
    }
    if !fair.failed_probes.is_empty() {
        rows.row("failed probes", &list(&fair.failed_probes));
    }
}

pub(super) fn selectors(selectors: &Selectors, rows: &mut Rows) {
    let cost = |cost: &SelectorCost, ratio: fn(f64) -> String, ratios: [Option<f64>; 3]| {
        let value = |value: Option<String>, of: Option<f64>| match value {
            Some(value) => format!("{value}{}", of.map(ratio).unwrap_or_default()),
            None => "unknown".to_owned(),
        };
        let micros = |value: Option<f64>| value.map(|value| format!("{value:.2} µs"));
        format!(
            "cpu per delivery {}, memory per stream {}, cpu per opening {}",
            value(micros(cost.cpu_per_delivery_us), ratios[0]),
            value(cost.memory_per_stream.map(kib), ratios[1]),
            value(micros(cost.cpu_per_opening_us), ratios[2])
        )
    };
    let Selectors { topics, event_in, one, many, cpu_ratio, memory_ratio, opening_ratio } =
        selectors;
    rows.row("one topic a stream", &cost(one, |_| String::new(), [None; 3]));
    let ratios = [*cpu_ratio, *memory_ratio, *opening_ratio];
    let topics = grouped(u64::from(*topics));
    rows.row(
        &format!("{topics} topics a stream"),
        &cost(many, |ratio| format!(" (× {ratio:.2})"), ratios),
    );
    rows.row("last stream, one", &percentiles(&one.last_of_all));
    rows.row("last stream, many", &percentiles(&many.last_of_all));
    let event_in = format!("{event_in:?}").to_lowercase();
    rows.row("an event is in", &format!("{event_in} of {topics} topics"));
}
