//! Numbers and truth values: the package `strconv` of Go's documentation.

use std::fmt::Write as _;

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

/// A number with a fraction or an exponent, `NaN` or `Inf`; underscores may stand between digits.
///
/// # Errors
/// When the text has another form, or the number is too large.
pub fn parse_float(text: &str) -> Result<f64, NumberError> {
    let bytes = text.as_bytes();
    let is_digit = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_digit);
    let stands_between =
        |at: usize| bytes[at] != b'_' || (is_digit(at.checked_sub(1)) && is_digit(Some(at + 1)));
    let mut digits = text.to_owned();
    if (0..bytes.len()).all(stands_between) {
        digits.retain(|character| character != '_');
    }
    match digits.parse() {
        Ok(number) if f64::is_infinite(number) && bytes.iter().any(u8::is_ascii_digit) => {
            Err(range("ParseFloat", text))
        }
        Ok(number) => Ok(number),
        Err(_) => Err(syntax("ParseFloat", text)),
    }
}

/// Appends a number as `%v` and `%g` print it: the shortest that reads as the same one, with an exponent below 0.0001 and
/// from a million on.
pub fn push_float(text: &mut String, number: f64) {
    let magnitude = number.abs();
    if number.is_infinite() {
        text.push_str(if number > 0.0 { "+Inf" } else { "-Inf" });
        return;
    }
    if number.is_nan() || number == 0.0 || (1e-4..1e6).contains(&magnitude) {
        let _ = write!(text, "{number}");
        return;
    }
    let begun = text.len();
    let _ = write!(text, "{number:e}");
    if let Some(at) = text[begun..].find('e') {
        let exponent: i32 = text[begun + at + 1..].parse().unwrap_or(0);
        text.truncate(begun + at);
        let sign = if exponent < 0 { '-' } else { '+' };
        let _ = write!(text, "e{sign}{:02}", exponent.abs());
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

    fn printed(number: f64) -> String {
        let mut text = String::new();
        push_float(&mut text, number);
        text
    }

    #[test]
    fn floats_that_are_printed() {
        for (number, wanted) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (0.25, "0.25"),
            (1.0, "1"),
            (1e-4, "0.0001"),
            (1e-5, "1e-05"),
            (-2.5e-7, "-2.5e-07"),
            (123_456.5, "123456.5"),
            (999_999.0, "999999"),
            (1e6, "1e+06"),
            (123_456_789.0, "1.23456789e+08"),
            (1e21, "1e+21"),
            (1.5e300, "1.5e+300"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(printed(number), wanted);
        }
    }

    #[test]
    fn floats_that_are_read() {
        for (text, wanted) in [
            ("1", 1.0),
            ("-1.5", -1.5),
            ("1e3", 1000.0),
            ("1_000.5", 1000.5),
            ("inf", f64::INFINITY),
        ] {
            assert_eq!(parse_float(text), Ok(wanted), "{text}");
        }
        for text in ["", "x", "1_", "_1", "1__0", "1 "] {
            assert_eq!(parse_float(text), Err(syntax("ParseFloat", text)), "{text}");
        }
        let error = parse_float("1e400").unwrap_err().to_string();
        assert_eq!(error, "strconv.ParseFloat: parsing \"1e400\": value out of range");
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_judged(text in "\\PC{0,12}") {
            let _ = (parse_int(&text), parse_uint(&text), parse_float(&text), atoi(&text), parse_bool(&text));
        }

        #[test]
        fn a_float_is_read_as_it_was_printed(number in proptest::num::f64::NORMAL) {
            proptest::prop_assert_eq!(parse_float(&printed(number)), Ok(number));
        }
    }
}
