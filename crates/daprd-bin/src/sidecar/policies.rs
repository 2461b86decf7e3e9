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
        kept: kept(options.max_body),
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

/// How much is kept of a body, if bodies may be so long.
fn kept(longest: Option<u64>) -> u64 {
    longest.map_or(MOST_KEPT, |longest| longest.min(MOST_KEPT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_much_is_kept_as_bodies_are_long_within_a_bound() {
        const MIB: u64 = 1 << 20;
        for (longest, wanted) in [
            (Some(4 * MIB), 4),
            (Some(64 * MIB), 64),
            (Some(65 * MIB), 64),
            (None, 64),
        ] {
            assert_eq!(kept(longest), wanted * MIB, "{longest:?}");
        }
    }
}
