//! The decisions of a Dapr sidecar, recorded: ours are the same, but for those that are named here.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on panics, and shows why"
)]

mod common;

use access_control::{AppKind, Policy};
use common::{CALLER, compile, decide, operation, policy, spec};
use invoke_core::{Decision, MethodPath, Verb, clean_path};
use resources::{AccessControl, AppPolicy};

const RECORDED: &str = include_str!("../tests-data/decisions.tsv");

/// An app decodes these to a path that the policy denies; Dapr lets them pass.
const STRICTER: [(&str, &str); 2] = [
    (
        "deny /admin/**, allow else: traversal and encodings",
        "HTTP GET /admin%252Fx",
    ),
    (
        "deny /admin/**, allow else: traversal and encodings",
        "InvokeService GET admin%2Fx",
    ),
];

/// The policy that a recording is called by.
fn named(name: &str) -> Option<AccessControl> {
    if let Some(rules) = name.strip_prefix("rules ") {
        let rules = rules.strip_suffix(" (allow; default deny)").unwrap();
        let rules = rules.split(" , ").map(|rule| operation(rule, &["*"], "allow"));
        return Some(spec(None, vec![policy("deny", rules.collect())]));
    }
    let plain = |default| policy(default, Vec::new());
    let name = name.trim_end_matches(" (caller c, no operations)");
    Some(match name {
        "two actions on nested names" => {
            let operations = vec![
                operation("/op", &["*"], "deny"),
                operation("/op/sub", &["*"], "allow"),
            ];
            spec(None, vec![policy("allow", operations)])
        }
        "same name twice, GET deny first, POST allow second" => {
            let operations = vec![
                operation("/op", &["GET"], "deny"),
                operation("/op", &["POST"], "allow"),
            ];
            spec(None, vec![policy("deny", operations)])
        }
        "verbs [GET allow], policy default deny" => {
            let operations = vec![
                operation("/v", &["GET"], "allow"),
                operation("/l", &["get"], "allow"),
                operation("/n", &[], "allow"),
                operation("/na", &["GET"], ""),
            ];
            spec(None, vec![policy("deny", operations)])
        }
        "gRPC app: verbs are ignored" => {
            let operations = vec![
                operation("/v", &["GET"], "allow"),
                operation("/test.Svc/ok", &[], "allow"),
            ];
            spec(None, vec![policy("deny", operations)])
        }
        "gRPC app, rule on a whole service" => spec(
            None,
            vec![policy("deny", vec![operation("/test.Svc", &[], "allow")])],
        ),
        "global default absent" => spec(None, vec![plain("")]),
        "global default '' with policies" => spec(Some(""), vec![plain("")]),
        "global default permit (typo)" => spec(Some("permit"), vec![plain("")]),
        "global default ALLOW" => spec(Some("ALLOW"), vec![plain("")]),
        "policy for other namespace, global allow" => {
            let other = AppPolicy {
                namespace: "other".into(),
                ..plain("deny")
            };
            spec(Some("allow"), vec![other])
        }
        "policy for other trust domain, global deny, policy allow" => {
            let other = AppPolicy {
                trust_domain: "other".into(),
                ..plain("allow")
            };
            spec(Some("deny"), vec![other])
        }
        "policy without default, global allow" => spec(Some("allow"), vec![plain("")]),
        "policy without default, global deny" => spec(Some("deny"), vec![plain("")]),
        "policy default allow, global deny" | "mTLS off, policy allows the caller, global deny" => {
            spec(Some("deny"), vec![plain("allow")])
        }
        "policy default deny, global allow" => spec(Some("allow"), vec![plain("deny")]),
        "proxied self-invocation under global deny" => spec(Some("deny"), Vec::new()),
        "only trustDomain: helloworld" => AccessControl {
            trust_domain: "helloworld".into(),
            ..AccessControl::default()
        },
        "accessControl: null" => return None,
        "deny /admin/**, allow else: traversal and encodings" => spec(
            None,
            vec![policy("allow", vec![operation("/admin/**", &["*"], "deny")])],
        ),
        other => panic!("no policy is called {other:?}"),
    })
}

/// Method and verb of a call. The HTTP API decodes a path once and cleans it.
fn read(call: &str) -> (Vec<u8>, Verb) {
    let mut words = call.split_whitespace();
    let (kind, second) = (words.next().unwrap(), words.next().unwrap());
    if kind == "proxy" {
        return (second.into(), Verb::NONE);
    }
    let verb = match second {
        "NONE" => Verb::NONE,
        name => Verb::from_http(&name.parse().unwrap()),
    };
    let method = words.next().unwrap();
    if kind == "InvokeService" {
        return (method.into(), verb);
    }
    let path = method.strip_prefix('/').unwrap();
    let mut decoded = Vec::new();
    let mut rest = path.as_bytes();
    while let [first, after @ ..] = rest {
        if *first == b'%' {
            let digits = std::str::from_utf8(&after[..2]).unwrap();
            decoded.push(u8::from_str_radix(digits, 16).unwrap());
            rest = &after[2..];
        } else {
            decoded.push(*first);
            rest = after;
        }
    }
    (clean_path(&decoded).into_owned(), verb)
}

fn decision(policy: &Policy, name: &str, call: &str) -> &'static str {
    let (method, verb) = read(call);
    let Ok(method) = MethodPath::parse(method) else {
        return "invalid";
    };
    let without_identity = name.starts_with("mTLS off") || name.starts_with("proxied self");
    let caller = if without_identity { "" } else { CALLER };
    match decide(policy, caller, method.as_str().unwrap(), Some(verb)) {
        Decision::Allow => "allowed",
        Decision::Deny(_) => "denied",
    }
}

#[test]
fn decisions() {
    let (mut seen, mut stricter) = (0, Vec::new());
    for line in RECORDED.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [name, app, call, wanted] = fields[..] else {
            panic!("{line:?}");
        };
        let kind = if app == "grpc" {
            AppKind::Grpc
        } else {
            AppKind::Http
        };
        let policy = match named(name) {
            Some(spec) => compile(&spec, kind),
            None => {
                Policy::compile(None, kind, std::sync::Arc::new(access_control::Unobserved))
                    .unwrap()
                    .0
            }
        };
        let got = decision(&policy, name, call);
        if got != wanted {
            assert_eq!((got, wanted), ("denied", "allowed"), "{line}");
            stricter.push((name, call));
        }
        seen += 1;
    }
    assert_eq!(stricter, STRICTER);
    assert_eq!(seen, 107);
}
