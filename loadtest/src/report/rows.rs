//! Rows of the text table, and the form of numbers in it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::measure::latency::Percentiles;

#[derive(Default)]
pub(super) struct Rows(pub(super) String);

impl Rows {
    pub(super) fn heading(&mut self, text: &str) {
        let _ = writeln!(self.0, "{text}");
    }

    pub(super) fn row(&mut self, name: &str, value: &str) {
        let _ = writeln!(self.0, "  {name:<22} {value}");
    }

    pub(super) fn row_if_known(&mut self, name: &str, value: Option<String>) {
        if let Some(value) = value {
            self.row(name, &value);
        }
    }
}

pub(super) fn percentiles(p: &Percentiles) -> String {
    format!(
        "p50 {:.2}  p90 {:.2}  p99 {:.2}  p99.9 {:.2}  max {:.2} ms",
        p.p50_ms, p.p90_ms, p.p99_ms, p.p999_ms, p.max_ms
    )
}

pub(super) fn list(counts: &BTreeMap<String, u64>) -> String {
    let words: Vec<String> =
        counts.iter().map(|(word, count)| format!("{} × {word}", grouped(*count))).collect();
    words.join(", ")
}

pub(super) fn kib(bytes: f64) -> String {
    format!("{:.2} KiB", bytes / 1024.0)
}

pub(super) fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// `1 topic`, `2,000 topics`.
pub(super) fn count(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", grouped(number))
}

/// Formats 1234567 as 1,234,567.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn nouns_agree_with_their_number() {
        assert_eq!(
            [0, 1, 1000].map(|n| count(n, "topic")),
            ["0 topics", "1 topic", "1,000 topics"]
        );
    }
}
