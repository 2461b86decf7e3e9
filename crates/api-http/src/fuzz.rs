//! Doors for the fuzz targets: which app a request is for, and which origins may call.

use http::HeaderMap;

use crate::cors::Cors;
use crate::target;

/// The target and the method of a request, whose path was decoded once.
pub fn target(headers: &HeaderMap, path: &[u8]) -> Option<(String, Vec<u8>)> {
    let found = target::find(headers, path)?;
    Some((found.target.into_owned(), found.method.to_vec()))
}

/// Whether an origin may call, by the list of those that may.
pub fn is_allowed(list: &str, origin: &str) -> Option<bool> {
    Some(Cors::parse(list)?.allows(origin))
}
