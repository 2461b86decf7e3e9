//! Durations as Dapr's resources write them: whole milliseconds, or Go's syntax.
//!
//! See "Resiliency policies" in Dapr's documentation, and `time.ParseDuration` in Go's.

use std::time::Duration;

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

/// A duration of a resource, in nanoseconds, which may be negative: a bare whole number is in milliseconds.
pub(crate) fn parse(text: &str) -> Result<i64, String> {
    if let Ok(millis) = text.parse::<i64>() {
        return Ok(millis.saturating_mul(1_000_000));
    }
    parse_go(text)
}

/// A duration of a policy: what is not more than nothing is `None`.
pub(crate) fn positive(nanos: i64) -> Option<Duration> {
    u64::try_from(nanos)
        .ok()
        .filter(|nanos| *nanos > 0)
        .map(Duration::from_nanos)
}

/// A duration in Go's syntax, in nanoseconds.
pub(crate) fn parse_go(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {text:?}");
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
            return Err(format!("time: missing unit in duration {text:?}"));
        }
        let Some((_, nanos)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(format!("time: unknown unit {unit:?} in duration {text:?}"));
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

/// A duration as Go prints it.
pub(crate) fn shown(duration: Duration) -> String {
    let minutes = duration.as_secs() / 60;
    if minutes == 0 {
        return if duration.is_zero() {
            "0s".to_owned()
        } else {
            format!("{duration:?}")
        };
    }
    let seconds = duration.as_secs_f64() - (minutes * 60) as f64;
    match (minutes / 60, minutes % 60) {
        (0, minutes) => format!("{minutes}m{seconds}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations() {
        const SECOND: i64 = 1_000_000_000;
        for (text, wanted) in [
            ("5", Ok(5_000_000)),
            ("-5", Ok(-5_000_000)),
            ("+5", Ok(5_000_000)),
            ("0", Ok(0)),
            ("5s", Ok(5 * SECOND)),
            ("1.5s", Ok(3 * SECOND / 2)),
            (".5s", Ok(SECOND / 2)),
            ("1h30m", Ok(5400 * SECOND)),
            ("-200ms", Ok(-SECOND / 5)),
            ("1us", Ok(1_000)),
            ("1\u{b5}s", Ok(1_000)),
            ("1ns", Ok(1)),
            ("", Err("time: invalid duration \"\"")),
            ("-", Err("time: invalid duration \"-\"")),
            ("x", Err("time: invalid duration \"x\"")),
            ("1.5", Err("time: missing unit in duration \"1.5\"")),
            ("1 s", Err("time: unknown unit \" s\" in duration \"1 s\"")),
            ("1d", Err("time: unknown unit \"d\" in duration \"1d\"")),
            ("9999999h", Err("time: invalid duration \"9999999h\"")),
        ] {
            assert_eq!(parse(text), wanted.map_err(str::to_owned), "{text:?}");
        }
    }

    #[test]
    fn how_go_prints() {
        for (millis, wanted) in [
            (0, "0s"),
            (10, "10ms"),
            (1000, "1s"),
            (1500, "1.5s"),
            (60_000, "1m0s"),
            (90_000, "1m30s"),
            (3_600_000, "1h0m0s"),
        ] {
            assert_eq!(shown(Duration::from_millis(millis)), wanted);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_judged(text in "[-+0-9.a-z\u{b5} ]{0,12}") {
            let _ = parse(&text);
        }
    }
}
