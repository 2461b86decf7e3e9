//! Who may call the app, and which APIs the app has.

use std::sync::Arc;

use access_control::{AppKind, Judged, Observer, Policy, Source};
use api_core::{ApiLists, ApiRule};
use resources::Configuration;
use telemetry::metrics::{AccessCounters, Decided};

use crate::fatal::Fatal;
use crate::flags::{Flags, Settings};
use crate::scope::SCOPE;

/// The policy of the configuration; what looks like a mistake in it is told in the log.
pub(super) fn policy(
    flags: &Flags,
    settings: &Settings,
    configuration: &Configuration,
    counters: &AccessCounters,
) -> Result<Policy, Fatal> {
    let kind = if settings.app.protocol.is_http() {
        AppKind::Http
    } else {
        AppKind::Grpc
    };
    let spec = configuration.access_control.as_ref();
    let (policy, findings) = Policy::compile(spec, kind, Arc::new(Counting(counters.clone())))?;
    for finding in findings {
        tracing::warn!(target: "dapr.acl", "{finding}");
    }
    let policies = spec.and_then(|spec| spec.policies.as_ref());
    if policies.is_some_and(|policies| !policies.is_empty()) && !flags.is_on("enable-mtls") {
        tracing::warn!(
            target: "dapr.acl",
            "mTLS is disabled: callers have no identity, so the access control policies match none of them"
        );
    }
    Ok(policy)
}

/// The lists of APIs.
pub fn lists_of(configuration: &Configuration) -> ApiLists {
    let rules = |rules: &[resources::ApiRule]| -> Vec<ApiRule> {
        let rule = |rule: &resources::ApiRule| ApiRule {
            name: rule.name.clone(),
            version: rule.version.clone(),
            protocol: rule.protocol.clone(),
        };
        rules.iter().map(rule).collect()
    };
    ApiLists {
        allowed: rules(&configuration.api.allowed),
        denied: rules(&configuration.api.denied),
    }
}

/// The same; rules without effect are told in the log.
pub(super) fn api_lists(configuration: &Configuration) -> ApiLists {
    let lists = lists_of(configuration);
    for (list, rule) in lists.without_protocol() {
        tracing::warn!(target: SCOPE, "spec.api.{list}: the rule {rule} has no effect, protocol is neither http nor grpc");
    }
    let unknown = api_http::unknown_apis(&lists).chain(api_grpc::unknown_apis(&lists));
    for (list, rule) in unknown {
        tracing::warn!(target: SCOPE, "spec.api.{list}: the rule {rule} names no API");
    }
    lists
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
