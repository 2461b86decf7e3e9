//! What a configuration wishes of the balancer: `spec.nameResolution.balancing`, whatever the resolver is.
//!
//! Dapr's sidecars do not know the section and pass over it.

use std::sync::Arc;

use invoke_core::balance::{Endpoint, EndpointWatch, Preferences};
use invoke_core::{AppRef, Resolver};
use serde_json::Value;

use crate::fields::{FieldError, Fields};
use crate::registry::InitError;

/// Of an app with more instances each sidecar calls a part of this size, if nothing is said: enough for load to be spread,
/// and few enough for each of them to be a connection.
const MOST_ENDPOINTS: u64 = 1024;
/// What may be said. Fewer would be busy by chance; there are no connections for more.
const RANGE: std::ops::RangeInclusive<u64> = 8..=4096;

/// Reads the section; nothing is preferred without it. `caller` is what tells this sidecar from all others, and the same
/// after a restart: its address.
pub fn preferences(section: &Value, caller: &str) -> Result<Preferences, InitError> {
    read(section, caller).map_err(|error| InitError::Init(error.to_string()))
}

fn read(section: &Value, caller: &str) -> Result<Preferences, FieldError> {
    let fields = Fields::named("spec.nameResolution.balancing", section)?;
    if let Some(unknown) = fields
        .keys()
        .find(|key| !matches!(*key, "zone" | "slowStart" | "mostEndpoints"))
    {
        return Err(fields.refused(unknown, "zone, slowStart or mostEndpoints"));
    }
    let zone = fields.text("zone")?;
    let most = match fields.natural("mostEndpoints", u64::MAX)? {
        0 if fields.value("mostEndpoints").is_none() => MOST_ENDPOINTS,
        most if RANGE.contains(&most) => most,
        _ => return Err(fields.refused("mostEndpoints", "a whole number from 8 to 4096")),
    };
    let preferences = Preferences::default()
        .with_slow_start(fields.duration("slowStart")?)
        .within(usize::try_from(most).unwrap_or(usize::MAX), caller);
    Ok(if zone.is_empty() {
        preferences
    } else {
        preferences.in_zone(zone)
    })
}

/// The same resolver; picks from what it finds prefer something.
pub fn preferring(resolver: Arc<dyn Resolver>, preferences: Preferences) -> Arc<dyn Resolver> {
    if preferences == Preferences::default() {
        resolver
    } else {
        Arc::new(Preferring {
            resolver,
            preferences,
        })
    }
}

struct Preferring {
    resolver: Arc<dyn Resolver>,
    preferences: Preferences,
}

impl Resolver for Preferring {
    fn watch(&self, app: &AppRef) -> EndpointWatch {
        self.resolver.watch(app).preferring(self.preferences.clone())
    }

    fn unreachable(&self, app: &AppRef, endpoint: &Endpoint) {
        self.resolver.unreachable(app, endpoint);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    #[test]
    fn sections() {
        const ME: &str = "10.0.0.1:50002";
        let of = |most| Preferences::default().within(most, ME);
        let none = of(1024);
        for (section, wanted) in [
            (json!(null), none.clone()),
            (json!({}), none.clone()),
            (json!({"zone": "", "slowStart": "0s"}), none.clone()),
            (json!({"mostEndpoints": 8}), of(8)),
            (
                json!({"zone": "eu-1", "slowStart": "30s"}),
                none.in_zone("eu-1").with_slow_start(Duration::from_secs(30)),
            ),
        ] {
            assert_eq!(preferences(&section, ME), Ok(wanted), "{section}");
        }
        for (section, wanted) in [
            (
                json!([]),
                "spec.nameResolution.balancing: an object is wanted, not []",
            ),
            (
                json!({"zone": 1}),
                "spec.nameResolution.balancing.zone: a text is wanted, not 1",
            ),
            (
                json!({"slowStart": "soon"}),
                "spec.nameResolution.balancing.slowStart: a duration such as 30s, or a number of nanoseconds, is wanted, \
                 not \"soon\"",
            ),
            (
                json!({"Zone": "x"}),
                "spec.nameResolution.balancing.Zone: zone, slowStart or mostEndpoints is wanted, not \"x\"",
            ),
            (
                json!({"mostEndpoints": 0}),
                "spec.nameResolution.balancing.mostEndpoints: a whole number from 8 to 4096 is wanted, not 0",
            ),
            (
                json!({"mostEndpoints": 5000}),
                "spec.nameResolution.balancing.mostEndpoints: a whole number from 8 to 4096 is wanted, not 5000",
            ),
        ] {
            assert_eq!(preferences(&section, ME), Err(InitError::Init(wanted.to_owned())));
        }
    }
}
