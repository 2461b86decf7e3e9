//! Durations: `time.ParseDuration` and `Duration.String` of Go's documentation.

use std::time::Duration;

use crate::quote::quote_bytes;

/// The units of Go's durations, in nanoseconds.
const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Why a text is no duration, in Go's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// It has another form, or is out of range.
    #[error("time: invalid duration {}", quote_bytes(.0))]
    Invalid(String),
    /// A number has no unit.
    #[error("time: missing unit in duration {}", quote_bytes(.0))]
    MissingUnit(String),
    /// A number has a unit that there is not.
    #[error("time: unknown unit {} in duration {}", quote_bytes(unit), quote_bytes(text))]
    UnknownUnit {
        /// What stands in the place of the unit.
        unit: String,
        /// The whole text.
        text: String,
    },
}

/// Nanoseconds as a duration, if it is more than nothing.
pub fn positive(nanos: i64) -> Option<Duration> {
    u64::try_from(nanos)
        .ok()
        .filter(|nanos| *nanos > 0)
        .map(Duration::from_nanos)
}

/// A duration in nanoseconds, which may be negative: `300ms`, `1.5h`, `2h45m`, `0`.
///
/// # Errors
/// When the text has another form, or the duration is longer than some 292 years.
pub fn parse_duration(text: &str) -> Result<i64, DurationError> {
    let invalid = || DurationError::Invalid(text.to_owned());
    let (is_negative, unsigned) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if unsigned == "0" {
        return Ok(0);
    }
    if unsigned.is_empty() {
        return Err(invalid());
    }
    let mut rest = unsigned;
    let mut sum: u64 = 0;
    while !rest.is_empty() {
        let (whole, after) = digits(rest);
        let (fraction, after_fraction) = match after.strip_prefix('.') {
            Some(after) => digits(after),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let end = after_fraction
            .find(|character: char| character == '.' || character.is_ascii_digit())
            .unwrap_or(after_fraction.len());
        let (unit, next) = after_fraction.split_at(end);
        if unit.is_empty() {
            return Err(DurationError::MissingUnit(text.to_owned()));
        }
        let Some((_, nanos)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            let (unit, text) = (unit.to_owned(), text.to_owned());
            return Err(DurationError::UnknownUnit { unit, text });
        };
        sum = part(whole, fraction, *nanos)
            .and_then(|part| sum.checked_add(part))
            .filter(|sum| i64::try_from(*sum).is_ok())
            .ok_or_else(invalid)?;
        rest = next;
    }
    let sum = sum as i64;
    Ok(if is_negative { -sum } else { sum })
}

fn digits(text: &str) -> (&str, &str) {
    let end = text
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(text.len());
    text.split_at(end)
}

fn part(whole: &str, fraction: &str, unit: u64) -> Option<u64> {
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    // More digits than these make no nanosecond.
    let fraction = &fraction[..fraction.len().min(15)];
    let scale = 10u128.pow(fraction.len() as u32);
    let parts: u128 = if fraction.is_empty() {
        0
    } else {
        fraction.parse().ok()?
    };
    let nanos = u64::try_from(parts * u128::from(unit) / scale).ok()?;
    whole.checked_mul(unit)?.checked_add(nanos)
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
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_read() {
        const SECOND: i64 = 1_000_000_000;
        for (text, wanted) in [
            ("0", Ok(0)),
            ("+0", Ok(0)),
            ("5s", Ok(5 * SECOND)),
            ("+5s", Ok(5 * SECOND)),
            ("1.5s", Ok(3 * SECOND / 2)),
            (".5s", Ok(SECOND / 2)),
            ("5.s", Ok(5 * SECOND)),
            ("1h30m", Ok(5400 * SECOND)),
            ("1.5h", Ok(5400 * SECOND)),
            ("-200ms", Ok(-SECOND / 5)),
            ("1us", Ok(1_000)),
            ("1\u{b5}s", Ok(1_000)),
            ("1\u{3bc}s", Ok(1_000)),
            ("1ns", Ok(1)),
            ("0.0000000001s", Ok(0)),
            ("", Err("time: invalid duration \"\"")),
            ("-", Err("time: invalid duration \"-\"")),
            ("x", Err("time: invalid duration \"x\"")),
            (".s", Err("time: invalid duration \".s\"")),
            ("5", Err("time: missing unit in duration \"5\"")),
            ("1.5", Err("time: missing unit in duration \"1.5\"")),
            ("1 s", Err("time: unknown unit \" s\" in duration \"1 s\"")),
            ("1d", Err("time: unknown unit \"d\" in duration \"1d\"")),
            (
                "1\u{b5}",
                Err("time: unknown unit \"\\xc2\\xb5\" in duration \"1\\xc2\\xb5\""),
            ),
            ("9999999h", Err("time: invalid duration \"9999999h\"")),
        ] {
            let read = parse_duration(text).map_err(|error| error.to_string());
            assert_eq!(read, wanted.map_err(str::to_owned), "{text:?}");
        }
    }

    #[test]
    fn what_is_printed() {
        for (nanos, wanted) in [
            (0, "0s"),
            (1, "1ns"),
            (1_500, "1.5\u{b5}s"),
            (10_000_000, "10ms"),
            (1_000_000_000, "1s"),
            (1_500_000_000, "1.5s"),
            (60_000_000_000, "1m0s"),
            (90_000_000_000, "1m30s"),
            (3_600_000_000_000, "1h0m0s"),
            (5_400_000_000_000, "1h30m0s"),
        ] {
            assert_eq!(format_duration(Duration::from_nanos(nanos)), wanted);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_judged(text in "[-+0-9.a-z\u{b5} ]{0,12}|\\PC{0,12}") {
            let _ = parse_duration(&text);
        }

        #[test]
        fn what_is_printed_is_read(nanos in 0..i64::MAX) {
            let printed = format_duration(Duration::from_nanos(nanos as u64));
            prop_assert_eq!(parse_duration(&printed), Ok(nanos), "{}", printed);
        }
    }
}
