//! All that is wrong with a resource, for whoever wrote it. A sidecar stops at the first mistake.

use std::collections::BTreeSet;

use resources::{CircuitBreakerPolicy, Resiliency, RetryPolicy, TargetPolicies};

use crate::compile::{self, BUILT_INS, Mistake, PROTECTED, beyond};

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyFinding {
    /// The way to it: keys.
    pub path: Vec<String>,
    /// What is wrong.
    pub text: String,
}

/// The names of policies, by kind.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// Of `timeouts`.
    pub timeouts: BTreeSet<String>,
    /// Of `retries`.
    pub retries: BTreeSet<String>,
    /// Of `circuitBreakers`.
    pub circuit_breakers: BTreeSet<String>,
    /// Of `hedges`.
    pub hedges: BTreeSet<String>,
}

impl Names {
    /// Takes the names of what a resource has.
    pub fn add(&mut self, resource: &Resiliency) {
        self.timeouts.extend(resource.timeouts.keys().cloned());
        self.retries.extend(resource.retries.keys().cloned());
        let breakers = resource.circuit_breakers.keys();
        self.circuit_breakers.extend(breakers.cloned());
        self.hedges.extend(resource.hedges.keys().cloned());
    }

    /// Takes the names that a target has, and those of its methods.
    fn use_of(&mut self, target: &TargetPolicies) {
        let (timeouts, retries) = (&mut self.timeouts, &mut self.retries);
        for (names, name) in [
            (timeouts, &target.timeout),
            (retries, &target.retry),
            (&mut self.circuit_breakers, &target.circuit_breaker),
            (&mut self.hedges, &target.hedge),
        ] {
            if !name.is_empty() {
                names.insert(name.clone());
            }
        }
        target.methods.values().for_each(|method| self.use_of(method));
    }

    /// Takes the names that the targets of a resource have.
    pub fn add_uses(&mut self, resource: &Resiliency) {
        let of_components = resource.components.values().flatten();
        let targets = resource.apps.values().chain(resource.actors.values());
        for target in targets.chain(of_components) {
            self.use_of(target);
        }
    }
}

/// A way of steps.
fn way(steps: &[&str]) -> Vec<String> {
    steps.iter().map(|step| (*step).to_owned()).collect()
}

/// What cannot be used of a resource: nothing of it is used then.
pub fn mistakes(resource: &Resiliency) -> Vec<PolicyFinding> {
    let mut found = Vec::new();
    let mut tell = |path: Vec<String>, mistake: Mistake| {
        found.push(PolicyFinding {
            path,
            text: mistake.to_string().replace("\n\n* ", " ").replace('\n', " "),
        });
    };
    for (name, value) in &resource.timeouts {
        if let Err(mistake) = compile::timeout(name, value) {
            tell(way(&["spec", "policies", "timeouts", name]), mistake);
        }
    }
    for (name, policy) in &resource.retries {
        of_retry(name, policy, &mut |field, mistake| {
            let mut path = way(&["spec", "policies", "retries", name]);
            path.extend(field.split('.').map(ToOwned::to_owned));
            tell(path, mistake);
        });
    }
    for (name, policy) in &resource.circuit_breakers {
        of_breaker(name, policy, &mut |field, mistake| {
            tell(
                way(&["spec", "policies", "circuitBreakers", name, field]),
                mistake,
            );
        });
    }
    for (name, policy) in &resource.hedges {
        if let Err(mistake) = beyond::hedge(name, policy) {
            tell(way(&["spec", "policies", "hedges", name]), mistake);
        }
    }
    for (name, target) in &resource.apps {
        if let Err(mistake) = beyond::methods(name, target) {
            tell(way(&["spec", "targets", "apps", name, "methods"]), mistake);
        }
        if let Err(mistake) = compile::cache_size(target.circuit_breaker_cache_size) {
            let path = way(&["spec", "targets", "apps", name, "circuitBreakerCacheSize"]);
            tell(path, mistake);
        }
    }
    for (name, target) in &resource.actors {
        if let Err(mistake) = compile::actor(target) {
            let field = match mistake {
                Mistake::CacheSize => "circuitBreakerCacheSize",
                _ => "circuitBreakerScope",
            };
            tell(way(&["spec", "targets", "actors", name, field]), mistake);
        }
    }
    found
}

