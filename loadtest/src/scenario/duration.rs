//! Durations in scenario files, options and reports: `10s`, `500ms`, `2m30s`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A [`Duration`] that is read by `humantime` and printed in one unit, as the report has it: `90s`,
/// not `1m 30s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct HumanDuration(Duration);

/// From the largest; a duration is printed in the first that divides it.
const UNITS: [(&str, u128); 5] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1000),
];

impl HumanDuration {
    pub(crate) const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    pub(crate) const fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// In nanoseconds; saturates after 584 years.
    pub(crate) fn nanos(self) -> u64 {
        u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX)
    }
}

impl FromStr for HumanDuration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // humantime wants a unit; a bare number is seconds.
        if let Ok(seconds) = text.parse::<f64>() {
            return Duration::try_from_secs_f64(seconds).map(Self).map_err(|e| e.to_string());
        }
        humantime::parse_duration(text)
            .map(Self)
            .map_err(|error| format!("{text:?} is not a duration such as 10s or 500ms: {error}"))
    }
}

impl TryFrom<String> for HumanDuration {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<HumanDuration> for String {
    fn from(duration: HumanDuration) -> Self {
        duration.to_string()
    }
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        match UNITS.iter().find(|(_, unit)| nanos > 0 && nanos.is_multiple_of(*unit)) {
            Some((name, unit)) => write!(f, "{}{name}", nanos / unit),
            None => write!(f, "{}s", self.0.as_secs_f64()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_parsed_and_printed() {
        for (text, millis, printed) in [
            ("10s", 10_000, "10s"),
            ("1.5s", 1_500, "1500ms"),
            ("250ms", 250, "250ms"),
            ("2m30s", 150_000, "150s"),
            ("2h", 7_200_000, "2h"),
            ("3", 3_000, "3s"),
            ("0.25", 250, "250ms"),
            ("0s", 0, "0s"),
        ] {
            let duration: HumanDuration = text.parse().expect(text);
            assert_eq!(duration.nanos(), millis * 1_000_000, "{text}");
            assert_eq!(duration.to_string(), printed);
            assert_eq!(printed.parse(), Ok(duration));
        }
        for invalid in ["ten", "5 parsecs", "-1", "", "soon"] {
            assert!(invalid.parse::<HumanDuration>().is_err(), "{invalid}");
        }
    }
}
