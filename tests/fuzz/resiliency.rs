//! Resiliency: resources, expressions, lists of codes, durations. Nothing that they say may end the sidecar, or hold a
//! call up.
#![allow(
    clippy::unwrap_used,
    reason = "a target that cannot go on panics, and shows why"
)]

use std::sync::Arc;

use bolero::check;
use fuzz::{Near, seeds};
use invoke_core::AppRef;
use invoke_core::attempts::{Attempts, CallFacts, Named, Outcome, Road, Run};
use resiliency::{Policies, Settings, Unobserved};
use resources::decode_resiliency;

const YAML: [&str; 16] = [
    "\n",
    ": ",
    "{",
    "}",
    "[",
    "]",
    "null",
    "-1",
    "0",
    "1e400",
    "'",
    "99999999999999999999",
    "5-",
    ",",
    "1h",
    "*a",
];
const CEL: [&str; 28] = [
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "&&",
    "||",
    "!",
    "-",
    "+",
    "*",
    "/",
    "%",
    "==",
    "<",
    " in ",
    "?",
    ":",
    ".map(x, x)",
    ".all(x, x)",
    "requests",
    "9223372036854775807",
    "0",
    "1.5",
    "2u",
    "'a'",
    "duration('9h')",
];

#[test]
fn resources_become_policies() {
    let seeds = seeds("resiliency");
    assert_eq!(decode_resiliency(&seeds, "me").resources.len(), seeds.len());
    check!().with_type::<Near>().for_each(|near| {
        let bytes = near.to_bytes(&seeds, &YAML);
        let loaded = decode_resiliency(&[bytes], "me");
        let policies = Policies::compile(&loaded.resources, Settings::default(), Arc::new(Unobserved));
        let app = AppRef::new("a", "default");
        let policy = policies.policy(Named::Peer(&app), "a").unwrap();
        let mut run = policies.begin(&policy, CallFacts::new(Road::Http, b"m")).unwrap();
        if run.admit().is_ok() {
            let _ = run.judge(Outcome::Answered(Some(500)));
        }
    });
}

#[test]
fn expressions() {
    let seeds = seeds("trips");
    for seed in &seeds {
        let text = std::str::from_utf8(seed).unwrap();
        assert!(resiliency::fuzz::trip(text, 2).is_some(), "{text}");
    }
    check!().with_type::<Near>().for_each(|near| {
        let bytes = near.to_bytes(&seeds, &CEL);
        let text = String::from_utf8_lossy(&bytes);
        let _ = resiliency::fuzz::trip(&text, 2);
    });
}

#[test]
fn codes_and_durations() {
    let seeds = vec![b"500,502-504".to_vec(), b"1h30m0.5s".to_vec()];
    let words = [
        "-",
        ",",
        "+",
        "599",
        "600",
        " ",
        "ms",
        "h",
        ".",
        "99999999999999999999",
    ];
    check!().with_type::<Near>().for_each(|near| {
        let bytes = near.to_bytes(&seeds, &words);
        let text = String::from_utf8_lossy(&bytes);
        let _ = resiliency::fuzz::codes(&text, 500);
        let _ = resiliency::fuzz::duration(&text);
    });
}
