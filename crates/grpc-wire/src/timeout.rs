//! The `grpc-timeout` header.

use std::time::Duration;

/// Reads a time-out: at most eight digits and a unit (`H`, `M`, `S`, `m`, `u` or `n`).
pub fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let value: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(value * 3600),
        "M" => Duration::from_secs(value * 60),
        "S" => Duration::from_secs(value),
        "m" => Duration::from_millis(value),
        "u" => Duration::from_micros(value),
        "n" => Duration::from_nanos(value),
        _ => return None,
    })
}

/// Writes a time-out in the finest unit that it fits, rounded up.
pub fn format_timeout(timeout: Duration) -> String {
    const MAX: u128 = 99_999_999;
    let nanos = timeout.as_nanos();
    for (unit, size) in [
        ("n", 1),
        ("u", 1_000),
        ("m", 1_000_000),
        ("S", 1_000_000_000),
        ("M", 60_000_000_000),
    ] {
        let value = nanos.div_ceil(size);
        if value <= MAX {
            return format!("{value}{unit}");
        }
    }
    format!("{}H", nanos.div_ceil(3_600_000_000_000).min(MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn timeouts() {
        for (text, wanted) in [
            ("5S", Some(Duration::from_secs(5))),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3600))),
            ("1n", Some(Duration::from_nanos(1))),
            ("", None),
            ("S", None),
            ("5", None),
            ("5s", None),
            ("-5S", None),
            ("+5S", None),
            ("999999999S", None),
            ("5é", None),
        ] {
            assert_eq!(parse_timeout(text), wanted, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn formatting_never_shortens(nanos in 0..u64::MAX) {
            let timeout = Duration::from_nanos(nanos);
            prop_assert!(parse_timeout(&format_timeout(timeout)).unwrap() >= timeout);
        }

        #[test]
        fn any_text_is_judged(text in ".{0,12}") {
            let _ = parse_timeout(&text);
        }
    }
}
