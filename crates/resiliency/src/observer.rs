//! Who is told what policies do: metrics.

use std::fmt;
use std::sync::Arc;

use crate::breaker::State;

/// Told of resources and targets. The families of metrics `dapr_resiliency_*` are made of what it is told.
pub trait Observer: Send + Sync + 'static {
    /// A resource was read and applied without a mistake (`dapr_resiliency_loaded`).
    fn loaded(&self, resource: Name<'_>);

    /// Who follows the calls to a target, which is what the caller wrote. Asked once for each target, when it is looked
    /// up, so that handles of metrics are not made for each call. `last` is the last resource that was read, whichever
    /// the policy comes from: Dapr labels all of them with it.
    fn target(&self, last: Name<'_>, target: &str) -> Arc<dyn Told>;
}

/// The name of a resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Name<'a> {
    /// `metadata.name`.
    pub name: &'a str,
    /// `metadata.namespace`, empty when it has none.
    pub namespace: &'a str,
}

/// Follows the calls to one target. Told while calls wait: it must be quick.
pub trait Told: Send + Sync + fmt::Debug + 'static {
    /// A call begins that has this part in its policy (`dapr_resiliency_count`); once for each call and part.
    fn executed(&self, part: Part);

    /// The part did something (`dapr_resiliency_activations_total`): the first timeout of a call, its first retry, or a
    /// result that changed the state of a breaker.
    fn activated(&self, part: Part);

    /// The state of a breaker of the target (`dapr_resiliency_cb_state`), when a call begins and when it changes.
    fn breaker_state(&self, state: State);
}

/// A part of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Its time limit.
    Timeout,
    /// Its retry.
    Retry,
    /// Its circuit breaker, in the state that it has now.
    CircuitBreaker(State),
}

/// Nobody is told.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn loaded(&self, _: Name<'_>) {}

    fn target(&self, _: Name<'_>, _: &str) -> Arc<dyn Told> {
        Arc::new(Self)
    }
}

impl Told for Unobserved {
    fn executed(&self, _: Part) {}

    fn activated(&self, _: Part) {}

    fn breaker_state(&self, _: State) {}
}
