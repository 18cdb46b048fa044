//! Counts, durations and byte sizes as people write them, and back.
//!
//! What is printed here is accepted here and means the same. Each parser carries the bounds of its
//! setting, so that a value that was read is a value that is allowed.

use std::ops::RangeInclusive;
use std::time::Duration;

/// Units of time in milliseconds, longest first.
const DURATION_UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Units of size in bytes, largest first within each kind: binary ones are printed by preference.
const BYTE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1000),
    ("B", 1),
];

/// A parser of whole numbers within `bounds`.
pub(super) fn count<T>(
    bounds: RangeInclusive<u64>,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static
where
    T: TryFrom<u64>,
{
    move |text| narrow(parse_count(text)?, &bounds, count_text)
}

/// A parser of durations from `lowest` to `highest`, both written as a person would.
pub(super) fn duration(
    lowest: &str,
    highest: &str,
) -> impl Fn(&str) -> Result<Duration, String> + Clone + Send + Sync + 'static {
    let bounds = bound(parse_duration_ms(lowest))..=bound(parse_duration_ms(highest));
    move |text| {
        narrow(parse_duration_ms(text)?, &bounds, duration_ms_text).map(Duration::from_millis)
    }
}

/// A parser of byte sizes from `lowest` to `highest`, both written as a person would.
pub(super) fn bytes<T>(
    lowest: &str,
    highest: &str,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static
where
    T: TryFrom<u64>,
{
    let bounds = bound(parse_bytes(lowest))..=bound(parse_bytes(highest));
    move |text| narrow(parse_bytes(text)?, &bounds, bytes_text)
}

fn bound(parsed: Result<u64, String>) -> u64 {
    parsed.expect("the bounds of a setting are literals that parse")
}

/// Refuses what is out of bounds or does not fit the setting's type.
fn narrow<T: TryFrom<u64>>(
    value: u64,
    bounds: &RangeInclusive<u64>,
    text: fn(u64) -> String,
) -> Result<T, String> {
    let (lowest, highest) = (*bounds.start(), *bounds.end());
    if value < lowest {
        return Err(format!("too low; {} to {} is allowed", text(lowest), text(highest)));
    }
    let too_high = || format!("too high; {} to {} is allowed", text(lowest), text(highest));
    if value > highest { Err(too_high()) } else { T::try_from(value).map_err(|_| too_high()) }
}

fn parse_count(text: &str) -> Result<u64, String> {
    times(text.trim(), 1)
        .filter(|_| !text.contains('.'))
        .ok_or_else(|| "not a whole number; write digits, such as 1024 or 1_000_000".into())
}

/// Milliseconds in one or more terms, longest unit first, each unit at most once: `2m30s`.
fn parse_duration_ms(text: &str) -> Result<u64, String> {
    let wrong = |what: String| {
        format!(
            "{what}; write numbers with units (ms, s, m, h, d), longest first, such as 250ms, 30s or 2m30s"
        )
    };
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(wrong("no duration given".into()));
    }
    let mut total_ms = 0u64;
    let mut unit_before = u64::MAX;
    while !rest.is_empty() {
        let (number, unit, tail) = split_term(rest);
        rest = tail;
        if unit.is_empty() && times(number, 1).is_some() {
            return Err(wrong(format!("`{number}` has no unit")));
        }
        let known = DURATION_UNITS.iter().find(|(name, _)| *name == unit);
        let Some(&(_, unit_ms)) = known.filter(|(_, unit_ms)| *unit_ms < unit_before) else {
            return Err(wrong("not a duration".into()));
        };
        unit_before = unit_ms;
        let term_ms = times(number, unit_ms).ok_or_else(|| wrong("not a duration".into()))?;
        total_ms = total_ms.checked_add(term_ms).ok_or_else(|| wrong("not a duration".into()))?;
    }
    Ok(total_ms)
}

/// Bytes: a number alone, or with a binary (KiB) or decimal (kB) unit in any case.
fn parse_bytes(text: &str) -> Result<u64, String> {
    let (number, unit, tail) = split_term(text.trim());
    let wrong = |what: &str| {
        format!(
            "{what}; write a number of bytes, or one with a unit, such as 65536, 64KiB, 1.5GiB or 4MB"
        )
    };
    let unit_bytes = match unit {
        "" => 1,
        "k" | "K" | "m" | "M" | "g" | "G" | "t" | "T" => {
            let prefix = unit.to_uppercase();
            let decimal = if prefix == "K" { "k" } else { &prefix };
            return Err(format!(
                "`{unit}` may mean two things; write {number}{prefix}iB (steps of 1024) or {number}{decimal}B \
                 (steps of 1000)"
            ));
        }
        _ => BYTE_UNITS
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(unit))
            .map(|(_, unit_bytes)| *unit_bytes)
            .ok_or_else(|| wrong("not a size"))?,
    };
    let whole = unit_bytes > 1 || !number.contains('.');
    times(number, unit_bytes)
        .filter(|_| tail.is_empty() && whole)
        .ok_or_else(|| wrong("not a size"))
}

