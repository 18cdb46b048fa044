//! The comparison's numbers: each metric by server over the rounds, and its ratio to the first
//! server of the same round.

use std::fmt::Write as _;

use serde::Serialize;

use crate::report::Report;

/// Reads a metric from a report.
type Read = fn(&Report) -> Option<f64>;

/// Name, unit, decimals and source of each metric.
const METRICS: [(&str, &str, usize, Read); 24] = [
    ("deliveries", "/s", 0, |report| some(report.delivery.per_s)),
    ("cpu per delivery", "µs", 2, |report| report.server.as_ref()?.cpu_per_delivery_us),
    ("last stream, p50", "ms", 1, |report| some(report.delivery.last_of_all.p50_ms)),
    ("latency p50", "ms", 2, |report| some(report.delivery.latency.p50_ms)),
    ("latency p99", "ms", 2, |report| some(report.delivery.latency.p99_ms)),
    ("memory growth per stream", "KiB", 2, |report| {
        Some(report.server.as_ref()?.memory_growth_per_stream? / 1024.0)
    }),
    ("memory per stream", "KiB", 2, |report| {
        Some(report.server.as_ref()?.memory_per_stream? / 1024.0)
    }),
    ("cpu per opening", "µs", 2, |report| report.server.as_ref()?.cpu_per_opening_us),
    ("opened", "/s", 0, |report| some(report.opening.per_s)),
    ("publishes", "/s", 0, |report| some(report.publishing.per_s)),
    ("publish p99", "ms", 2, |report| some(report.publishing.latency.p99_ms)),
    ("storm, all open", "ms", 0, |report| report.storms.last()?.back_ms),
    ("storm, all recovered", "ms", 0, |report| report.storms.last()?.whole_ms),
    ("busy by the server", "processors", 3, |report| some(report.machine.busy?.server)),
    ("busy by others", "processors", 2, |report| some(report.machine.busy?.others)),
    ("cpu per publish", "µs", 2, |report| report.server.as_ref()?.cpu_per_publish_us),
    ("small topic p50", "ms", 2, |report| some(report.fair.as_ref()?.small_latency.p50_ms)),
    ("small topic p99", "ms", 2, |report| some(report.fair.as_ref()?.small_latency.p99_ms)),
    ("large topics", "deliveries/s", 0, |report| some(report.fair.as_ref()?.large_per_s)),
    ("lost beside the small topic", "%", 1, |report| {
        Some(report.fair.as_ref()?.large_loss? * 100.0)
    }),
    ("opening under load p99", "ms", 2, |report| some(report.fair.as_ref()?.opening.p99_ms)),
    ("health check p99", "ms", 2, |report| some(report.fair.as_ref()?.health.p99_ms)),
    ("cpu, many topics to one", "×", 2, |report| report.selectors.as_ref()?.cpu_ratio),
    ("memory, many topics to one", "×", 2, |report| report.selectors.as_ref()?.memory_ratio),
];

fn some(value: f64) -> Option<f64> {
    (value > 0.0).then_some(value)
}

/// Median and range over the rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len().is_multiple_of(2) {
            (values[middle - 1] + values[middle]) / 2.0
        } else {
            values[middle]
        };
        Some(Self { median, min, max })
    }
}

/// A metric of one server.
#[derive(Debug, Serialize)]
struct Cell {
    #[serde(rename = "measure")]
    metric: &'static str,
    unit: &'static str,
    value: Spread,
    /// To the first server of the same round.
    ratio: Option<Spread>,
    /// Rounds without a value.
    without: usize,
    #[serde(skip)]
    decimals: usize,
}

#[derive(Debug, Serialize)]
pub(super) struct Comparison {
    servers: Vec<(String, Vec<Cell>)>,
}

impl Comparison {
    /// Compares complete rounds; `rounds[r][s]` is server `s` in round `r`.
    pub(super) fn of(names: &[&str], rounds: &[Vec<Report>]) -> Self {
        let cells = |server: usize| {
            let cell =
                |&(metric, unit, decimals, read): &(&'static str, &'static str, usize, Read)| {
                    let values: Vec<f64> =
                        rounds.iter().filter_map(|round| read(&round[server])).collect();
                    let without = rounds.len() - values.len();
                    let value = Spread::of(values)?;
                    let ratio =
                        |round: &Vec<Report>| Some(read(&round[server])? / read(&round[0])?);
                    let ratio = Spread::of(rounds.iter().filter_map(ratio).collect());
                    Some(Cell { metric, unit, value, ratio, without, decimals })
                };
            METRICS.iter().filter_map(cell).collect()
        };
        let servers =
            names.iter().enumerate().map(|(index, name)| ((*name).to_owned(), cells(index)));
        Self { servers: servers.collect() }
    }

    /// A block per metric, a line per server.
    pub(super) fn render(&self) -> String {
        let mut text = String::new();
        for (metric, unit, ..) in METRICS {
            let cells = self.servers.iter().filter_map(|(name, cells)| {
                cells.iter().find(|cell| cell.metric == metric).map(|cell| (name, cell))
            });
            let lines: Vec<String> = cells.map(|(name, cell)| line(name, cell)).collect();
            if !lines.is_empty() {
                let _ = writeln!(text, "{metric} ({unit})\n{}", lines.join("\n"));
            }
        }
        text
    }
}

fn line(name: &str, cell: &Cell) -> String {
    let (value, decimals) = (cell.value, cell.decimals);
    let range = format!("{:.decimals$}..{:.decimals$}", value.min, value.max);
    let ratio = cell.ratio.map_or(String::new(), |ratio| {
        format!("× {:.3} ({:.3}..{:.3})", ratio.median, ratio.min, ratio.max)
    });
    let without = match cell.without {
        0 => String::new(),
        rounds => format!("  missing in {rounds} rounds"),
    };
    format!("  {name:<22} {:>12.decimals$}  {range:<22} {ratio}{without}", value.median)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_median_and_range() {
        let spread = Spread::of(vec![3.0, 1.0, 2.0]);
        assert_eq!(spread, Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(Spread::of(vec![1.0, 2.0]).map(|spread| spread.median), Some(1.5));
        assert_eq!(Spread::of(Vec::new()), None);
    }
}
