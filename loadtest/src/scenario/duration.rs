//! A span of time as people write it: `10s`, `500ms`, `2m`, `1h`; a bare number is seconds.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::measure::clock::SECOND;

/// A span, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span(u64);

const UNITS: [(&str, u64); 5] = [
    ("h", 3600 * SECOND),
    ("m", 60 * SECOND),
    ("s", SECOND),
    ("ms", SECOND / 1000),
    ("us", SECOND / 1_000_000),
];

impl Span {
    /// So many seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(seconds * SECOND)
    }

    /// So many milliseconds.
    pub const fn millis(millis: u64) -> Self {
        Self(millis * (SECOND / 1000))
    }

    /// In nanoseconds.
    pub const fn nanos(self) -> u64 {
        self.0
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let unit = if unit.is_empty() { "s" } else { unit };
        let nanos = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, nanos)| *nanos);
        match (number.parse::<f64>(), nanos) {
            (Ok(number), Some(nanos)) => Ok(Self((number * nanos as f64) as u64)),
            _ => Err(format!("{text:?} is not a span of time such as 10s, 500ms or 2m")),
        }
    }
}

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Span> for String {
    fn from(span: Span) -> Self {
        span.to_string()
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = UNITS.iter().find(|(_, nanos)| self.0.is_multiple_of(*nanos));
        match exact {
            Some((unit, nanos)) if self.0 > 0 => write!(f, "{}{unit}", self.0 / nanos),
            _ => write!(f, "{}s", self.0 as f64 / SECOND as f64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_and_written() {
        for (text, nanos) in [
            ("10s", 10 * SECOND),
            ("1.5s", 3 * SECOND / 2),
            ("500ms", SECOND / 2),
            ("3", 3 * SECOND),
        ] {
            let span: Span = text.parse().expect(text);
            assert_eq!(span.nanos(), nanos);
            assert_eq!(span.to_string().parse::<Span>(), Ok(span));
        }
        assert!("ten".parse::<Span>().is_err());
        assert!("5 parsecs".parse::<Span>().is_err());
    }
}