/// The leading number, the letters after it, and the rest. Blanks are allowed around the letters.
fn split_term(text: &str) -> (&str, &str, &str) {
    let number = text.find(|c: char| !matches!(c, '0'..='9' | '.' | '_')).unwrap_or(text.len());
    let (number, after) = text.split_at(number);
    let unit = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
    let (unit, rest) = after.split_at(unit);
    (number, unit.trim(), rest)
}

/// `number` times `unit`, rounded down; `None` if it isn't a plain decimal number or the result
/// needs more than 64 bits.
fn times(number: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = match number.split_once('.') {
        // 18 digits of a fraction times a unit below 2^41 stay within 128 bits.
        Some((whole, fraction)) if fraction.len() <= 18 => (whole, Some(fraction)),
        Some(_) => return None,
        None => (number, None),
    };
    let mut product = u128::from(digits(whole)?) * u128::from(unit);
    if let Some(fraction) = fraction {
        let scale = 10u128.pow(u32::try_from(fraction.len()).ok()?);
        product += u128::from(fraction.parse::<u64>().ok()?) * u128::from(unit) / scale;
    }
    product.try_into().ok()
}

/// Decimal digits, with `_` allowed between them.
fn digits(text: &str) -> Option<u64> {
    let outer = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
    if !outer(text.chars().next()) || !outer(text.chars().next_back()) {
        return None;
    }
    text.replace('_', "").parse().ok()
}

/// A count in digits, grouped by `_` from five digits on: `1024`, `65_536`, `1_000_000`.
pub(super) fn count_text(count: u64) -> String {
    let plain = count.to_string();
    if plain.len() < 5 {
        return plain;
    }
    let mut text = String::new();
    for (i, digit) in plain.chars().enumerate() {
        if i > 0 && (plain.len() - i).is_multiple_of(3) {
            text.push('_');
        }
        text.push(digit);
    }
    text
}

