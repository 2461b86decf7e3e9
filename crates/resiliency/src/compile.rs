//! From resources to policies that can be asked.
//!
//! A resource is applied whole or not at all: of one with a mistake in its policies or in `targets.apps` nothing is
//! used. Dapr's `daprd` uses what it read before it came to the mistake, in an order that differs from start to start.
//! A mistake in `targets.actors`, which it reads last and which calls between apps do not need, spoils nothing.

pub(crate) mod beyond;

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use go_text::{DurationError, positive};
use resources::{CircuitBreakerPolicy, Resiliency, RetryPolicy, TargetPolicies};
use thiserror::Error;

use crate::SCOPE;
use crate::breaker::Settings as BreakerSettings;
use crate::codes::{Codes, CodesError, GRPC, HTTP};
use crate::duration::parse;
use crate::hedge::Settings as HedgeSettings;
use crate::methods::Pattern;
use crate::observer::{Name, Observer};
use crate::retry::{Beyond, Pauses, Retry};
use crate::trip::Trip;

/// The retry of calls to other sidecars, which applies when no target is named.
pub(crate) const BUILT_IN: &str = "DaprBuiltInServiceRetries";
/// What Dapr retries by itself; policies of these names have at least [`LEAST_BUILT_IN`] retries.
pub(crate) const BUILT_INS: [&str; 4] = [
    BUILT_IN,
    "DaprBuiltInActorRetries",
    "DaprBuiltInActorReminderRetries",
    "DaprBuiltInInitializationRetries",
];
/// The one that nobody may change.
pub(crate) const PROTECTED: &str = "DaprBuiltInActorNotFoundRetries";
const LEAST_BUILT_IN: u64 = 3;

const DEFAULT_PAUSE: Duration = Duration::from_secs(5);
const DEFAULT_LONGEST_PAUSE: Duration = Duration::from_secs(60);
const DEFAULT_OPEN: Duration = Duration::from_secs(60);
/// How many breakers there are for one target, one for each method.
pub(crate) const DEFAULT_BREAKERS: NonZeroUsize = NonZeroUsize::new(100).unwrap();
/// The most that `circuitBreakerCacheSize` may be: methods are named by callers.
const MOST_BREAKERS: i64 = 65_536;

/// A time limit. One that is not positive limits nothing, but counts as a policy unless it is nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timeout {
    pub(crate) limit: Option<Duration>,
    pub(crate) is_counted: bool,
}

/// All that resources say, by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tables {
    pub(crate) timeouts: HashMap<String, Timeout>,
    pub(crate) retries: HashMap<String, Arc<Retry>>,
    pub(crate) breakers: HashMap<String, Arc<BreakerSettings>>,
    pub(crate) hedges: HashMap<String, Arc<HedgeSettings>>,
    pub(crate) apps: HashMap<String, Entry>,
    /// Name and namespace of the last resource that was read.
    pub(crate) last: (String, String),
}

/// An entry of `targets.apps`.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) names: TargetPolicies,
    pub(crate) breakers: NonZeroUsize,
    /// Which calls the entries of `names.methods` are for, by their keys.
    pub(crate) methods: Vec<(String, Pattern)>,
}

/// What is wrong with a resource, in Dapr's words.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Mistake {
    /// A timeout is no duration.
    #[error("invalid duration {name:?}, {value}: {reason}")]
    Timeout {
        /// The name of the policy.
        name: String,
        /// What is no duration.
        value: String,
        /// Why.
        reason: DurationError,
    },
    /// A field of a retry policy or, in Dapr's words as well, of a circuit breaker.
    #[error(
        "invalid retry configuration {name:?}: 1 error(s) decoding:\n\n* error decoding '{field}': {reason}"
    )]
    Field {
        /// The name of the policy.
        name: String,
        /// The field.
        field: &'static str,
        /// Why.
        reason: String,
    },
    /// A list of codes.
    #[error(transparent)]
    Codes(#[from] CodesError),
    /// A size that is none.
    #[error("must provide a positive size")]
    CacheSize,
    /// A breaker of actors without a scope.
    #[error("actor circuit breakers must include scope")]
    NoScope,
    /// A breaker of actors with a scope that there is not.
    #[error("unknown circuit breaker scope {0:?}")]
    Scope(String),
    /// A field that Dapr does not have.
    #[error("{place}: {reason}")]
    Beyond {
        /// The field.
        place: String,
        /// Why it cannot be.
        reason: String,
    },
}

