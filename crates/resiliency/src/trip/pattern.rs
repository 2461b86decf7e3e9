//! Regular expressions in `matches`: of a bounded size, and matched in a time that is linear in the text.

use std::cell::RefCell;

use hashlink::LruCache;
use regex::{Regex, RegexBuilder};

/// The longest pattern, in bytes.
const LONGEST: usize = 256;
/// The largest program that a pattern may become, in bytes.
const LARGEST: usize = 64 * 1024;
/// So many of them each thread keeps. A breaker evaluates the same ones again and again.
const KEPT: usize = 16;

thread_local! {
    static KNOWN: RefCell<LruCache<String, Option<Regex>>> = RefCell::new(LruCache::new(KEPT));
}

/// Says why a pattern can never be used. One that is no regular expression is refused when it is evaluated, as in Dapr.
pub(super) fn check(pattern: &str) -> Result<(), String> {
    if pattern.len() > LONGEST {
        return Err(format!(
            "a pattern of 'matches' has {} bytes, at most {LONGEST} are read",
            pattern.len()
        ));
    }
    match compile(pattern) {
        Err(regex::Error::CompiledTooBig(_)) => {
            Err("a pattern of 'matches' repeats more than a breaker has time for".to_owned())
        }
        _ => Ok(()),
    }
}

/// Whether a text has a part that matches; `None` for what is no pattern.
pub(super) fn is_match(text: &str, pattern: &str) -> Option<bool> {
    if pattern.len() > LONGEST {
        return None;
    }
    KNOWN.with_borrow_mut(|known| {
        if !known.contains_key(pattern) {
            known.insert(pattern.to_owned(), compile(pattern).ok());
        }
        known.get(pattern)?.as_ref().map(|regex| regex.is_match(text))
    })
}

fn compile(pattern: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern)
        .size_limit(LARGEST)
        .dfa_size_limit(LARGEST)
        .build()
}
