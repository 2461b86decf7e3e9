//! Values as Go writes and reads them.

use std::time::Duration;

/// Go's text for a number that is none.
fn syntax(function: &str, text: &str) -> String {
    format!("strconv.{function}: parsing {text:?}: invalid syntax")
}

fn range(function: &str, text: &str) -> String {
    format!("strconv.{function}: parsing {text:?}: value out of range")
}

/// A signed integer in Go's syntax for literals: decimal, `0x`, `0b`, `0o` or a leading zero, `_` between digits.
pub fn parse_int(text: &str) -> Result<i64, String> {
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let value = match magnitude(digits) {
        Magnitude::Of(value) => i128::from(value),
        Magnitude::TooLarge => return Err(range("ParseInt", text)),
        Magnitude::None => return Err(syntax("ParseInt", text)),
    };
    i64::try_from(if negative { -value } else { value }).map_err(|_| range("ParseInt", text))
}

/// An unsigned integer in the same syntax.
pub fn parse_uint(text: &str) -> Result<u64, String> {
    match magnitude(text) {
        Magnitude::Of(value) => Ok(value),
        Magnitude::TooLarge => Err(range("ParseUint", text)),
        Magnitude::None => Err(syntax("ParseUint", text)),
    }
}

enum Magnitude {
    Of(u64),
    TooLarge,
    None,
}

fn magnitude(text: &str) -> Magnitude {
    let lower = text.to_ascii_lowercase();
    let (radix, digits, is_prefixed) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..], true),
        [b'0', b'b', ..] => (2, &lower[2..], true),
        [b'0', b'o', ..] => (8, &lower[2..], true),
        [b'0', _, ..] => (8, &lower[1..], true),
        _ => (10, lower.as_str(), false),
    };
    let underscores_fit = !digits.ends_with('_')
        && !digits.contains("__")
        && (is_prefixed
            || (!digits.starts_with('_') && !digits.contains('_'))
            || digits.as_bytes()[0] != b'_');
    let digits: String = digits.chars().filter(|digit| *digit != '_').collect();
    if digits.is_empty() || !underscores_fit || !digits.chars().all(|digit| digit.is_digit(radix)) {
        return Magnitude::None;
    }
    u64::from_str_radix(&digits, radix).map_or(Magnitude::TooLarge, Magnitude::Of)
}

/// A decimal integer, as ports are read.
pub fn atoi(text: &str) -> Result<i64, String> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(syntax("Atoi", text));
    }
    text.trim_start_matches('+')
        .parse()
        .map_err(|_| range("Atoi", text))
}

/// A boolean.
pub fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(syntax("ParseBool", text)),
    }
}

const UNITS: &[(&str, u64)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// A duration in nanoseconds: `300ms`, `1.5h`, `2h45m`, `0`.
pub fn parse_duration(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut nanos = 0_f64;
    let mut exact = 0_i128;
    while !rest.is_empty() {
        let number_end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, after) = rest.split_at(number_end);
        let unit_end = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(invalid());
        }
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {text:?}"));
        }
        let size = UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .map(|(_, size)| *size);
        let size = size.ok_or_else(|| format!("time: unknown unit {unit:?} in duration {text:?}"))?;
        let whole: i128 = if whole.is_empty() {
            0
        } else {
            whole.parse().map_err(|_| invalid())?
        };
        exact = exact
            .checked_add(whole.checked_mul(i128::from(size)).ok_or_else(invalid)?)
            .ok_or_else(invalid)?;
        if !fraction.is_empty() {
            nanos += format!("0.{fraction}").parse::<f64>().unwrap_or(0.0) * size as f64;
        }
        rest = after;
    }
    let total = exact + nanos as i128;
    let total = if negative { -total } else { total };
    i64::try_from(total).map_err(|_| invalid())
}

/// A duration as Go prints it: `1h30m0s`, `2s`, `500ms`, `0s`.
pub fn format_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let with_fraction = |value: u128, size: u128, unit: &str| {
        let fraction = value % size;
        if fraction == 0 {
            return format!("{}{unit}", value / size);
        }
        let width = size.ilog10() as usize;
        let digits = format!("{fraction:0width$}");
        format!("{}.{}{unit}", value / size, digits.trim_end_matches('0'))
    };
    match nanos {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => with_fraction(nanos, 1_000, "µs"),
        1_000_000..1_000_000_000 => with_fraction(nanos, 1_000_000, "ms"),
        _ => {
            let minutes = nanos / 60_000_000_000;
            let seconds = with_fraction(nanos % 60_000_000_000, 1_000_000_000, "s");
            match (minutes / 60, minutes % 60) {
                (0, 0) => seconds,
                (0, minutes) => format!("{minutes}m{seconds}"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers() {
        for (text, wanted) in [
            ("5", 5),
            ("-5", -5),
            ("+5", 5),
            ("0x1F", 31),
            ("0b101", 5),
            ("010", 8),
            ("0o17", 15),
            ("1_000", 1000),
        ] {
            assert_eq!(parse_int(text), Ok(wanted), "{text}");
        }
        for text in ["", "x", "5x", "0x", "--5", "1__0", "_1", "1_", "08"] {
            assert_eq!(parse_int(text), Err(syntax("ParseInt", text)), "{text}");
        }
        assert!(
            parse_int("99999999999999999999")
                .unwrap_err()
                .ends_with("value out of range")
        );
        assert!(
            parse_uint("-1")
                .unwrap_err()
                .ends_with("parsing \"-1\": invalid syntax")
        );
        assert_eq!(atoi("-007"), Ok(-7));
        assert!(atoi("0x1").is_err() && atoi("").is_err() && atoi("1 ").is_err());
    }

    #[test]
    fn durations() {
        for (text, millis) in [
            ("0", 0),
            ("300ms", 300),
            ("1.5h", 5_400_000),
            ("2h45m", 9_900_000),
            ("-1s", -1000),
            (".5s", 500),
        ] {
            assert_eq!(parse_duration(text), Ok(millis * 1_000_000), "{text}");
        }
        assert_eq!(
            parse_duration("5").unwrap_err(),
            "time: missing unit in duration \"5\""
        );
        assert_eq!(parse_duration("x").unwrap_err(), "time: invalid duration \"x\"");
        assert_eq!(
            parse_duration("1x").unwrap_err(),
            "time: unknown unit \"x\" in duration \"1x\""
        );
        for (millis, wanted) in [
            (0, "0s"),
            (2_000, "2s"),
            (500, "500ms"),
            (1_500, "1.5s"),
            (180_000, "3m0s"),
            (5_400_000, "1h30m0s"),
        ] {
            assert_eq!(format_duration(Duration::from_millis(millis)), wanted);
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_judged(text in "\\PC{0,12}") {
            let _ = (parse_int(&text), parse_uint(&text), atoi(&text), parse_bool(&text), parse_duration(&text));
        }

        #[test]
        fn what_is_printed_is_read(nanos in 0..i64::MAX / 2) {
            let printed = format_duration(Duration::from_nanos(nanos as u64));
            let read = parse_duration(&printed).unwrap();
            // The fraction of a large duration is a float on the way back.
            proptest::prop_assert!((read - nanos).abs() <= 1 + nanos / 1_000_000_000_000, "{printed}");
        }
    }
}
