//! When a circuit breaker opens: CEL expressions over its counters.
//!
//! Dapr's `daprd` declares every name that it finds as a variable of any type: an unknown one compiles and fails when it
//! is evaluated, and what fails or is no boolean does not open a breaker. What is wrong whatever the counters are (a
//! syntax error, two literals of types that cannot be compared) is refused when the resource is read.

mod pattern;
mod types;

use std::fmt;
use std::sync::{Arc, LazyLock};

use cel::common::functions::Function;
use cel::common::types::{CelBool, CelInt, STRING_TYPE};
use cel::common::value::CowVal;
use cel::parser::PrattParser;
use cel::{Context, Env, ExecutionError, IdedExpr, Value};
use thiserror::Error;

use crate::breaker::Counts;

/// The longest expression, in bytes. It is evaluated after each failure of a call, so it must not be a program.
pub(crate) const LONGEST: usize = 4096;

/// How deep parentheses and the like may be nested, and of how many parts an expression may be. What is deep needs much
/// of the stack.
const DEEPEST: u16 = 32;
const MOST_PARTS: usize = 500;

/// A compiled expression.
#[derive(Clone)]
pub struct Trip {
    text: Arc<str>,
    expression: Arc<IdedExpr>,
}

impl PartialEq for Trip {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// An expression that cannot be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum TripError {
    /// It is longer than an expression may be that is evaluated after each failure.
    #[error("the expression has {0} bytes, at most {LONGEST} are read")]
    TooLong(usize),
    /// It is no CEL, in the words of the parser.
    #[error("invalid Expr {expression:?}: {reason}")]
    Syntax {
        /// The expression.
        expression: String,
        /// Where and what.
        reason: String,
    },
    /// It can never be evaluated.
    #[error("invalid Expr {expression:?}: ERROR: <input>: {reason}")]
    Meaning {
        /// The expression.
        expression: String,
        /// Why.
        reason: String,
    },
}

/// A text that a function of the library got.
fn text(value: &CowVal<'_, '_>, function: &str) -> Result<String, ExecutionError> {
    match Value::try_from(value.as_ref()) {
        Ok(Value::String(text)) => Ok(text.to_string()),
        _ => Err(ExecutionError::function_error(function, "no text")),
    }
}

/// The standard library, durations, which are nanoseconds here, and `matches`, which it has not.
static LIBRARY: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::stdlib();
    let nanos: Function = |args| {
        let text = text(&args[0], "duration")?;
        let nanos = go_text::parse_duration(&text)
            .map_err(|error| ExecutionError::function_error("duration", error.to_string()))?;
        Ok(CowVal::owned(CelInt::from(nanos)))
    };
    let matches: Function = |args| {
        let (text, pattern) = (text(&args[0], "matches")?, text(&args[1], "matches")?);
        let found = pattern::is_match(&text, &pattern);
        let found = found.ok_or_else(|| ExecutionError::function_error("matches", "no pattern"))?;
        Ok(CowVal::owned(CelBool::from(found)))
    };
    let added = [
        env.add_overload("duration", "string_to_duration", vec![STRING_TYPE], nanos),
        env.add_overload("matches", "matches", vec![STRING_TYPE, STRING_TYPE], matches),
        env.add_member_overload(
            "matches",
            "matches_string",
            STRING_TYPE,
            vec![STRING_TYPE],
            matches,
        ),
    ];
    debug_assert!(
        added.iter().all(Result::is_ok),
        "the library has none of its own: {added:?}"
    );
    Arc::new(env)
});

impl Trip {
    /// Compiles an expression.
    pub fn compile(text: &str) -> Result<Self, TripError> {
        if text.len() > LONGEST {
            return Err(TripError::TooLong(text.len()));
        }
        let expression = PrattParser::new()
            .max_recursion_depth(DEEPEST)
            .max_expression_node_count(MOST_PARTS)
            .parse(text)
            .map_err(|errors| TripError::Syntax {
                expression: text.to_owned(),
                reason: errors.to_string(),
            })?;
        types::check(&expression).map_err(|reason| TripError::Meaning {
            expression: text.to_owned(),
            reason,
        })?;
        Ok(Self {
            text: text.into(),
            expression: Arc::new(expression),
        })
    }

    /// Whether a breaker with these counts opens.
    pub fn is_met(&self, counts: &Counts) -> bool {
        let mut context = Context::with_env(Arc::clone(&LIBRARY));
        for (name, count) in [
            ("requests", counts.requests),
            ("totalSuccesses", counts.total_successes),
            ("totalFailures", counts.total_failures),
            ("consecutiveSuccesses", counts.consecutive_successes),
            ("consecutiveFailures", counts.consecutive_failures),
        ] {
            context.add_variable_from_value(name, i64::from(count));
        }
        matches!(Value::resolve(&self.expression, &context), Ok(Value::Bool(true)))
    }
}

