//! Access control: the policy, and the counters behind it.

use std::sync::Arc;

use access_control::{AppKind, Judged, Observer, Policy, Source};
use resources::Configuration;
use telemetry::metrics::{AccessCounters, Decided, Metrics};

use super::Fatal;
use crate::flags::Settings;

/// The policy of the configuration; what looks like a mistake in it is told in the log.
pub(super) fn policy(
    settings: &Settings,
    configuration: &Configuration,
    metrics: &Metrics,
) -> Result<Policy, Fatal> {
    let kind = if settings.app.protocol.is_http() {
        AppKind::Http
    } else {
        AppKind::Grpc
    };
    let counters = AccessCounters::default();
    let shown = counters.clone();
    metrics.register(Box::new(move || shown.families()));
    let spec = configuration.access_control.as_ref();
    let (policy, findings) = Policy::compile(spec, kind, Arc::new(Counting(counters)))?;
    for finding in findings {
        tracing::warn!(target: "dapr.acl", "{finding}");
    }
    Ok(policy)
}

struct Counting(AccessCounters);

impl Observer for Counting {
    fn judged(&self, judged: Judged<'_>) {
        let caller = judged
            .caller
            .map(|caller| [caller.app_id, caller.namespace, caller.trust_domain]);
        let decided = Decided {
            by_app_policy: judged.source == Source::App,
            is_allowed: judged.is_allowed,
        };
        self.0.count(caller, decided);
    }
}