impl Tables {
    /// The policies that are always there, and those of the resources, a later one over an earlier one. Says in the log
    /// what is wrong, as Dapr does.
    pub(crate) fn compile(resources: &[Arc<Resiliency>], observer: &dyn Observer) -> Self {
        let mut tables = Self::default();
        tables.retries.insert(BUILT_IN.to_owned(), Arc::new(built_in()));
        for resource in resources {
            let head = &resource.head;
            let name = &head.name;
            tracing::info!(target: SCOPE, "Loading Resiliency configuration: {name}");
            tables.last = (name.clone(), head.namespace.clone());
            match Self::of(resource) {
                Ok(new) => tables.take(new),
                Err(mistake) => {
                    tracing::error!(target: SCOPE, "Could not read resiliency policy {name}: {mistake}");
                    tracing::error!(target: SCOPE, "Nothing of the resiliency policy {name} is used");
                    continue;
                }
            }
            if let Err(mistake) = actors(resource) {
                tracing::error!(target: SCOPE, "Could not read resiliency policy {name}: {mistake}");
                continue;
            }
            observer.loaded(Name {
                name,
                namespace: &head.namespace,
            });
        }
        tables.tell_unknown_names();
        tables
    }

    fn of(resource: &Resiliency) -> Result<Self, Mistake> {
        let mut tables = Self::default();
        for (name, value) in &resource.timeouts {
            tables.timeouts.insert(name.clone(), timeout(name, value)?);
        }
        for (name, policy) in &resource.retries {
            let compiled = retry(name, policy)?;
            if name == PROTECTED {
                tracing::warn!(
                    target: SCOPE,
                    "Attempted to override protected policy {name} which is not allowed. Ignoring provided policy and using default."
                );
                continue;
            }
            tables.retries.insert(name.clone(), Arc::new(compiled));
        }
        for (name, policy) in &resource.circuit_breakers {
            tables
                .breakers
                .insert(name.clone(), Arc::new(breaker(name, policy)?));
        }
        for (name, policy) in &resource.hedges {
            tables
                .hedges
                .insert(name.clone(), Arc::new(beyond::hedge(name, policy)?));
        }
        for (name, names) in &resource.apps {
            let entry = Entry {
                breakers: cache_size(names.circuit_breaker_cache_size)?,
                methods: beyond::methods(name, names)?,
                names: names.clone(),
            };
            tables.apps.insert(name.clone(), entry);
        }
        Ok(tables)
    }

    fn take(&mut self, new: Self) {
        self.timeouts.extend(new.timeouts);
        self.retries.extend(new.retries);
        self.breakers.extend(new.breakers);
        self.hedges.extend(new.hedges);
        self.apps.extend(new.apps);
    }

    /// A target may name what is not there: that part of its policy is absent. Dapr says nothing.
    fn tell_unknown_names(&self) {
        for (target, Entry { names, .. }) in &self.apps {
            self.tell_unknown(target, names);
            for (key, names) in &names.methods {
                self.tell_unknown(&format!("{target}.methods.{key:?}"), names);
            }
        }
    }

    fn tell_unknown(&self, target: &str, names: &TargetPolicies) {
        let timeout = self.timeouts.contains_key(&names.timeout);
        let retry = self.retries.contains_key(&names.retry);
        let breaker = self.breakers.contains_key(&names.circuit_breaker);
        let hedge = self.hedges.contains_key(&names.hedge);
        for (kind, name, is_known) in [
            ("timeout", &names.timeout, timeout),
            ("retry", &names.retry, retry),
            ("circuitBreaker", &names.circuit_breaker, breaker),
            ("hedge", &names.hedge, hedge),
        ] {
            if !name.is_empty() && !is_known {
                tracing::warn!(
                    target: SCOPE,
                    "Resiliency: targets.apps.{target}.{kind}: there is no policy {name:?}, calls go without it"
                );
            }
        }
    }
}

fn built_in() -> Retry {
    Retry {
        pauses: Pauses::Constant(Duration::from_secs(1)),
        retries: Some(LEAST_BUILT_IN),
        http: Codes::default(),
        grpc: Codes::default(),
        beyond: Beyond::default(),
    }
}

pub(crate) fn timeout(name: &str, value: &str) -> Result<Timeout, Mistake> {
    let nanos = parse(value).map_err(|reason| Mistake::Timeout {
        name: name.to_owned(),
        value: value.to_owned(),
        reason,
    })?;
    Ok(Timeout {
        limit: positive(nanos),
        is_counted: nanos != 0,
    })
}

