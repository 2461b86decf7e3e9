//! Which statuses a retry is for: lists of codes and ranges.

use std::num::{IntErrorKind, ParseIntError};
use std::ops::RangeInclusive;

use thiserror::Error;

/// The statuses of HTTP that a list may name.
pub(crate) const HTTP: RangeInclusive<i64> = 100..=599;
/// The codes of gRPC that a list may name.
pub(crate) const GRPC: RangeInclusive<i64> = 0..=16;

/// A list of codes; `None` inside means every code of its kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Codes(Option<Vec<(i32, i32)>>);

/// What is wrong with a list, in Dapr's words.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CodesError {
    /// More than two numbers.
    #[error("invalid pattern {0}, more than one '-' exists")]
    Hyphens(String),
    /// One end is no number.
    #[error(
        "failed to parse {end} code {code} from pattern {pattern} to int, strconv.Atoi: parsing {code:?}: {reason}"
    )]
    Number {
        /// `start` or `end`.
        end: &'static str,
        /// What is no number.
        code: String,
        /// The item of the list.
        pattern: String,
        /// Why, in Go's words.
        reason: &'static str,
    },
    /// One end is beyond what there is.
    #[error("invalid pattern {pattern}, {end} code {code} is not valid")]
    Range {
        /// `start` or `end`.
        end: &'static str,
        /// The number.
        code: i64,
        /// The item of the list.
        pattern: String,
    },
    /// It ends before it begins.
    #[error("invalid pattern {0}, start value should not bigger than end value")]
    Order(String),
}

impl Codes {
    /// Reads a list, whose codes must be in `valid`.
    pub(crate) fn parse(list: &str, valid: &RangeInclusive<i64>) -> Result<Self, CodesError> {
        if list.is_empty() {
            return Ok(Self(None));
        }
        let items = list.split(',').filter(|item| !item.is_empty());
        let ranges: Result<Vec<_>, _> = items.map(|item| range(item, valid)).collect();
        Ok(Self(Some(ranges?)))
    }

    /// Whether the list has this code.
    pub(crate) fn has(&self, code: i32) -> bool {
        let is_in = |(start, end): &(i32, i32)| (*start..=*end).contains(&code);
        self.0.as_ref().is_none_or(|ranges| ranges.iter().any(is_in))
    }
}

fn range(pattern: &str, valid: &RangeInclusive<i64>) -> Result<(i32, i32), CodesError> {
    let mut parts = pattern.split('-');
    let (first, second) = (parts.next().unwrap_or_default(), parts.next());
    if parts.next().is_some() {
        return Err(CodesError::Hyphens(pattern.to_owned()));
    }
    let start = number(first, "start", pattern, valid)?;
    let end = match second {
        Some(second) => number(second, "end", pattern, valid)?,
        None => start,
    };
    if end < start {
        return Err(CodesError::Order(pattern.to_owned()));
    }
    Ok((start, end))
}

fn number(
    code: &str,
    end: &'static str,
    pattern: &str,
    valid: &RangeInclusive<i64>,
) -> Result<i32, CodesError> {
    let pattern = || pattern.to_owned();
    let number: i64 = code.parse().map_err(|error: ParseIntError| CodesError::Number {
        end,
        code: code.to_owned(),
        pattern: pattern(),
        reason: match error.kind() {
            IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
            _ => "invalid syntax",
        },
    })?;
    match i32::try_from(number) {
        Ok(small) if valid.contains(&number) => Ok(small),
        _ => Err(CodesError::Range {
            end,
            code: number,
            pattern: pattern(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        for (list, has, has_not) in [
            ("", &[100, 404, 599][..], &[][..]),
            ("500", &[500], &[499, 501]),
            ("500,502-504", &[500, 502, 503, 504], &[501, 505]),
            (",,404,", &[404], &[403]),
            (",", &[], &[100, 500]),
            ("+500", &[500], &[501]),
            ("100-599", &[100, 599], &[]),
        ] {
            let codes = Codes::parse(list, &HTTP).unwrap();
            assert!(has.iter().all(|code| codes.has(*code)), "{list:?}");
            assert!(!has_not.iter().any(|code| codes.has(*code)), "{list:?}");
        }
    }

    #[test]
    fn mistakes() {
        for (list, wanted) in [
            ("600", "invalid pattern 600, start code 600 is not valid"),
            ("11", "invalid pattern 11, start code 11 is not valid"),
            ("500-700", "invalid pattern 500-700, end code 700 is not valid"),
            (
                "399-299",
                "invalid pattern 399-299, start value should not bigger than end value",
            ),
            ("1-2-3", "invalid pattern 1-2-3, more than one '-' exists"),
            (
                "500, 501",
                "failed to parse start code  501 from pattern  501 to int, strconv.Atoi: parsing \" 501\": invalid syntax",
            ),
            (
                "500-",
                "failed to parse end code  from pattern 500- to int, strconv.Atoi: parsing \"\": invalid syntax",
            ),
            (
                "-5",
                "failed to parse start code  from pattern -5 to int, strconv.Atoi: parsing \"\": invalid syntax",
            ),
            (
                "99999999999999999999",
                "failed to parse start code 99999999999999999999 from pattern 99999999999999999999 to int, \
                 strconv.Atoi: parsing \"99999999999999999999\": value out of range",
            ),
            (
                "4294967796",
                "invalid pattern 4294967796, start code 4294967796 is not valid",
            ),
        ] {
            assert_eq!(Codes::parse(list, &HTTP).unwrap_err().to_string(), wanted);
        }
        assert!(Codes::parse("17", &GRPC).is_err());
        assert!(Codes::parse("0-16", &GRPC).is_ok());
    }
}
