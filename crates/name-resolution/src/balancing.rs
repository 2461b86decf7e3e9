//! What a configuration wishes of the balancer: `spec.nameResolution.balancing`, whatever the resolver is.
//!
//! Dapr's sidecars do not know the section and pass over it.

use std::sync::Arc;

use invoke_core::balance::{Endpoint, EndpointWatch, Preferences};
use invoke_core::{AppRef, Resolver};
use serde_json::Value;

use crate::fields::{FieldError, Fields};
use crate::registry::InitError;

/// Reads the section; nothing is preferred without it.
pub fn preferences(section: &Value) -> Result<Preferences, InitError> {
    read(section).map_err(|error| InitError::Init(error.to_string()))
}

fn read(section: &Value) -> Result<Preferences, FieldError> {
    let fields = Fields::named("spec.nameResolution.balancing", section)?;
    if let Some(unknown) = fields.keys().find(|key| !matches!(*key, "zone" | "slowStart")) {
        return Err(fields.refused(unknown, "zone or slowStart"));
    }
    let zone = fields.text("zone")?;
    let preferences = Preferences::default().with_slow_start(fields.duration("slowStart")?);
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
        let none = Preferences::default();
        for (section, wanted) in [
            (json!(null), none.clone()),
            (json!({}), none.clone()),
            (json!({"zone": "", "slowStart": "0s"}), none.clone()),
            (
                json!({"zone": "eu-1", "slowStart": "30s"}),
                none.in_zone("eu-1").with_slow_start(Duration::from_secs(30)),
            ),
        ] {
            assert_eq!(preferences(&section), Ok(wanted), "{section}");
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
                "spec.nameResolution.balancing.Zone: zone or slowStart is wanted, not \"x\"",
            ),
        ] {
            assert_eq!(preferences(&section), Err(InitError::Init(wanted.to_owned())));
        }
    }
}
