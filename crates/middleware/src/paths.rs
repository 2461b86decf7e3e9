//! Which paths a component is for.

use http::Request;
use regex::bytes::Regex;

use crate::{regexp, request};

/// The paths that a component is for: all of them without a filter.
#[derive(Debug)]
pub(crate) struct PathFilter(Option<Regex>);

impl PathFilter {
    /// A regular expression that is searched for in decoded paths; the empty one is no filter.
    pub(crate) fn new(pattern: &str) -> Result<Self, String> {
        if pattern.is_empty() {
            return Ok(Self(None));
        }
        regexp::compile(pattern).map(|regex| Self(Some(regex)))
    }

    pub(crate) fn takes<B>(&self, request: &Request<B>) -> bool {
        self.0
            .as_ref()
            .is_none_or(|regex| regex.is_match(&request::path(request)))
    }
}
