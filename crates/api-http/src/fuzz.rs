//! Doors for the fuzz targets: which app a request is for.

use http::HeaderMap;

use crate::target;

/// The target and the method of a request, whose path was decoded once.
pub fn target(headers: &HeaderMap, path: &[u8]) -> Option<(String, Vec<u8>)> {
    let found = target::find(headers, path)?;
    Some((found.target.into_owned(), found.method.to_vec()))
}
