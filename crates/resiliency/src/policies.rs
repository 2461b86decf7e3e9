//! Which policy a target has.

use std::borrow::Cow;
use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use hashlink::LruCache;
use invoke_core::attempts::{Attempts, CallFacts, Named, Road};
use invoke_core::{AppRef, BuiltInRetry};
use resources::{Resiliency, TargetPolicies};
use tokio::time::Instant;

use crate::breaker::{Breaker, Settings as BreakerSettings};
use crate::budget::Budget;
use crate::compile::{BUILT_IN, DEFAULT_BREAKERS, Tables, Timeout};
use crate::hedge::{Hedge, Settings as HedgeSettings};
use crate::methods::Methods;
use crate::observer::{Name, Observer, Told};
use crate::retry::Retry;
use crate::run::PolicyRun;

/// For how many targets breakers are kept; beyond, those of the target called longest ago begin anew. Targets are named
/// by callers.
const TARGETS: usize = 1024;

/// The policies of a sidecar: an [`Attempts`]. Cloning shares them, and the state of their breakers.
#[derive(Clone)]
pub struct Policies(Arc<Inner>);

struct Inner {
    tables: Tables,
    settings: Settings,
    observer: Arc<dyn Observer>,
    /// The breakers of each target, which outlive what is known of it, and a change of the resources.
    breakers: Arc<Mutex<LruCache<Box<str>, Arc<Breakers>>>>,
}

/// How policies are set up, besides what resources say.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The most that is kept of one body for another attempt, in bytes.
    pub kept: u64,
    /// The base URL of each `HTTPEndpoint` by its name: its breaker is named after that.
    pub base_urls: HashMap<String, String>,
}

/// What the calls to a target are held to.
#[derive(Debug)]
pub struct TargetPolicy {
    /// The target as callers write it.
    pub(crate) written: Box<str>,
    pub(crate) kind: Kind,
    pub(crate) timeout: Timeout,
    pub(crate) retry: Option<Arc<Retry>>,
    pub(crate) breakers: Option<Arc<Breakers>>,
    /// The retry that is built in, below the others.
    pub(crate) inner: Option<Arc<Retry>>,
    /// How many retries there may still be, if that is bounded.
    pub(crate) budget: Option<Budget>,
    /// The same for the retry that is built in.
    pub(crate) inner_budget: Option<Budget>,
    pub(crate) hedge: Option<Hedge>,
    /// What some methods have in place of all this.
    pub(crate) methods: Methods,
    pub(crate) kept: u64,
    pub(crate) told: Arc<dyn Told>,
}

/// What kind of target it is.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Own,
    Peer(AppRef),
    /// A named endpoint, with its base URL.
    Endpoint(Box<str>),
    Url,
}

/// The breakers of a target, one for each method.
#[derive(Debug)]
pub(crate) struct Breakers {
    settings: Arc<BreakerSettings>,
    size: NonZeroUsize,
    /// The address of a named endpoint; empty for every other target.
    base_url: Box<str>,
    by_method: Mutex<LruCache<Box<[u8]>, Arc<Breaker>>>,
}

impl Breakers {
    fn new(settings: Arc<BreakerSettings>, size: NonZeroUsize, base_url: &str) -> Self {
        Self {
            settings,
            size,
            base_url: base_url.into(),
            by_method: Mutex::new(LruCache::new(size.get())),
        }
    }

    /// Whether nothing has changed about the target.
    fn is_for(&self, settings: &BreakerSettings, size: NonZeroUsize, base_url: &str) -> bool {
        *self.settings == *settings && self.size == size && *self.base_url == *base_url
    }

    /// The breaker of a method; `name` is asked for a new one.
    fn of(&self, method: &[u8], name: impl FnOnce() -> String) -> Arc<Breaker> {
        let mut known = self.by_method.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(breaker) = known.get(method) {
            return Arc::clone(breaker);
        }
        let breaker = Arc::new(Breaker::new(name(), Arc::clone(&self.settings), Instant::now()));
        known.insert(method.into(), Arc::clone(&breaker));
        breaker
    }
}

impl Policies {
    /// Compiles resources, in their order. What is wrong with them is in the log; nothing of it is fatal.
    pub fn compile(resources: &[Arc<Resiliency>], settings: Settings, observer: Arc<dyn Observer>) -> Self {
        let breakers = Arc::new(Mutex::new(LruCache::new(TARGETS)));
        Self::with(resources, settings, observer, breakers)
    }

