//! How long a decision takes, with a thousand rules of several kinds.
//!
//! `cargo run --release -p access-control --example speed`
#![allow(clippy::print_stdout, reason = "it prints its figures")]

use std::error::Error;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use access_control::{AppKind, Policy, Unobserved};
use invoke_core::{Authorize, Caller, Manner, MethodPath, Verb};
use resources::{AccessControl, AppPolicy, Operation};

/// The name of a rule by its number.
type Name = fn(usize) -> String;

const RULES: usize = 1000;
const CALLS: u32 = 200_000;

fn main() -> Result<(), Box<dyn Error>> {
    let unconfigured = AccessControl::default();
    show("no policy", &unconfigured, "orders/42")?;
    let long = "a".repeat(1000);
    let kinds: [(&str, Name, &str); 10] = [
        ("texts, the last", |n| format!("/operation-{n}"), "operation-999"),
        ("texts, none", |n| format!("/operation-{n}"), "orders/42"),
        ("deep texts", |n| format!("/a/b/c/{n}"), "a/b/c/999"),
        ("beginnings", |n| format!("/operation-{n}-*"), "operation-999-x"),
        ("ends", |n| format!("/*-operation-{n}"), "x-operation-999"),
        (
            "both",
            |n| format!("/v{}*-operation-{n}", n % 10),
            "v9x-operation-999",
        ),
        (
            "one for each length",
            |n| format!("/{}*", "a".repeat(n)),
            "aaaaaaaaaaaaaaaaaaaaaaaab",
        ),
        (
            "the longest first",
            |n| format!("/{}*", "a".repeat(RULES - n)),
            "aaaaaaaaaaaaaaaaaaaaaaaab",
        ),
        ("a long segment", |n| format!("/{}*", "a".repeat(n)), &long),
        (
            "both of each length",
            |n| format!("/{}*{}", "a".repeat(n / 32), "b".repeat(n % 32)),
            "aaaaaaaaaaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbbbbbbbbb",
        ),
    ];
    for (kind, name, method) in kinds {
        let operations = (0..RULES).map(|number| Operation {
            name: name(number),
            http_verb: vec!["GET".to_owned()],
            action: "allow".to_owned(),
        });
        let policy = AppPolicy {
            app_id: "caller".to_owned(),
            namespace: "default".to_owned(),
            trust_domain: "public".to_owned(),
            default_action: "deny".to_owned(),
            operations: operations.collect(),
        };
        let spec = AccessControl {
            policies: Some(vec![policy]),
            ..AccessControl::default()
        };
        show(kind, &spec, method)?;
    }
    Ok(())
}

fn show(kind: &str, spec: &AccessControl, method: &str) -> Result<(), Box<dyn Error>> {
    let (policy, _) = Policy::compile(Some(spec), AppKind::Http, Arc::new(Unobserved))?;
    let caller = Caller {
        spiffe_id: Some("spiffe://public/ns/default/caller".into()),
        ..Caller::default()
    };
    let method = MethodPath::parse(method.to_owned())?;
    let begun = Instant::now();
    for _ in 0..CALLS {
        black_box(policy.authorize(black_box(&caller), &method, Manner::Invoked(Some(Verb::GET))));
    }
    println!(
        "{kind:20} {:6.0} ns",
        begun.elapsed().as_nanos() as f64 / f64::from(CALLS)
    );
    Ok(())
}
