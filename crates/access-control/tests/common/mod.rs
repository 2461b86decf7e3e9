//! Policies and callers for the tests.
#![allow(dead_code, reason = "every test file uses a part of it")]

use std::sync::{Arc, Mutex};

use access_control::{AppKind, Judged, Observer, Policy, Source, Unobserved};
use invoke_core::{Authorize, Caller, Decision, Manner, MethodPath, Verb};
use resources::{AccessControl, AppPolicy, Operation};

pub(crate) const CALLER: &str = "spiffe://public/ns/default/c";

pub(crate) fn operation(name: &str, verbs: &[&str], action: &str) -> Operation {
    Operation {
        name: name.to_owned(),
        http_verb: verbs.iter().map(ToString::to_string).collect(),
        action: action.to_owned(),
    }
}

/// The policy for [`CALLER`].
pub(crate) fn policy(default_action: &str, operations: Vec<Operation>) -> AppPolicy {
    AppPolicy {
        app_id: "c".to_owned(),
        namespace: "default".to_owned(),
        trust_domain: "public".to_owned(),
        default_action: default_action.to_owned(),
        operations,
    }
}

pub(crate) fn spec(default_action: Option<&str>, policies: Vec<AppPolicy>) -> AccessControl {
    AccessControl {
        default_action: default_action.map(ToOwned::to_owned),
        policies: Some(policies),
        ..AccessControl::default()
    }
}

pub(crate) fn compile(spec: &AccessControl, kind: AppKind) -> Policy {
    Policy::compile(Some(spec), kind, Arc::new(Unobserved)).unwrap().0
}

pub(crate) fn caller(id: &str) -> Caller {
    Caller {
        spiffe_id: (!id.is_empty()).then(|| id.into()),
        ..Caller::default()
    }
}

pub(crate) fn decide(policy: &Policy, id: &str, method: &str, verb: Option<Verb>) -> Decision {
    let method = MethodPath::parse(method.to_owned()).unwrap();
    policy.authorize(&caller(id), &method, Manner::Invoked(verb))
}

/// Judges a gRPC call that is passed on, of [`CALLER`].
pub(crate) fn passes(policy: &Policy, path: &str) -> bool {
    let method = MethodPath::parse(path.to_owned()).unwrap();
    policy.authorize(&caller(CALLER), &method, Manner::Proxied) == Decision::Allow
}

pub(crate) fn allows(policy: &Policy, method: &str, verb: Verb) -> bool {
    decide(policy, CALLER, method, Some(verb)) == Decision::Allow
}

/// Keeps what it is told: caller, source, whether it was allowed.
#[derive(Default)]
pub(crate) struct Told(pub(crate) Mutex<Vec<(String, Source, bool)>>);

impl Observer for Told {
    fn judged(&self, judged: Judged<'_>) {
        let caller = judged.caller.map(|caller| caller.to_string()).unwrap_or_default();
        self.0
            .lock()
            .unwrap()
            .push((caller, judged.source, judged.is_allowed));
    }
}
