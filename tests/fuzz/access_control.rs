//! Access control: configurations, patterns, methods.
#![allow(
    clippy::unwrap_used,
    reason = "a target that cannot go on panics, and shows why"
)]

use std::sync::Arc;

use access_control::{AppKind, Policy, SpiffeId, Unobserved};
use bolero::generator::produce;
use bolero::{TypeGenerator, ValueGenerator, check};
use fuzz::{Near, seeds, sentence};
use invoke_core::{Authorize, Caller, Decision, Manner, MethodPath, Verb};
use resources::{AccessControl, AppPolicy, Operation, decode_configuration};

const CALLER: &str = "spiffe://public/ns/default/caller";

const PATTERN: [&str; 18] = [
    "/", "/", "a", "b", "ab", "*", "**", "a*", "*b", "A", "é", "%2F", "%", ".", "..", "-", "admin", "public",
];
const METHOD: [&str; 40] = [
    "/", "/", "/", "a", "b", "ab", "A", "é", "*", "**", "admin", "public", "..", ".", "//", "%2F", "%2f",
    "%252F", "%25252f", "%2e", "%2e%2E", "%61", "%41", "%2561", "%5C", "\\", "%3F", "%23", "%00", "%09",
    "%C3%89", "%", "%2", "%zz", ";", "+", " ", "\u{ff0f}", "%c0%af", "x",
];

#[derive(Debug, TypeGenerator)]
struct Rules {
    #[generator(produce::<Vec<(Vec<u8>, bool)>>().with().len(0_usize..6).values((short(), produce::<bool>())))]
    rules: Vec<(Vec<u8>, bool)>,
    default: bool,
    #[generator(produce::<Vec<u8>>().with().len(0_usize..12))]
    method: Vec<u8>,
}

/// A name of a few words, so that rules and methods meet.
fn short() -> impl ValueGenerator<Output = Vec<u8>> {
    produce::<Vec<u8>>().with().len(1_usize..6)
}

fn spec(rules: &[(Vec<u8>, bool)], default: bool) -> AccessControl {
    let action = |allow: bool| if allow { "allow" } else { "deny" }.to_owned();
    let operations = rules.iter().map(|(name, allow)| Operation {
        name: sentence(&PATTERN, name),
        http_verb: vec!["*".to_owned()],
        action: action(*allow),
    });
    let policy = AppPolicy {
        app_id: "caller".to_owned(),
        namespace: "default".to_owned(),
        trust_domain: "public".to_owned(),
        default_action: action(default),
        operations: operations.collect(),
    };
    AccessControl {
        default_action: Some("deny".to_owned()),
        policies: Some(vec![policy]),
        ..AccessControl::default()
    }
}

fn allows(policy: &Policy, method: &MethodPath, manner: Manner) -> bool {
    let caller = Caller {
        spiffe_id: Some(CALLER.into()),
        ..Caller::default()
    };
    policy.authorize(&caller, method, manner) == Decision::Allow
}

fn compile(spec: &AccessControl, kind: AppKind) -> Policy {
    Policy::compile(Some(spec), kind, Arc::new(Unobserved)).unwrap().0
}

/// Decoded once, as a server decodes a path: an escape that is none stays.
fn decoded(path: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    let mut at = 0;
    while at < path.len() {
        if let (b'%', Some(byte)) = (path[at], escaped(path, at + 1)) {
            decoded.push(byte);
            at += 3;
        } else {
            decoded.push(path[at]);
            at += 1;
        }
    }
    decoded
}

/// The byte of two hexadecimal digits.
fn escaped(path: &[u8], at: usize) -> Option<u8> {
    let digit = |at: usize| path.get(at).and_then(|digit| char::from(*digit).to_digit(16));
    Some((digit(at)? * 16 + digit(at + 1)?) as u8)
}

