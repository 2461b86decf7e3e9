//! Doors for the fuzz targets: where a redirect leads.

use http::{HeaderValue, Method, StatusCode};

use crate::redirect::{Next, Place, next};

/// The address that a redirect leads to, and what is connected to for it.
pub fn redirect(from: &str, location: &[u8]) -> Option<(String, String)> {
    let from = Place::parse(from).ok()?;
    let location = HeaderValue::from_bytes(location).ok()?;
    match next(StatusCode::FOUND, Some(&location), &Method::GET, true, &from) {
        Ok(Next::Follow { to, .. }) => Some((to.url(), to.address())),
        _ => None,
    }
}
