//! Counts and byte sizes: parsers with the bounds of their setting, and printers whose output the
//! parsers accept.

use std::ops::RangeInclusive;

/// Units in bytes, in the order in which [`bytes_text`] tries them.
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
    move |text| within(parse_count(text)?, &bounds, count_text).map(narrow)
}

/// A parser of byte sizes from `lowest` to `highest`.
pub(super) fn bytes<T>(
    lowest: &str,
    highest: &str,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static
where
    T: TryFrom<u64>,
{
    let bound = |text| parse_bytes(text).expect("the bounds of a setting are literals that parse");
    let bounds = bound(lowest)..=bound(highest);
    move |text| within(parse_bytes(text)?, &bounds, bytes_text).map(narrow)
}

/// Refuses a value out of `bounds`, which the message states as `text` prints them.
pub(super) fn within<T: Copy + PartialOrd>(
    value: T,
    bounds: &RangeInclusive<T>,
    text: fn(T) -> String,
) -> Result<T, String> {
    let (lowest, highest) = (*bounds.start(), *bounds.end());
    let refuse = |what| Err(format!("{what}; {} to {} is allowed", text(lowest), text(highest)));
    match value {
        value if value < lowest => refuse("too low"),
        value if value > highest => refuse("too high"),
        value => Ok(value),
    }
}

/// Converts to the type of the setting, which holds all values within the bounds.
fn narrow<T: TryFrom<u64>>(value: u64) -> T {
    T::try_from(value).ok().expect("the bounds of a setting fit its type")
}

fn parse_count(text: &str) -> Result<u64, String> {
    times(text.trim(), 1)
        .filter(|_| !text.contains('.'))
        .ok_or_else(|| "not a whole number; write digits, such as 1024 or 1_000_000".into())
}

/// Parses a number of bytes, or a number with a binary (KiB) or decimal (kB) unit in any case.
fn parse_bytes(text: &str) -> Result<u64, String> {
    let (number, unit, tail) = split_term(text.trim());
    let wrong = |what: &str| {
        format!(
            "{what}; write a number of bytes, or a number with a unit, such as 65536, 64KiB, \
             1.5GiB or 4MB"
        )
    };
    let unit_bytes = match unit {
        "" => 1,
        "k" | "K" | "m" | "M" | "g" | "G" | "t" | "T" => {
            let prefix = unit.to_uppercase();
            let decimal = if prefix == "K" { "k" } else { &prefix };
            return Err(format!(
                "`{unit}` is ambiguous; write {number}{prefix}iB (powers of 1024) or \
                 {number}{decimal}B (powers of 1000)"
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

/// Splits off the leading number and the unit after it, which may have blanks around it.
fn split_term(text: &str) -> (&str, &str, &str) {
    let number = text.find(|c: char| !matches!(c, '0'..='9' | '.' | '_')).unwrap_or(text.len());
    let (number, after) = text.split_at(number);
    let unit = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
    let (unit, rest) = after.split_at(unit);
    (number, unit.trim(), rest)
}

/// `number` times `unit`, rounded down; `None` if `number` isn't a plain decimal number or if the
/// result overflows.
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

/// Parses decimal digits, with `_` allowed between them.
fn digits(text: &str) -> Option<u64> {
    let outer = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
    if !outer(text.chars().next()) || !outer(text.chars().next_back()) {
        return None;
    }
    text.replace('_', "").parse().ok()
}

/// Prints a count, grouped by `_` from five digits on: `1024`, `65_536`, `1_000_000`.
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

/// Prints a size in the first unit that divides it: `64KiB`, `4kB`, `1500B`.
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
    fn sizes_are_numbers_with_or_without_a_unit() {
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
    fn a_wrong_size_is_refused_with_the_right_form() {
        let right = "write a number of bytes, or a number with a unit, such as 65536, 64KiB, \
                     1.5GiB or 4MB";
        for text in
            ["", "KiB", "abc", "-1", "1.5", "1.5.5KiB", "64KiB1", "1 2", "64XiB", "99999999TiB"]
        {
            assert_eq!(parse_bytes(text), Err(format!("not a size; {right}")), "{text}");
        }
    }

    #[test]
    fn an_ambiguous_unit_is_refused_with_both_meanings() {
        let two = "is ambiguous; write";
        assert_eq!(
            parse_bytes("64k"),
            Err(format!("`k` {two} 64KiB (powers of 1024) or 64kB (powers of 1000)"))
        );
        assert_eq!(
            parse_bytes("1.5M"),
            Err(format!("`M` {two} 1.5MiB (powers of 1024) or 1.5MB (powers of 1000)"))
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

        let within = bytes::<usize>("4KiB", "16MiB");
        assert_eq!(within("4096"), Ok(4096));
        assert_eq!(within("4095"), Err("too low; 4KiB to 16MiB is allowed".into()));
        assert_eq!(within("17MiB"), Err("too high; 4KiB to 16MiB is allowed".into()));
    }

    #[test]
    fn values_are_printed_exactly() {
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
        fn a_printed_value_reads_back(value: u64) {
            prop_assert_eq!(parse_count(&count_text(value)), Ok(value));
            prop_assert_eq!(parse_bytes(&bytes_text(value)), Ok(value));
        }

        #[test]
        fn no_text_makes_a_parser_panic(text: String) {
            let _ = (parse_count(&text), parse_bytes(&text));
        }
    }
}
