//! How hard the calls of the app are tried.

use std::sync::Arc;

use resiliency::{Observer, Policies, Settings};
use resources::{HttpEndpoint, Resiliency};

use crate::flags::Options;

/// The most that is kept of one body for another attempt, in bytes, however long bodies may be.
const MOST_KEPT: u64 = 64 << 20;

/// The policies of the resources. `observer` is told what they do. The breakers of those `before` go on.
pub(super) fn policies(
    before: Option<&Policies>,
    options: &Options,
    resiliency: &[Arc<Resiliency>],
    endpoints: &[Arc<HttpEndpoint>],
    observer: Arc<dyn Observer>,
) -> Policies {
    let settings = Settings {
        kept: options
            .max_body
            .map_or(MOST_KEPT, |longest| longest.min(MOST_KEPT)),
        base_urls: endpoints
            .iter()
            .map(|endpoint| (endpoint.head.name.clone(), endpoint.base_url.clone()))
            .collect(),
    };
    match before {
        None => Policies::compile(resiliency, settings, observer),
        Some(before) => before.replaced(resiliency, settings, observer),
    }
}
