//! Durations of a policy: whole milliseconds, or Go's syntax. See "Resiliency policies" in Dapr's documentation.

use go_text::{DurationError, parse_duration};

/// A duration of a policy, in nanoseconds, which may be negative: a bare whole number is in milliseconds.
pub(crate) fn parse(text: &str) -> Result<i64, DurationError> {
    if let Ok(millis) = text.parse::<i64>() {
        return Ok(millis.saturating_mul(1_000_000));
    }
    parse_duration(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_numbers_are_milliseconds() {
        for (text, wanted) in [
            ("5", 5_000_000),
            ("-5", -5_000_000),
            ("+5", 5_000_000),
            ("9223372036854775807", i64::MAX),
            ("0", 0),
            ("5s", 5_000_000_000),
        ] {
            assert_eq!(parse(text), Ok(wanted), "{text:?}");
        }
        let error = parse("1.5").unwrap_err().to_string();
        assert_eq!(error, "time: missing unit in duration \"1.5\"");
    }
}