/// Each field by itself, since the first that is wrong hides the others.
fn of_retry(name: &str, policy: &RetryPolicy, tell: &mut dyn FnMut(&str, Mistake)) {
    let none = RetryPolicy::default;
    let RetryPolicy {
        policy,
        duration,
        max_interval,
        http_codes,
        grpc_codes,
        jitter,
        total_timeout,
        max_retry_after,
        budget,
        max_retries: _,
    } = policy.clone();
    for (field, alone) in [
        ("policy", RetryPolicy { policy, ..none() }),
        ("duration", RetryPolicy { duration, ..none() }),
        (
            "maxInterval",
            RetryPolicy {
                max_interval,
                ..none()
            },
        ),
        ("matching.httpStatusCodes", RetryPolicy { http_codes, ..none() }),
        ("matching.gRPCStatusCodes", RetryPolicy { grpc_codes, ..none() }),
        ("jitter", RetryPolicy { jitter, ..none() }),
        (
            "totalTimeout",
            RetryPolicy {
                total_timeout,
                ..none()
            },
        ),
        (
            "maxRetryAfter",
            RetryPolicy {
                max_retry_after,
                ..none()
            },
        ),
        ("budget", RetryPolicy { budget, ..none() }),
    ] {
        if let Err(mistake) = compile::retry_of(&alone, name) {
            tell(field, mistake);
        }
    }
}

/// The same for a circuit breaker.
fn of_breaker(name: &str, policy: &CircuitBreakerPolicy, tell: &mut dyn FnMut(&str, Mistake)) {
    let none = CircuitBreakerPolicy::default;
    let CircuitBreakerPolicy {
        max_requests,
        interval,
        timeout,
        trip,
    } = policy.clone();
    for (field, alone) in [
        (
            "maxRequests",
            CircuitBreakerPolicy {
                max_requests,
                ..none()
            },
        ),
        ("interval", CircuitBreakerPolicy { interval, ..none() }),
        ("timeout", CircuitBreakerPolicy { timeout, ..none() }),
        ("trip", CircuitBreakerPolicy { trip, ..none() }),
    ] {
        if let Err(mistake) = compile::breaker(name, &alone) {
            tell(field, mistake);
        }
    }
}

/// Whether a policy of this name is used although no target names it: it is a default, or one of those that Dapr has.
pub fn is_default(name: &str) -> bool {
    let is_of_kind = ["TimeoutPolicy", "RetryPolicy", "CircuitBreakerPolicy"]
        .iter()
        .any(|kind| name.ends_with(kind));
    (name.starts_with("Default") && is_of_kind) || BUILT_INS.contains(&name)
}

/// Whether a policy of this name is the one that nobody may change.
pub fn is_protected(name: &str) -> bool {
    name == PROTECTED
}

