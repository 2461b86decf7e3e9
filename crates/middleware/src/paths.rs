//! Which paths a component is for.

use http::Request;
use regex::bytes::Regex;

use crate::{regexp, request};

/// The paths that a component is for: all of them without a filter.
#[derive(Debug)]
pub(crate) struct PathFilter(Option<Filter>);

#[derive(Debug)]
struct Filter {
    regex: Regex,
    /// As it is written.
    pattern: Box<str>,
}

impl PathFilter {
    /// A regular expression that is searched for in decoded paths; the empty one is no filter.
    pub(crate) fn new(pattern: &str) -> Result<Self, String> {
        if pattern.is_empty() {
            return Ok(Self(None));
        }
        let regex = regexp::compile(pattern)?;
        let pattern = pattern.into();
        Ok(Self(Some(Filter { regex, pattern })))
    }

    pub(crate) fn takes<B>(&self, request: &Request<B>) -> bool {
        let Some(Filter { regex, pattern }) = &self.0 else {
            return true;
        };
        let path = request::path(request);
        let takes = regex.is_match(&path);
        if !takes {
            let path = String::from_utf8_lossy(&path);
            tracing::debug!(target: "dapr.contrib", "PathFilter {pattern} didn't match {path}! Skipping!");
        }
        takes
    }
}