/// `..` and the like resolved, as a server resolves a path from the root.
fn resolved(path: &[u8]) -> Vec<u8> {
    let mut kept: Vec<&[u8]> = Vec::new();
    for segment in path.split(|byte| *byte == b'/') {
        match segment {
            b"" | b"." => {}
            b".." => {
                kept.pop();
            }
            other => kept.push(other),
        }
    }
    kept.join(&b'/')
}

/// Whatever way an app reads what it gets, the policy allows what it reads.
#[test]
fn no_app_sees_what_is_denied() {
    check!().with_type::<Rules>().for_each(|input| {
        let spec = spec(&input.rules, input.default);
        let http = compile(&spec, AppKind::Http);
        // This one judges what it is given, and nothing else.
        let mut lower = spec.clone();
        for operation in &mut lower.policies.as_mut().unwrap()[0].operations {
            operation.name = operation.name.to_lowercase();
        }
        let literal = compile(&lower, AppKind::Grpc);
        let Ok(method) = MethodPath::parse(sentence(&METHOD, &input.method)) else {
            return;
        };
        for manner in [Manner::Invoked(Some(Verb::GET)), Manner::Proxied] {
            if !allows(&http, &method, manner) {
                continue;
            }
            let mut reading = method.as_bytes().to_vec();
            for _ in 0..5 {
                for seen in [reading.clone(), resolved(&reading)] {
                    let Ok(seen) = String::from_utf8(seen) else {
                        continue;
                    };
                    // What cannot be a method cannot be asked for either.
                    if let Ok(seen) = MethodPath::parse(seen.to_lowercase()) {
                        assert!(
                            allows(&literal, &seen, Manner::Proxied),
                            "{method} is allowed ({manner:?}), and may be read as {seen}"
                        );
                    }
                }
                reading = decoded(&reading);
            }
        }
    });
}

/// The order of the rules and the kind of the app aside, a method that no rule names gets the default.
#[test]
fn without_rules_the_default_decides() {
    check!()
        .with_type::<(bool, Vec<u8>)>()
        .for_each(|(default, method)| {
            if let Ok(method) = MethodPath::parse(sentence(&METHOD, method)) {
                for kind in [AppKind::Http, AppKind::Grpc] {
                    let policy = compile(&spec(&[], *default), kind);
                    for manner in [Manner::Invoked(Some(Verb::POST)), Manner::Proxied] {
                        assert_eq!(allows(&policy, &method, manner), *default);
                    }
                }
            }
        });
}

#[test]
fn configurations() {
    let seeds = seeds("access-control");
    for seed in &seeds {
        decode_configuration("c", seed).unwrap();
    }
    check!()
        .with_type::<(Near, Vec<u8>)>()
        .for_each(|(near, method)| {
            let document = near.to_bytes(
                &seeds,
                &["null", "[]", "{}", "\"\"", "allow", "deny", "*", "**", "/"],
            );
            let Ok(configuration) = decode_configuration("c", &document) else {
                return;
            };
            for kind in [AppKind::Http, AppKind::Grpc] {
                let spec = configuration.access_control.as_ref();
                if let Ok((policy, _)) = Policy::compile(spec, kind, Arc::new(Unobserved))
                    && let Ok(method) = MethodPath::parse(sentence(&METHOD, method))
                {
                    allows(&policy, &method, Manner::Invoked(None));
                    allows(&policy, &method, Manner::Proxied);
                }
            }
        });
}

#[test]
fn callers() {
    let seeds = [CALLER, "spiffe://a.b_c-d/ns/x/y/more"];
    check!().with_type::<Near>().for_each(|near| {
        let text = near.to_bytes(&seeds, &["/", "//", "/ns/", "spiffe://", ".."]);
        let Ok(text) = std::str::from_utf8(&text) else {
            return;
        };
        if let Ok(id) = SpiffeId::parse(text) {
            assert!(!id.app_id.is_empty() && !id.namespace.is_empty());
            let begin = format!("spiffe://{}/ns/{}/{}", id.trust_domain, id.namespace, id.app_id);
            assert!(text.starts_with(&begin), "{text}");
        }
    });
}
