//! What differs between servers: measures by round, ratios to the first server of the same round.
//! Pure.

use std::fmt::Write as _;

use serde::Serialize;

use crate::report::Report;

/// Reads one measure out of a report.
type Read = fn(&Report) -> Option<f64>;

/// What is compared: name, unit, decimals, and where it is.
const MEASURES: [(&str, &str, usize, Read); 15] = [
    ("deliveries", "/s", 0, |report| some(report.delivery.per_s)),
    ("cpu per delivery", "µs", 2, |report| report.server.as_ref()?.cpu_per_delivery_us),
    ("last of all, p50", "ms", 1, |report| some(report.delivery.last_of_all.p50_ms)),
    ("latency p50", "ms", 2, |report| some(report.delivery.latency.p50_ms)),
    ("latency p99", "ms", 2, |report| some(report.delivery.latency.p99_ms)),
    ("memory per stream", "KiB", 2, |report| {
        Some(report.server.as_ref()?.memory_per_stream? / 1024.0)
    }),
    ("cpu per opening", "µs", 2, |report| report.server.as_ref()?.cpu_per_opening_us),
    ("opened", "/s", 0, |report| some(report.opening.per_s)),
    ("publishes", "/s", 0, |report| some(report.publishing.per_s)),
    ("publish p99", "ms", 2, |report| some(report.publishing.latency.p99_ms)),
    ("storm, all back", "ms", 0, |report| report.storms.last()?.back_ms),
    ("storm, all whole", "ms", 0, |report| report.storms.last()?.whole_ms),
    ("kept busy by the server", "processors", 3, |report| some(report.machine.busy?.server)),
    ("taken by others", "processors", 2, |report| some(report.machine.busy?.others)),
    ("cpu per publish", "µs", 2, |report| report.server.as_ref()?.cpu_per_publish_us),
];

fn some(value: f64) -> Option<f64> {
    (value > 0.0).then_some(value)
}

/// Middle and range of what several rounds gave.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Spread {
    /// The middle one, or the mean of the two in the middle.
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

/// One measure of one server.
#[derive(Debug, Serialize)]
struct Cell {
    measure: &'static str,
    unit: &'static str,
    value: Spread,
    /// To the first server of the same round.
    ratio: Option<Spread>,
    /// Rounds without a value.
    without: usize,
    #[serde(skip)]
    decimals: usize,
}

/// All measures of all servers.
#[derive(Debug, Serialize)]
pub(super) struct Comparison {
    servers: Vec<(String, Vec<Cell>)>,
}

impl Comparison {
    /// Of whole rounds: `rounds[r][s]` is server `s` in round `r`.
    pub(super) fn of(names: &[&str], rounds: &[Vec<Report>]) -> Self {
        let cells = |server: usize| {
            let cell =
                |&(measure, unit, decimals, read): &(&'static str, &'static str, usize, Read)| {
                    let values: Vec<f64> =
                        rounds.iter().filter_map(|round| read(&round[server])).collect();
                    let without = rounds.len() - values.len();
                    let value = Spread::of(values)?;
                    let ratio =
                        |round: &Vec<Report>| Some(read(&round[server])? / read(&round[0])?);
                    let ratio = Spread::of(rounds.iter().filter_map(ratio).collect());
                    Some(Cell { measure, unit, value, ratio, without, decimals })
                };
            MEASURES.iter().filter_map(cell).collect()
        };
        let servers =
            names.iter().enumerate().map(|(index, name)| ((*name).to_owned(), cells(index)));
        Self { servers: servers.collect() }
    }

    /// One block a measure, one line a server.
    pub(super) fn render(&self) -> String {
        let mut text = String::new();
        for (measure, unit, ..) in MEASURES {
            let cells = self.servers.iter().filter_map(|(name, cells)| {
                cells.iter().find(|cell| cell.measure == measure).map(|cell| (name, cell))
            });
            let lines: Vec<String> = cells.map(|(name, cell)| line(name, cell)).collect();
            if !lines.is_empty() {
                let _ = writeln!(text, "{measure} ({unit})\n{}", lines.join("\n"));
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
        rounds => format!("  not in {rounds} of the rounds"),
    };
    format!("  {name:<22} {:>12.decimals$}  {range:<22} {ratio}{without}", value.median)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_is_median_and_range() {
        let spread = Spread::of(vec![3.0, 1.0, 2.0]);
        assert_eq!(spread, Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(Spread::of(vec![1.0, 2.0]).map(|spread| spread.median), Some(1.5));
        assert_eq!(Spread::of(Vec::new()), None);
    }
}