/// The retries that are there without a resource.
pub fn built_in_retries() -> impl Iterator<Item = &'static str> {
    BUILT_INS.into_iter().chain([PROTECTED])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_is_found_with_its_place() {
        let text = "metadata: {name: r}\nspec:\n  policies:\n    timeouts: {a: soon, b: 1s, c: 5}\n    retries:\n      r: \
                    {policy: sometimes, duration: x, maxInterval: y, matching: {httpStatusCodes: 99, gRPCStatusCodes: \
                    a}}\n      s: {policy: exponential}\n    circuitBreakers:\n      c: {maxRequests: -1, interval: x, \
                    timeout: y, trip: 'nothing >'}\n  targets:\n    apps: {x: {circuitBreakerCacheSize: -5}}\n    actors: \
                    {y: {circuitBreaker: c}, z: {circuitBreaker: c, circuitBreakerScope: all}}\n";
        let loaded = resources::decode_resiliency(&[text], "me");
        assert!(loaded.troubles.is_empty(), "{:?}", loaded.troubles);
        let found = mistakes(&loaded.resources[0]);
        let places: Vec<String> = found.iter().map(|found| found.path[1..].join(".")).collect();
        assert_eq!(
            places,
            [
                "policies.timeouts.a",
                "policies.retries.r.policy",
                "policies.retries.r.duration",
                "policies.retries.r.maxInterval",
                "policies.retries.r.matching.httpStatusCodes",
                "policies.retries.r.matching.gRPCStatusCodes",
                "policies.circuitBreakers.c.maxRequests",
                "policies.circuitBreakers.c.interval",
                "policies.circuitBreakers.c.timeout",
                "policies.circuitBreakers.c.trip",
                "targets.apps.x.circuitBreakerCacheSize",
                "targets.actors.y.circuitBreakerScope",
                "targets.actors.z.circuitBreakerScope",
            ],
            "{found:#?}"
        );
        assert!(found.iter().all(|found| !found.text.contains('\n')), "{found:#?}");
    }

    /// What the check lets pass is used, and what it refuses is not.
    #[test]
    fn the_check_and_the_sidecar_agree() {
        for (spec, place) in [
            ("{}", None),
            (
                "{policies: {retries: {r: {jitter: 2}}}}",
                Some("policies.retries.r.jitter"),
            ),
            (
                "{policies: {retries: {r: {totalTimeout: 0s}}}}",
                Some("policies.retries.r.totalTimeout"),
            ),
            (
                "{policies: {retries: {r: {maxRetryAfter: soon}}}}",
                Some("policies.retries.r.maxRetryAfter"),
            ),
            (
                "{policies: {retries: {r: {budget: {percent: 101}}}}}",
                Some("policies.retries.r.budget"),
            ),
            (
                "{policies: {retries: {DaprBuiltInServiceRetries: {totalTimeout: 1s}}}}",
                Some("policies.retries.DaprBuiltInServiceRetries.totalTimeout"),
            ),
            ("{policies: {hedges: {h: {}}}}", Some("policies.hedges.h")),
            (
                "{policies: {hedges: {h: {delay: 1s, verbs: POST}}}}",
                Some("policies.hedges.h"),
            ),
            ("{policies: {hedges: {h: {delay: 1s, verbs: PUT}}}}", None),
            (
                "{targets: {apps: {x: {methods: {'GOT /a': {}}}}}}",
                Some("targets.apps.x.methods"),
            ),
            ("{targets: {apps: {x: {methods: {'GET /a': {hedge: h}}}}}}", None),
        ] {
            let text = format!("metadata: {{name: r}}\nspec: {spec}\n");
            let loaded = resources::decode_resiliency(&[text], "me");
            let resource = &loaded.resources[0];
            let found = mistakes(resource);
            let places: Vec<String> = found.iter().map(|found| found.path[1..].join(".")).collect();
            assert_eq!(places, place.into_iter().collect::<Vec<_>>(), "{spec}");
            assert_eq!(compile::mistake_of(resource).is_some(), place.is_some(), "{spec}");
        }
    }

    #[test]
    fn policies_of_methods_are_used() {
        let text = "metadata: {name: r}\nspec: {targets: {apps: {x: {hedge: a, methods: {GET: {hedge: b, retry: c}}}}}}\n";
        let mut used = Names::default();
        used.add_uses(&resources::decode_resiliency(&[text], "me").resources[0]);
        assert_eq!(used.hedges, ["a", "b"].map(str::to_owned).into());
        assert_eq!(used.retries, ["c".to_owned()].into());
    }

    #[test]
    fn defaults() {
        for (name, wanted) in [
            ("DefaultRetryPolicy", true),
            ("DefaultAppTimeoutPolicy", true),
            ("DefaultComponentInboundCircuitBreakerPolicy", true),
            ("DaprBuiltInServiceRetries", true),
            ("DefaultRetry", false),
            ("retry", false),
        ] {
            assert_eq!(is_default(name), wanted, "{name}");
        }
    }
}
