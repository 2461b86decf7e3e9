//! `middleware.http.routerchecker`: only what a rule matches goes on.

use http::StatusCode;
use regex::bytes::Regex;
use thiserror::Error;

use crate::answer::refused;
use crate::handler::{After, Call, Verdict};
use crate::properties::{Duplicate, Properties};
use crate::{regexp, request};

/// Why there is no rule.
#[derive(Debug, Error)]
pub(crate) enum RuleError {
    #[error(transparent)]
    Duplicate(#[from] Duplicate),
    #[error("failed to compile rule regexp: {0}")]
    Rule(String),
}

/// A rule that paths and queries must match.
#[derive(Debug)]
pub(crate) struct RouterChecker(Regex);

impl RouterChecker {
    /// `rule` is searched for; the empty one is everywhere.
    pub(crate) fn new(properties: &Properties) -> Result<Self, RuleError> {
        properties.check()?;
        let rule = properties.get("rule").unwrap_or_default();
        regexp::compile(rule).map(Self).map_err(RuleError::Rule)
    }

    pub(crate) fn handle(&self, call: &Call) -> Verdict {
        if self.0.is_match(&request::path_and_query(&call.request)) {
            return Ok(After::Nothing);
        }
        let answer = refused(StatusCode::BAD_REQUEST, "invalid router");
        Err(Box::new(answer))
    }
}