    /// Compiles resources that take the place of these. The breakers of a target go on when nothing has changed about
    /// them: an open one stays open, and what was counted counts.
    #[must_use]
    pub fn replaced(
        &self,
        resources: &[Arc<Resiliency>],
        settings: Settings,
        observer: Arc<dyn Observer>,
    ) -> Self {
        Self::with(resources, settings, observer, Arc::clone(&self.0.breakers))
    }

    fn with(
        resources: &[Arc<Resiliency>],
        settings: Settings,
        observer: Arc<dyn Observer>,
        breakers: Arc<Mutex<LruCache<Box<str>, Arc<Breakers>>>>,
    ) -> Self {
        Self(Arc::new(Inner {
            tables: Tables::compile(resources, &*observer),
            settings,
            observer,
            breakers,
        }))
    }

    /// The policies that are there without any resource.
    pub fn built_in() -> Self {
        Self::compile(&[], Settings::default(), Arc::new(crate::Unobserved))
    }
}

impl Inner {
    /// The parts that a target as it is written has: those of its entry and no others, or the defaults.
    fn parts(&self, written: &str) -> Parts {
        let tables = &self.tables;
        if let Some(entry) = tables.apps.get(written) {
            return self.named(&entry.names, entry.breakers);
        }
        Parts {
            timeout: default(&tables.timeouts, "Timeout"),
            retry: default(&tables.retries, "Retry"),
            breaker: default(&tables.breakers, "CircuitBreaker"),
            hedge: None,
            breakers: DEFAULT_BREAKERS,
        }
    }

    /// The parts that an entry names.
    fn named(&self, names: &TargetPolicies, breakers: NonZeroUsize) -> Parts {
        let tables = &self.tables;
        Parts {
            timeout: tables.timeouts.get(&names.timeout).copied(),
            retry: tables.retries.get(&names.retry).cloned(),
            breaker: tables.breakers.get(&names.circuit_breaker).cloned(),
            hedge: tables.hedges.get(&names.hedge).cloned(),
            breakers,
        }
    }

    /// The breakers of a target, or of some methods of it, as they are since it was first called.
    fn breakers(
        &self,
        written: &str,
        methods: &str,
        settings: Arc<BreakerSettings>,
        size: NonZeroUsize,
    ) -> Arc<Breakers> {
        let base_url = self.settings.base_urls.get(written).map_or("", String::as_str);
        // No target has such a character in it.
        let key: Cow<'_, str> = match methods {
            "" => written.into(),
            methods => format!("{written}\n{methods}").into(),
        };
        let mut known = self.breakers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(breakers) = known.get(&*key)
            && breakers.is_for(&settings, size, base_url)
        {
            return Arc::clone(breakers);
        }
        let breakers = Arc::new(Breakers::new(settings, size, base_url));
        known.insert(key.into(), Arc::clone(&breakers));
        breakers
    }

    /// A policy of these parts for a target, or for some methods of it.
    fn policy(
        &self,
        parts: Parts,
        kind: Kind,
        written: &str,
        methods: &str,
        told: &Arc<dyn Told>,
    ) -> TargetPolicy {
        let budget = |retry: &Option<Arc<Retry>>| {
            let settings = retry.as_ref().and_then(|retry| retry.beyond.budget);
            settings.map(Budget::new)
        };
        let inner = match &kind {
            Kind::Peer(app) if !self.tables.apps.contains_key(app.id.as_str()) => {
                self.tables.retries.get(BUILT_IN).cloned()
            }
            _ => None,
        };
        TargetPolicy {
            budget: budget(&parts.retry),
            inner_budget: budget(&inner),
            inner,
            hedge: match kind {
                Kind::Peer(_) => parts.hedge.as_deref().map(Hedge::new),
                _ => None,
            },
            kind,
            timeout: parts.timeout.unwrap_or(Timeout {
                limit: None,
                is_counted: false,
            }),
            retry: parts.retry,
            breakers: parts
                .breaker
                .map(|settings| self.breakers(written, methods, settings, parts.breakers)),
            methods: Methods::default(),
            kept: self.settings.kept,
            told: Arc::clone(told),
            written: written.into(),
        }
    }

    /// What methods of a target have in place of what it has.
    fn methods(&self, kind: &Kind, written: &str, told: &Arc<dyn Told>) -> Methods {
        let Some(entry) = self.tables.apps.get(written) else {
            return Methods::default();
        };
        let policies = entry.methods.iter().filter_map(|(key, pattern)| {
            let parts = self.named(entry.names.methods.get(key)?, entry.breakers);
            let policy = self.policy(parts, kind.clone(), written, key, told);
            Some((pattern.clone(), Arc::new(policy)))
        });
        Methods::new(policies.collect())
    }
}

