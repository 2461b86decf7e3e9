//! Numbers and truth values: the package `strconv` of Go's documentation.

use crate::quote::quote;

/// Why a text is no number and no truth value, in Go's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("strconv.{function}: parsing {}: {why}", quote(text))]
pub struct NumberError {
    function: &'static str,
    text: String,
    why: &'static str,
}

impl NumberError {
    fn new(function: &'static str, text: &str, why: &'static str) -> Self {
        let text = text.to_owned();
        Self { function, text, why }
    }
}

fn syntax(function: &'static str, text: &str) -> NumberError {
    NumberError::new(function, text, "invalid syntax")
}

fn range(function: &'static str, text: &str) -> NumberError {
    NumberError::new(function, text, "value out of range")
}

/// A signed integer in Go's syntax for literals: decimal, `0x`, `0b`, `0o` or a leading zero, `_` between digits.
///
/// # Errors
/// When the text has another form, or the number is out of range.
pub fn parse_int(text: &str) -> Result<i64, NumberError> {
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
///
/// # Errors
/// When the text has another form, or the number is out of range.
pub fn parse_uint(text: &str) -> Result<u64, NumberError> {
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
///
/// # Errors
/// When the text has another form, or the number is out of range.
pub fn atoi(text: &str) -> Result<i64, NumberError> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(syntax("Atoi", text));
    }
    text.trim_start_matches('+')
        .parse()
        .map_err(|_| range("Atoi", text))
}

/// A truth value: `1`, `t`, `T`, `true`, `TRUE`, `True`, and the same of `false`.
///
/// # Errors
/// When the text has another form.
pub fn parse_bool(text: &str) -> Result<bool, NumberError> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(syntax("ParseBool", text)),
    }
}

/// A number as `%v` and `%g` print it: the shortest that reads as the same one, with an exponent where it is small or
/// large.
pub fn format_float(number: f64) -> String {
    let magnitude = number.abs();
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    if number == 0.0 || (1e-4..1e21).contains(&magnitude) {
        return number.to_string();
    }
    let text = format!("{number:e}");
    match text.split_once('e') {
        Some((digits, exponent)) => match exponent.strip_prefix('-') {
            Some(exponent) => format!("{digits}e-{exponent:0>2}"),
            None => format!("{digits}e+{exponent:0>2}"),
        },
        None => text,
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
                .to_string()
                .ends_with("value out of range")
        );
        assert!(
            parse_uint("-1")
                .unwrap_err()
                .to_string()
                .ends_with("parsing \"-1\": invalid syntax")
        );
        assert_eq!(atoi("-007"), Ok(-7));
        assert!(atoi("0x1").is_err() && atoi("").is_err() && atoi("1 ").is_err());
    }

    #[test]
    fn truth_values() {
        for text in ["1", "t", "T", "true", "TRUE", "True"] {
            assert_eq!(parse_bool(text), Ok(true), "{text}");
        }
        for text in ["0", "f", "F", "false", "FALSE", "False"] {
            assert_eq!(parse_bool(text), Ok(false), "{text}");
        }
        let error = parse_bool("yes").unwrap_err().to_string();
        assert_eq!(error, "strconv.ParseBool: parsing \"yes\": invalid syntax");
    }

    #[test]
    fn floats() {
        for (number, wanted) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (0.25, "0.25"),
            (1.0, "1"),
            (1e-4, "0.0001"),
            (1e-5, "1e-05"),
            (-2.5e-7, "-2.5e-07"),
            (123_456_789.0, "123456789"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1.5e300, "1.5e+300"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(format_float(number), wanted);
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_judged(text in "\\PC{0,12}") {
            let _ = (parse_int(&text), parse_uint(&text), atoi(&text), parse_bool(&text));
        }

        #[test]
        fn a_float_is_read_as_it_was_printed(number in proptest::num::f64::NORMAL) {
            proptest::prop_assert_eq!(format_float(number).parse(), Ok(number));
        }
    }
}