/// A duration in the units [`duration`] reads, to the millisecond: `2m30s`.
pub(super) fn duration_text(duration: Duration) -> String {
    duration_ms_text(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

fn duration_ms_text(mut ms: u64) -> String {
    if ms == 0 {
        return "0s".into();
    }
    let mut text = String::new();
    for (name, unit_ms) in DURATION_UNITS {
        if ms >= unit_ms {
            text += &format!("{}{name}", ms / unit_ms);
            ms %= unit_ms;
        }
    }
    text
}

/// A size in the first of the units [`bytes`] reads that loses nothing: `64KiB`, `4kB`, `1500B`.
pub(super) fn bytes_text(bytes: u64) -> String {
    let exact = BYTE_UNITS.iter().find(|(_, unit)| bytes >= *unit && bytes.is_multiple_of(*unit));
    let (name, unit) = exact.unwrap_or(&("B", 1));
    format!("{}{name}", bytes / unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
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
            ("0s", 0),
            ("1_000ms", 1000),
        ] {
            assert_eq!(parse_duration_ms(text), Ok(ms), "{text}");
        }
    }

    #[test]
    fn a_wrong_duration_says_what_would_be_right() {
        let right =
            "write numbers with units (ms, s, m, h, d), longest first, such as 250ms, 30s or 2m30s";
        for (text, what) in [
            ("", "no duration given"),
            (" ", "no duration given"),
            ("30", "`30` has no unit"),
            ("0", "`0` has no unit"),
            ("1m30", "`30` has no unit"),
            ("abc", "not a duration"),
            ("s", "not a duration"),
            ("-1s", "not a duration"),
            ("+1s", "not a duration"),
            ("1.s", "not a duration"),
            (".5s", "not a duration"),
            ("1.2.3s", "not a duration"),
            ("1.-5s", "not a duration"),
            ("_1s", "not a duration"),
            ("1S", "not a duration"),
            ("1w", "not a duration"),
            ("1é", "not a duration"),
            ("30s2m", "not a duration"),
            ("1s1s", "not a duration"),
            ("99999999999999999999s", "not a duration"),
            ("999999999999999999d", "not a duration"),
            ("213503982334d18446744073709551615ms", "not a duration"),
        ] {
            assert_eq!(parse_duration_ms(text), Err(format!("{what}; {right}")), "{text}");
        }
    }

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("65536", 65_536),
            ("65_536", 65_536),
            ("512B", 512),
            ("64KiB", 65_536),
            ("64kib", 65_536),
            ("64 KiB", 65_536),
            ("1MiB", 1 << 20),
            ("1.5GiB", 3 << 29),
            ("0.3KiB", 307),
            ("2TiB", 2 << 40),
            ("4kB", 4000),
            ("4KB", 4000),
            ("4MB", 4_000_000),
            ("1GB", 1_000_000_000),
            ("0", 0),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn a_wrong_size_says_what_would_be_right() {
        let right =
            "write a number of bytes, or one with a unit, such as 65536, 64KiB, 1.5GiB or 4MB";
        for text in
            ["", "KiB", "abc", "-1", "1.5", "1.5.5KiB", "64KiB1", "1 2", "64XiB", "99999999TiB"]
        {
            assert_eq!(parse_bytes(text), Err(format!("not a size; {right}")), "{text}");
        }
    }

    #[test]
    fn a_unit_with_two_meanings_is_refused_with_both() {
        let two = "may mean two things; write";
        assert_eq!(
            parse_bytes("64k"),
            Err(format!("`k` {two} 64KiB (steps of 1024) or 64kB (steps of 1000)"))
        );
        assert_eq!(
            parse_bytes("1.5M"),
            Err(format!("`M` {two} 1.5MiB (steps of 1024) or 1.5MB (steps of 1000)"))
        );
    }

    #[test]
    fn counts_are_whole_numbers() {
        for (text, value) in [("0", 0), ("1024", 1024), ("1_000_000", 1_000_000), (" 7 ", 7)] {
            assert_eq!(parse_count(text), Ok(value), "{text}");
        }
        for text in
            ["", " ", "-1", "+1", "1.0", "1e6", "0x10", "1,000", "_1", "1_", "18446744073709551616"]
        {
            let right = "not a whole number; write digits, such as 1024 or 1_000_000";
            assert_eq!(parse_count(text), Err(right.into()), "{text}");
        }
    }

    #[test]
    fn bounds_are_inclusive_and_named() {
        let within = count::<u32>(2..=100_000);
        assert_eq!(within("2"), Ok(2));
        assert_eq!(within("100000"), Ok(100_000));
        assert_eq!(within("1"), Err("too low; 2 to 100_000 is allowed".into()));
        assert_eq!(within("100001"), Err("too high; 2 to 100_000 is allowed".into()));

        let within = duration("100ms", "1h");
        assert_eq!(within("100ms"), Ok(Duration::from_millis(100)));
        assert_eq!(within("60m"), Ok(Duration::from_secs(3600)));
        assert_eq!(within("99ms"), Err("too low; 100ms to 1h is allowed".into()));
        assert_eq!(within("1h1ms"), Err("too high; 100ms to 1h is allowed".into()));

        let within = bytes::<usize>("4KiB", "16MiB");
        assert_eq!(within("4096"), Ok(4096));
        assert_eq!(within("4095"), Err("too low; 4KiB to 16MiB is allowed".into()));
        assert_eq!(within("17MiB"), Err("too high; 4KiB to 16MiB is allowed".into()));
    }

    #[test]
    fn a_value_its_type_cannot_hold_is_too_high() {
        assert_eq!(count::<u8>(0..=256)("256"), Err("too high; 0 to 256 is allowed".into()));
    }

    #[test]
    fn values_are_printed_short_and_exact() {
        for (ms, text) in
            [(0, "0s"), (250, "250ms"), (1500, "1s500ms"), (150_000, "2m30s"), (86_400_000, "1d")]
        {
            assert_eq!(duration_ms_text(ms), text);
        }
        for (bytes, text) in [
            (0, "0B"),
            (1500, "1500B"),
            (4000, "4kB"),
            (4096, "4KiB"),
            (3 << 29, "1536MiB"),
            (64 << 20, "64MiB"),
        ] {
            assert_eq!(bytes_text(bytes), text);
        }
        for (count, text) in
            [(0, "0"), (8192, "8192"), (65_536, "65_536"), (1_000_000, "1_000_000")]
        {
            assert_eq!(count_text(count), text);
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(value: u64) {
            prop_assert_eq!(parse_count(&count_text(value)), Ok(value));
            prop_assert_eq!(parse_duration_ms(&duration_ms_text(value)), Ok(value));
            prop_assert_eq!(parse_bytes(&bytes_text(value)), Ok(value));
        }

        #[test]
        fn no_text_makes_a_parser_panic(text: String) {
            let _ = (parse_count(&text), parse_duration_ms(&text), parse_bytes(&text));
        }
    }
}
