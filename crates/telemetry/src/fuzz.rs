//! A door for the fuzz targets: what scrapers send.

use http::{HeaderMap, HeaderValue};

use crate::metrics::Format;
use crate::server::negotiated;

/// The form that a scraper gets, and how it is called.
pub fn form(headers: &HeaderMap, offers_openmetrics: bool) -> (Format, HeaderValue) {
    negotiated(headers, offers_openmetrics)
}
