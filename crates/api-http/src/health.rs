//! `/v1.0/healthz` and `/v1.0/healthz/outbound`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::{Response, StatusCode};
use invoke_core::Body;
use lifecycle::Readiness;

use crate::errors::{self, ApiError};
use crate::target::query_unescape;

/// Whether the sidecar is ready, altogether and for outbound calls. Cloning shares the state.
#[derive(Clone, Debug)]
pub struct Health {
    readiness: Readiness,
    outbound: Arc<AtomicBool>,
}

impl Health {
    /// Health on top of a list of those who must be ready.
    pub fn new(readiness: Readiness) -> Self {
        Self {
            readiness,
            outbound: Arc::default(),
        }
    }

    /// From now on the sidecar can call out; this is never taken back.
    pub fn outbound_is_ready(&self) {
        self.outbound.store(true, Ordering::Relaxed);
    }

    /// Whether the sidecar can call out.
    pub fn is_outbound_ready(&self) -> bool {
        self.outbound.load(Ordering::Relaxed)
    }

    pub(crate) fn healthz(&self, app_id: &str, query: Option<&str>) -> Result<Response<Body>, ApiError> {
        if !self.readiness.is_ready() {
            let unready = self.readiness.unready().join(" ");
            return Err(ApiError::internal(
                errors::HEALTH_NOT_READY,
                format!("dapr is not ready: [{unready}]"),
            ));
        }
        let asked = query
            .into_iter()
            .flat_map(|query| query.split('&'))
            .find_map(|pair| {
                let value = pair.strip_prefix("appid=")?;
                query_unescape(value.as_bytes())
            });
        if asked.is_some_and(|asked| !asked.is_empty() && asked != app_id.as_bytes()) {
            return Err(ApiError::internal(
                errors::HEALTH_APPID_NOT_MATCH,
                "dapr app-id does not match",
            ));
        }
        Ok(errors::empty(StatusCode::NO_CONTENT))
    }

    pub(crate) fn outbound(&self) -> Result<Response<Body>, ApiError> {
        if self.is_outbound_ready() {
            return Ok(errors::empty(StatusCode::NO_CONTENT));
        }
        Err(ApiError::internal(
            errors::OUTBOUND_HEALTH_NOT_READY,
            "dapr outbound is not ready",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health() {
        let readiness = Readiness::new();
        let latch = readiness.register("runtime");
        let health = Health::new(readiness);
        assert_eq!(
            health.healthz("me", None).unwrap_err().message,
            "dapr is not ready: [runtime]"
        );
        latch.ready();
        for (query, is_ok) in [
            (None, true),
            (Some("appid=me"), true),
            (Some("x=1&appid=m%65"), true),
            (Some("appid="), true),
            (Some("appid=you"), false),
        ] {
            assert_eq!(health.healthz("me", query).is_ok(), is_ok, "{query:?}");
        }
        assert!(health.outbound().is_err());
        health.outbound_is_ready();
        assert!(health.outbound().is_ok());
    }
}