impl fmt::Debug for Trip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many failing calls open a breaker, of seven.
    fn failures(text: &str) -> Result<Option<u32>, TripError> {
        let trip = Trip::compile(text)?;
        Ok((1..=7).find(|failures| {
            trip.is_met(&Counts {
                requests: *failures,
                total_failures: *failures,
                consecutive_failures: *failures,
                ..Counts::default()
            })
        }))
    }

    #[test]
    fn expressions_open_a_breaker_when_they_do_for_dapr() {
        let recorded = include_str!("data/trips.tsv");
        for line in recorded.lines().skip(1) {
            let mut fields = line.split('\t');
            let (text, wanted) = (fields.next().unwrap(), fields.next().unwrap());
            let error = fields.next().unwrap_or_default();
            if text.is_empty() {
                continue;
            }
            let found = failures(text);
            if !error.is_empty() {
                assert!(found.is_err(), "{text:?} is refused, not {found:?}");
                continue;
            }
            let wanted = (wanted != "never").then(|| wanted.parse().unwrap());
            assert_eq!(found, Ok(wanted), "{text:?}");
        }
    }

    #[test]
    fn what_is_deep_or_long_is_refused_before_it_needs_the_stack() {
        let row = |part: &str, with: &str, count: usize| vec![part; count].join(with);
        let nested = |open: &str, close: &str, count: usize| open.repeat(count) + "1" + &close.repeat(count);
        for count in [50, 400, 2000] {
            for text in [
                row("1", "+", count),
                nested("[", "]", count),
                nested("int(", ")", count),
                nested("a + (", ")", count),
                format!("a{}", ".b".repeat(count)),
                format!("a{}", "[0]".repeat(count)),
                "(".repeat(count),
                "{".repeat(count),
                "true ? ".repeat(count),
            ] {
                assert!(Trip::compile(&text).is_err(), "{} of {count}", &text[..8]);
            }
        }
        for text in [
            nested("(", ")", 300),
            row("true", "&&", 100),
            "!".repeat(300) + "true",
        ] {
            if let Ok(trip) = Trip::compile(&text) {
                trip.is_met(&Counts::default());
            }
        }
        let lists = "[1, 2].all(x, [3, 4].all(y, x < y))";
        assert!(Trip::compile(lists).is_ok());
        assert!(Trip::compile(&format!("[5].all(z, {lists})")).is_err());
        assert!(matches!(
            Trip::compile(&" ".repeat(LONGEST + 1)),
            Err(TripError::TooLong(_))
        ));
    }

    #[test]
    fn patterns_and_maps() {
        for (text, wanted) in [
            ("string(requests).matches('^[3-5]$')", Some(3)),
            ("matches(string(requests), '[3-5]')", Some(3)),
            (
                "string(requests).matches('^' + string(totalFailures) + '$')",
                Some(1),
            ),
            ("'a'.matches('(')", None),
            ("requests.matches('1')", None),
            ("{'a': 3}.a == requests", Some(3)),
            ("{'a': requests}['a'] == 4", Some(4)),
            ("requests in {2: 'x'}", Some(2)),
            ("{1: 2, 1: 3}[1] == requests", None),
            ("size({'a': 1, 'b': 2}) == requests", Some(2)),
        ] {
            assert_eq!(failures(text), Ok(wanted), "{text}");
        }
        let long = format!("'a'.matches('{}')", "a".repeat(257));
        for (text, wanted) in [
            (
                long.as_str(),
                "a pattern of 'matches' has 257 bytes, at most 256 are read",
            ),
            (
                "'a'.matches('((a{100}){100}){100}')",
                "a pattern of 'matches' repeats more than a breaker has time for",
            ),
            (
                "timestamp('2026-01-01T00:00:00Z') > timestamp('2025-01-01T00:00:00Z')",
                "there are no timestamps here, and so no 'timestamp': a breaker counts calls",
            ),
            (
                "duration('1s').getSeconds() > 0",
                "there are no timestamps here, and so no 'getSeconds': a breaker counts calls",
            ),
        ] {
            let error = failures(text).unwrap_err().to_string();
            assert!(error.ends_with(wanted), "{text}: {error}");
        }
        let hostile = format!("'{}'.matches('(a*)*b')", "a".repeat(2000));
        assert_eq!(failures(&hostile), Ok(None));
    }

    #[test]
    fn nothing_that_cannot_be_evaluated_opens_a_breaker() {
        for text in [
            "requests / 0 > 0",
            "requests % totalSuccesses == 0",
            "9223372036854775807 + requests > 0",
            "-9223372036854775808 - requests < 0",
            "uint(requests - 9) > 0u",
            "int('x') == requests",
            "[1][requests] == 1",
            "duration('soon') > duration('1s')",
        ] {
            assert_eq!(failures(text), Ok(None), "{text}");
        }
    }
}
