//! Durations: parsers with the bounds of their setting, and a printer; both use [`humantime`].

use std::time::Duration;

use humantime::DurationError;

use super::numbers::within;

const DAY: Duration = Duration::from_secs(86_400);

/// A text with more digits is refused: `humantime` panics on a few sums just above
/// [`Duration::MAX`], and none of those has so few digits.
const DIGITS_MAX: usize = 18;

/// The units of settings. `humantime` knows more, among them `M`, a month, which is easily written
/// for `m`.
const UNITS: [&str; 5] = ["ms", "s", "m", "h", "d"];

/// A parser of durations from `lowest` to `highest`.
pub(super) fn duration(
    lowest: &str,
    highest: &str,
) -> impl Fn(&str) -> Result<Duration, String> + Clone + Send + Sync + 'static {
    let bound = |text| parse(text).expect("the bounds of a setting are literals that parse");
    let bounds = bound(lowest)..=bound(highest);
    move |text| within(parse(text)?, &bounds, duration_text)
}

fn parse(text: &str) -> Result<Duration, String> {
    let wrong = |what: String| {
        format!("{what}; write numbers with units (ms, s, m, h, d), such as 250ms, 30s or 2m30s")
    };
    let not_a_duration = || wrong("not a duration".into());
    let no_unit = || wrong("a number has no unit".into());
    if text.chars().filter(char::is_ascii_digit).count() > DIGITS_MAX {
        return Err(not_a_duration());
    }
    let unit_error = |unit: &str| wrong(format!("`{unit}` isn't a unit of time here"));
    match humantime::parse_duration(&without_separators(text)) {
        // The one number that `humantime` accepts without a unit.
        Ok(_) if text == "0" => Err(no_unit()),
        Ok(duration) => match words(text).find(|word| !UNITS.contains(word)) {
            Some(unit) => Err(unit_error(unit)),
            None => whole_millis(duration).ok_or_else(not_a_duration),
        },
        Err(DurationError::UnknownUnit { unit, .. }) if unit.is_empty() => Err(no_unit()),
        Err(DurationError::UnknownUnit { unit, .. }) => Err(unit_error(&unit)),
        Err(_) => Err(not_a_duration()),
    }
}

/// Rounds down, so that every value can be printed in the units of settings.
fn whole_millis(duration: Duration) -> Option<Duration> {
    Some(Duration::from_millis(u64::try_from(duration.as_millis()).ok()?))
}

/// The words in a text, numbers and blanks left out.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty())
}

/// Drops each `_` between two digits: `1_000ms`.
fn without_separators(text: &str) -> String {
    let bytes = text.as_bytes();
    let is_digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let is_separator =
        |at: usize| bytes[at] == b'_' && at > 0 && is_digit(at - 1) && is_digit(at + 1);
    text.char_indices().filter(|&(at, _)| !is_separator(at)).map(|(_, c)| c).collect()
}

/// Prints a duration without blanks: `2m30s`.
pub(super) fn duration_text(duration: Duration) -> String {
    // Days are printed here, because `humantime` turns 30.44 of them into a month.
    let days = duration.as_secs() / DAY.as_secs();
    let rest = Duration::new(duration.as_secs() % DAY.as_secs(), duration.subsec_nanos());
    let rest_text = humantime::format_duration(rest).to_string().replace(' ', "");
    match (days, rest.is_zero()) {
        (0, _) => rest_text,
        (_, true) => format!("{days}d"),
        (_, false) => format!("{days}d{rest_text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_numbers_with_units() {
        for (text, ms) in [
            ("250ms", 250),
            ("30s", 30_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("2m30s", 150_000),
            ("2m 30s", 150_000),
            (" 30 s ", 30_000),
            ("1d", 86_400_000),
            ("1d2h3m4s5ms", 93_784_005),
            ("1.5s", 1500),
            ("1_000ms", 1000),
            ("0s", 0),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(ms)), "{text}");
        }
    }

    #[test]
    fn a_wrong_duration_is_refused_with_the_right_form() {
        let right = "write numbers with units (ms, s, m, h, d), such as 250ms, 30s or 2m30s";
        for (text, what) in [
            ("", "not a duration"),
            (" ", "not a duration"),
            ("0", "a number has no unit"),
            ("0 ", "a number has no unit"),
            ("30", "a number has no unit"),
            ("1.5", "a number has no unit"),
            ("1m30", "a number has no unit"),
            ("abc", "not a duration"),
            ("s", "not a duration"),
            ("-1s", "not a duration"),
            ("+1s", "not a duration"),
            ("1.s", "not a duration"),
            (".5s", "not a duration"),
            ("1.2.3s", "not a duration"),
            ("_1s", "not a duration"),
            ("1_s", "not a duration"),
            ("1é", "not a duration"),
            ("1S", "`S` isn't a unit of time here"),
            ("10M", "`M` isn't a unit of time here"),
            ("1day", "`day` isn't a unit of time here"),
            ("9999999999999999999s", "not a duration"),
            ("999999999999999999d", "not a duration"),
            // The sum on which `humantime` would panic.
            ("18446744073709551615s1000ms", "not a duration"),
        ] {
            assert_eq!(parse(text), Err(format!("{what}; {right}")), "{text}");
        }
    }

    #[test]
    fn bounds_are_inclusive_and_named() {
        let within = duration("100ms", "1d");
        assert_eq!(within("100ms"), Ok(Duration::from_millis(100)));
        assert_eq!(within("24h"), Ok(DAY));
        assert_eq!(within("99ms"), Err("too low; 100ms to 1d is allowed".into()));
        assert_eq!(within("1d1ms"), Err("too high; 100ms to 1d is allowed".into()));
    }

    #[test]
    fn durations_are_printed_without_blanks_and_in_days_at_most() {
        for (ms, text) in [
            (0, "0s"),
            (250, "250ms"),
            (1500, "1s500ms"),
            (150_000, "2m30s"),
            (86_400_000, "1d"),
            (93_784_005, "1d2h3m4s5ms"),
            (365 * 86_400_000, "365d"),
        ] {
            assert_eq!(duration_text(Duration::from_millis(ms)), text);
        }
        assert_eq!(duration_text(Duration::from_nanos(1_000_001)), "1ms1ns");
    }

    proptest! {
        #[test]
        fn a_printed_duration_reads_back(
            secs in 0..=365 * 86_400u64,
            millis in 0..1000u64,
        ) {
            let duration = Duration::from_millis(secs * 1000 + millis);
            prop_assert_eq!(parse(&duration_text(duration)), Ok(duration));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text: String) {
            let _ = parse(&text);
        }
    }
}
