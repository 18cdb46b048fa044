//! Latency histograms: recorded in workers, sent as sparse pairs, merged in the parent. Three
//! significant digits.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// The highest value recorded, an hour; higher ones saturate.
const MICROS_MAX: u64 = 3_600_000_000;

/// Pairs of a value in microseconds and its count.
pub(crate) type SparseHistogram = Vec<(u64, u64)>;

/// A histogram of latencies, in microseconds.
#[derive(Clone)]
pub(crate) struct Latency(Histogram<u64>);

/// A histogram's summary, in milliseconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Percentiles {
    pub(crate) count: u64,
    pub(crate) min_ms: f64,
    pub(crate) mean_ms: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p90_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p999_ms: f64,
    pub(crate) max_ms: f64,
    /// Pairs of a percentile and its value.
    pub(crate) curve: Vec<(f64, f64)>,
}

impl Default for Latency {
    fn default() -> Self {
        Self(
            Histogram::new_with_bounds(1, MICROS_MAX, 3)
                .expect("the bounds are constant and valid"),
        )
    }
}

impl Latency {
    /// Records one latency in nanoseconds.
    pub(crate) fn record(&mut self, nanos: u64) {
        self.0.saturating_record(nanos / 1000);
    }

    /// Returns the recorded values and resets the histogram.
    pub(crate) fn take(&mut self) -> SparseHistogram {
        if self.0.is_empty() {
            return Vec::new();
        }
        let pairs = self
            .0
            .iter_recorded()
            .map(|step| (step.value_iterated_to(), step.count_at_value()))
            .collect();
        self.0.reset();
        pairs
    }

    pub(crate) fn merge(&mut self, pairs: &[(u64, u64)]) {
        for &(value, count) in pairs {
            self.0.saturating_record_n(value, count);
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// The value at `percentile`, in ms.
    pub(crate) fn at(&self, percentile: f64) -> f64 {
        self.0.value_at_percentile(percentile) as f64 / 1000.0
    }

    pub(crate) fn percentiles(&self) -> Percentiles {
        if self.0.is_empty() {
            return Percentiles::default();
        }
        let curve = self.0.iter_quantiles(4).map(|step| {
            let percentile = step.quantile_iterated_to() * 100.0;
            (percentile, step.value_iterated_to() as f64 / 1000.0)
        });
        Percentiles {
            count: self.count(),
            min_ms: self.0.min() as f64 / 1000.0,
            mean_ms: self.0.mean() / 1000.0,
            p50_ms: self.at(50.0),
            p90_ms: self.at(90.0),
            p99_ms: self.at(99.0),
            p999_ms: self.at(99.9),
            max_ms: self.0.max() as f64 / 1000.0,
            curve: curve.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merged_halves_equal_the_whole() {
        let (mut whole, mut merged) = (Latency::default(), Latency::default());
        let mut halves = [Latency::default(), Latency::default()];
        for i in 0..10_000u64 {
            let nanos = (i * i) % 3_000_000_000;
            whole.record(nanos);
            halves[(i % 2) as usize].record(nanos);
        }
        for half in &mut halves {
            merged.merge(&half.take());
            assert_eq!(half.count(), 0, "take resets the histogram");
        }
        assert_eq!(merged.count(), whole.count());
        for percentile in [1.0, 50.0, 90.0, 99.0, 99.9, 100.0] {
            assert_eq!(merged.at(percentile), whole.at(percentile), "p{percentile}");
        }
    }

    #[test]
    fn an_empty_histogram_is_all_zero() {
        assert_eq!(Latency::default().percentiles().count, 0);
    }
}
