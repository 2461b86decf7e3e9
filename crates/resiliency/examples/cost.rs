//! What a policy costs a call, without sockets: `cargo run --release -p resiliency --example cost`.
//!
//! Each line is the least time of many rounds, since a shared machine can only make a round longer. The function that is to be
//! counted in instructions has a name, so that a tool that counts finds it: `cost NAME ROUNDS` runs one of them alone.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program that shows something to a person"
)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use invoke_core::attempts::{Attempts, CallFacts, Named, Outcome, Road, Run};
use invoke_core::{AppRef, Body, Verb};
use resiliency::{Policies, Settings, Unobserved};
use resources::decode_resiliency;

const CALLS: u32 = 1000;

/// What is compared: a name, and the resource that the call is under.
const SPECS: [(&str, &str); 4] = [
    ("built-in", "spec: {}"),
    (
        "timeout",
        "spec: {policies: {timeouts: {t: 5s}}, targets: {apps: {a: {timeout: t}}}}",
    ),
    (
        "all-parts",
        "spec:
  policies: {timeouts: {t: 5s}, retries: {r: {}}, circuitBreakers: {c: {}}}
  targets: {apps: {a: {timeout: t, retry: r, circuitBreaker: c}}}",
    ),
    (
        "beyond",
        "spec:
  policies:
    timeouts: {t: 5s}
    retries: {r: {jitter: 0.5, totalTimeout: 9s, maxRetryAfter: 1s, budget: {percent: 20}}}
    circuitBreakers: {c: {}}
    hedges: {h: {delay: 50ms, quantile: 0.95}}
  targets:
    apps:
      a: {methods: {POST: {}, other: {}, GET orders/*: {timeout: t, retry: r, circuitBreaker: c, hedge: h}}}",
    ),
];

/// A successful call, to the end of its answer: what a sidecar asks of the policy.
fn call(policies: &Policies, policy: &<Policies as Attempts>::Policy) {
    let mut facts = CallFacts::new(Road::Http, black_box(b"orders/17"));
    facts.verb = Some(Verb::GET);
    let mut run = policies.begin(policy, facts).unwrap();
    black_box(run.keeps());
    black_box(run.wants_status());
    black_box(run.hedges_after());
    black_box(run.admit()).unwrap();
    black_box(run.judge(Outcome::Answered(Some(200))));
    let mut body = Body::empty();
    if run.wants_end() {
        body = body.on_end(move |end, _| run.ended(end, None));
    }
    drop(black_box(body));
}

#[inline(never)]
fn counted_calls(policies: &Policies, policy: &<Policies as Attempts>::Policy) {
    for _ in 0..CALLS {
        call(policies, policy);
    }
}

fn main() {
    let mut args = std::env::args().skip(1);
    let wanted = args.next();
    let rounds: u32 = args.next().and_then(|rounds| rounds.parse().ok()).unwrap_or(50);
    for (name, spec) in SPECS {
        if wanted.as_deref().is_some_and(|wanted| wanted != name) {
            continue;
        }
        let resources = decode_resiliency(&[spec], "me").resources;
        let policies = Policies::compile(&resources, Settings::default(), Arc::new(Unobserved));
        let app = AppRef::new("a", "default");
        let policy = policies.policy(Named::Peer(&app), "a").unwrap();
        let mut least = Duration::MAX;
        for _ in 0..rounds {
            let begun = Instant::now();
            counted_calls(&policies, &policy);
            least = least.min(begun.elapsed());
        }
        println!("{name}: {:.3} µs", (least / CALLS).as_secs_f64() * 1e6);
    }
}