/// A duration of a field, in nanoseconds; `None` for an empty one, which is left as it is.
fn field(name: &str, field: &'static str, value: &str) -> Result<Option<i64>, Mistake> {
    if value.is_empty() {
        return Ok(None);
    }
    let nanos = parse(value).map_err(|_| invalid(name, field, format!("invalid duration {value:?}")))?;
    Ok(Some(nanos))
}

fn invalid(name: &str, field: &'static str, reason: String) -> Mistake {
    Mistake::Field {
        name: name.to_owned(),
        field,
        reason,
    }
}

fn retry(name: &str, policy: &RetryPolicy) -> Result<Retry, Mistake> {
    let mut retry = retry_of(policy, name)?;
    if BUILT_INS.contains(&name) && retry.retries.is_none_or(|most| most < LEAST_BUILT_IN) {
        tracing::warn!(
            target: SCOPE,
            "Attempted override of {name} did not meet minimum retry count, resetting to 3."
        );
        retry.retries = Some(LEAST_BUILT_IN);
    }
    Ok(retry)
}

/// The same as it is written.
pub(crate) fn retry_of(policy: &RetryPolicy, name: &str) -> Result<Retry, Mistake> {
    let at_least_nothing = |nanos: i64| positive(nanos).unwrap_or_default();
    let pause = field(name, "duration", &policy.duration)?.map_or(DEFAULT_PAUSE, at_least_nothing);
    let longest = field(name, "maxInterval", &policy.max_interval)?;
    let longest = longest.map_or(DEFAULT_LONGEST_PAUSE, at_least_nothing);
    let pauses = match policy.policy.to_lowercase().as_str() {
        "" | "constant" => Pauses::Constant(pause),
        "exponential" => Pauses::Exponential(longest),
        _ => {
            let value = &policy.policy;
            let reason = format!("invalid PolicyType {value:?}: unexpected back off policy type: {value}");
            return Err(invalid(name, "policy", reason));
        }
    };
    // Anything below zero is no limit.
    let retries = policy.max_retries.and_then(|most| u64::try_from(most).ok());
    Ok(Retry {
        pauses,
        retries,
        http: Codes::parse(&policy.http_codes, &HTTP)?,
        grpc: Codes::parse(&policy.grpc_codes, &GRPC)?,
        beyond: beyond::retry(name, policy, name == BUILT_IN)?,
    })
}

pub(crate) fn breaker(name: &str, policy: &CircuitBreakerPolicy) -> Result<BreakerSettings, Mistake> {
    let most = policy.max_requests;
    let max_requests = u32::try_from(most).map_err(|_| {
        invalid(
            name,
            "maxRequests",
            format!("cannot parse, {most} overflows uint"),
        )
    })?;
    let interval = field(name, "interval", &policy.interval)?.and_then(positive);
    let timeout = field(name, "timeout", &policy.timeout)?.and_then(positive);
    let trip = match policy.trip.as_str() {
        "" => None,
        text => Some(Trip::compile(text).map_err(|error| invalid(name, "trip", error.to_string()))?),
    };
    Ok(BreakerSettings {
        max_requests: max_requests.max(1),
        interval,
        timeout: timeout.unwrap_or(DEFAULT_OPEN),
        trip,
    })
}

pub(crate) fn cache_size(size: i64) -> Result<NonZeroUsize, Mistake> {
    if size == 0 {
        return Ok(DEFAULT_BREAKERS);
    }
    let size = usize::try_from(size.min(MOST_BREAKERS))
        .ok()
        .and_then(NonZeroUsize::new);
    size.ok_or(Mistake::CacheSize)
}

/// Targets of actors are checked, and nothing else: this sidecar has none.
fn actors(resource: &Resiliency) -> Result<(), Mistake> {
    resource.actors.values().try_for_each(actor)
}

pub(crate) fn actor(names: &TargetPolicies) -> Result<(), Mistake> {
    if !names.circuit_breaker.is_empty() {
        match names.circuit_breaker_scope.as_str() {
            "" => return Err(Mistake::NoScope),
            "type" | "id" | "both" => {}
            other => return Err(Mistake::Scope(other.to_owned())),
        }
    }
    if names.circuit_breaker_cache_size < 0 {
        return Err(Mistake::CacheSize);
    }
    Ok(())
}

/// What is wrong with a resource.
#[cfg(test)]
pub(crate) fn mistake_of(resource: &Resiliency) -> Option<Mistake> {
    Tables::of(resource).err()
}