/// The default of a kind of policies: that for apps, or that for everything.
fn default<T: Clone>(table: &HashMap<String, T>, kind: &str) -> Option<T> {
    let of_apps = table.get(&format!("DefaultApp{kind}Policy"));
    of_apps
        .or_else(|| table.get(&format!("Default{kind}Policy")))
        .cloned()
}

struct Parts {
    timeout: Option<Timeout>,
    retry: Option<Arc<Retry>>,
    breaker: Option<Arc<BreakerSettings>>,
    hedge: Option<Arc<HedgeSettings>>,
    breakers: NonZeroUsize,
}

impl Attempts for Policies {
    type Policy = Arc<TargetPolicy>;
    type Run = PolicyRun;

    fn policy(&self, target: Named<'_>, written: &str) -> Option<Arc<TargetPolicy>> {
        let inner = &*self.0;
        let parts = inner.parts(written);
        let has_methods = inner
            .tables
            .apps
            .get(written)
            .is_some_and(|entry| !entry.methods.is_empty());
        let has_outer =
            parts.timeout.is_some() || parts.retry.is_some() || parts.breaker.is_some() || has_methods;
        let kind = match target {
            Named::Own(_) => Kind::Own,
            Named::Peer(app) => Kind::Peer(app.clone()),
            Named::External(name) => match inner.settings.base_urls.get(name) {
                Some(url) => Kind::Endpoint(url.as_str().into()),
                None => Kind::Url,
            },
        };
        // Calls to other sidecars have a retry in any case: at least one that begins anew when nobody saw the call.
        if !has_outer && !matches!(kind, Kind::Peer(_)) {
            return None;
        }
        let last = Name {
            name: &inner.tables.last.0,
            namespace: &inner.tables.last.1,
        };
        let told = inner.observer.target(last, written);
        Some(Arc::new(TargetPolicy {
            methods: inner.methods(&kind, written, &told),
            ..inner.policy(parts, kind, written, "", &told)
        }))
    }

    fn begin(&self, policy: &Arc<TargetPolicy>, call: CallFacts<'_>) -> Option<PolicyRun> {
        // Dapr has no policy for calls that are passed on to the own app.
        let is_own = matches!(policy.kind, Kind::Own);
        let policy = policy.methods.find(call.verb, call.method).unwrap_or(policy);
        (!is_own || !call.road.is_proxied()).then(|| PolicyRun::new(Arc::clone(policy), call))
    }
}

impl TargetPolicy {
    /// The breaker for a call.
    pub(crate) fn breaker(&self, call: &CallFacts<'_>) -> Option<Arc<Breaker>> {
        let breakers = self.breakers.as_ref()?;
        // All calls of the HTTP API to an endpoint share one.
        let method = match (&self.kind, call.road) {
            (Kind::Endpoint(_), Road::Http) => b"",
            _ => call.method,
        };
        Some(breakers.of(method, || self.key(call.road, call.method)))
    }

    /// The name of a breaker, as Dapr forms it.
    pub(crate) fn key(&self, road: Road, method: &[u8]) -> String {
        let written = &self.written;
        match (&self.kind, road) {
            (Kind::Endpoint(base_url), Road::Http) => format!("{written}:{base_url}"),
            (Kind::Url, Road::Http) => format!("{written}/{}", String::from_utf8_lossy(method)),
            _ => format!("{written}:{}", String::from_utf8_lossy(method)),
        }
    }

    /// What is built in, as far as this target has it.
    pub(crate) fn built_in(&self) -> Option<(&AppRef, BuiltInRetry)> {
        let Kind::Peer(app) = &self.kind else {
            return None;
        };
        let retries = self.inner.as_ref().map_or(0, |retry| {
            let retries = retry.retries.unwrap_or(u64::from(u32::MAX));
            u32::try_from(retries).unwrap_or(u32::MAX)
        });
        Some((
            app,
            BuiltInRetry {
                retries,
                ..BuiltInRetry::default()
            },
        ))
    }
}

impl std::fmt::Debug for Policies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Policies")
            .field("tables", &self.0.tables)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
