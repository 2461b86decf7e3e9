//! The sidecars that call, and their apps.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use invoke_core::balance::Preferences;
use invoke_core::headers::Identity;
use invoke_core::ports::NoChannel;
use invoke_core::{
    AllowAll, Body, Head, Inbound, Invocation, Invoke, MethodPath, NoExternalEndpoints, Origin, Outbound,
    Resolver, Targets, Verb,
};
use lifecycle::Tasks;
use resiliency::{Policies, Settings, Unobserved};
use resources::{Resiliency, decode_resiliency};
use tokio::time::{Instant, sleep, sleep_until};

use crate::links::Links;
use crate::names::Finding;
use crate::world::World;

/// The app that is called.
const APP: &str = "shop";

/// How many retries a hundred calls may have, and how many there may be in any case in each [`WINDOW`].
pub(crate) const BUDGET: (u64, u64) = (20, 3);
pub(crate) const WINDOW: u64 = 10;

/// A sidecar as it is composed, with the simulated network in place of its connections.
type Sidecar = Outbound<NoChannel, AllowAll, Links, NoExternalEndpoints, Policies>;

/// What all of them hold their calls to.
fn policy() -> Vec<Arc<Resiliency>> {
    let (percent, minimum) = BUDGET;
    let text = format!(
        "
metadata: {{name: calls}}
spec:
  policies:
    timeouts: {{short: 2s}}
    retries:
      few:
        duration: 100ms
        maxRetries: 3
        jitter: 0.5
        budget: {{percent: {percent}, minimum: {minimum}, window: {WINDOW}s}}
  targets:
    apps:
      {APP}: {{timeout: short, retry: few}}
"
    );
    decode_resiliency(&[text], "caller").resources
}

/// How much they call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) callers: usize,
    /// Calls in a second of one of them.
    pub(crate) rate: f64,
    /// How many calls each makes at once at the beginning.
    pub(crate) burst: usize,
    pub(crate) finding: Finding,
    /// How many of the instances each calls at most.
    pub(crate) part: Option<usize>,
}

/// Sets the sidecars up and lets their apps call until `end`.
pub(crate) fn start(world: &Arc<World>, load: Load, end: Instant, calls: &Tasks, others: &Tasks) {
    let policy = policy();
    for caller in 0..load.callers {
        let identity = Arc::new(Identity::new("caller".into(), "default".into(), "", ""));
        let settings = Settings {
            kept: 64 * 1024,
            base_urls: HashMap::new(),
        };
        let sidecar: Arc<Sidecar> = Arc::new(Outbound::with(
            Arc::clone(&identity),
            Arc::new(Inbound::without_app(identity)),
            Links::new(Arc::clone(world), caller),
            NoExternalEndpoints,
            Some(resolver(world, load, caller, others)),
            Arc::new(Targets::default()),
            Policies::compile(&policy, settings, Arc::new(Unobserved)),
        ));
        let (world, calls) = (Arc::clone(world), calls.clone());
        others.spawn(async move {
            for _ in 0..load.burst {
                calls.spawn(call(Arc::clone(&world), Arc::clone(&sidecar), caller));
            }
            loop {
                // Calls are independent of each other, so the pauses between them have an exponential distribution.
                let pause = -(1.0 - fastrand::f64()).ln() / (load.rate * world.load());
                sleep(Duration::from_secs_f64(pause)).await;
                if Instant::now() >= end {
                    break;
                }
                calls.spawn(call(Arc::clone(&world), Arc::clone(&sidecar), caller));
            }
            // The watch goes with the sidecar: it stays for those who still wait.
            sleep_until(end).await;
        });
    }
}

/// How a sidecar finds instances, and which of them it calls.
fn resolver(world: &Arc<World>, load: Load, caller: usize, others: &Tasks) -> Arc<dyn Resolver> {
    let resolver = load.finding.resolver(world, others);
    match load.part {
        None => resolver,
        Some(most) => {
            let preferences = Preferences::default().within(most, &format!("10.1.{caller}.1:50002"));
            name_resolution::preferring(resolver, preferences)
        }
    }
}

async fn call(world: Arc<World>, sidecar: Arc<Sidecar>, caller: usize) {
    let at = world.now();
    world.tally().calls += 1;
    let Ok(method) = MethodPath::parse("orders") else {
        return;
    };
    let mut head = Head::new(method, Origin::Http);
    head.verb = Some(Verb::GET);
    let body = Body::empty();
    let answer = sidecar.invoke(APP, Invocation { head, body }).await;
    world.tally().end(caller, at, world.now(), answer.is_ok());
}
