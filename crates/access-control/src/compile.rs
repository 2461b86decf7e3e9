//! From the values of a file to a policy.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use resources::{AccessControl, AppPolicy, Operation};
use thiserror::Error;

use crate::findings::{Finding, Findings, Place};
use crate::observer::Observer;
use crate::operations::Operations;
use crate::policy::{AppKind, AppRules, List, Policy, Rule, Verbs, lowercased};

/// Policies that do not say whom they are for. The text is Dapr's.
#[derive(Clone, Debug, Default, Error, PartialEq, Eq)]
#[error(
    "invalid access control spec. missing trustdomain for apps: [{}], missing namespace for apps: [{}], \
     missing app name on at least one of the app policies: {is_app_missing}",
    trust_domain.join(" "), namespace.join(" ")
)]
pub struct BrokenPolicies {
    /// The app ids of policies without a trust domain, in order.
    pub trust_domain: Vec<String>,
    /// The app ids of policies without a namespace, in order.
    pub namespace: Vec<String>,
    /// Whether a policy has no app id.
    pub is_app_missing: bool,
}

impl Policy {
    /// Compiles `spec.accessControl` for an app. Also tells what looks like a mistake in it, for the log.
    ///
    /// Nothing at all, or nothing in it, gives a policy that allows every call and counts none.
    pub fn compile(
        spec: Option<&AccessControl>,
        kind: AppKind,
        observer: Arc<dyn Observer>,
    ) -> Result<(Self, Vec<Finding>), BrokenPolicies> {
        let mut findings = Findings::default();
        let list = match spec {
            Some(spec) if !is_nothing(spec) => Some(Arc::new(List::compile(spec, kind, &mut findings)?)),
            _ => None,
        };
        let policy = Self { list, kind, observer };
        Ok((policy, findings.into_list()))
    }
}

fn is_nothing(spec: &AccessControl) -> bool {
    let has_policies = spec
        .policies
        .as_ref()
        .is_some_and(|policies| !policies.is_empty());
    spec.default_action.as_deref() == Some("") && spec.trust_domain.is_empty() && !has_policies
}

impl List {
    fn compile(spec: &AccessControl, kind: AppKind, findings: &mut Findings) -> Result<Self, BrokenPolicies> {
        let policies = spec.policies.as_deref().unwrap_or_default();
        check(policies)?;
        let mut apps: HashMap<Box<str>, HashMap<Box<str>, AppRules>> = HashMap::new();
        for (number, policy) in policies.iter().enumerate() {
            let rules = AppRules::compile(policy, number, kind, findings);
            let namespaces = apps.entry(policy.app_id.as_str().into()).or_default();
            match namespaces.entry(policy.namespace.as_str().into()) {
                Entry::Vacant(place) => {
                    place.insert(rules);
                }
                Entry::Occupied(mut earlier) => {
                    findings.repeated_policy(policy, number);
                    earlier.insert(rules);
                }
            }
        }
        Ok(Self {
            default: global_default(spec, findings),
            apps,
        })
    }
}

fn global_default(spec: &AccessControl, findings: &mut Findings) -> bool {
    match spec.default_action.as_deref() {
        None => {
            findings.implicit_default(spec);
            true
        }
        // An empty list is somebody who wants no policies; no list is somebody who forgot them.
        Some("") if spec.policies.as_ref().is_some_and(Vec::is_empty) => true,
        Some("") => {
            findings.no_default();
            false
        }
        Some(action) => {
            findings.default_action(action);
            allows(action)
        }
    }
}

/// Whatever is not `allow` denies.
fn allows(action: &str) -> bool {
    action.eq_ignore_ascii_case("allow")
}

fn check(policies: &[AppPolicy]) -> Result<(), BrokenPolicies> {
    let mut broken = BrokenPolicies::default();
    for policy in policies {
        broken.is_app_missing |= policy.app_id.is_empty();
        if policy.trust_domain.is_empty() {
            broken.trust_domain.push(policy.app_id.clone());
        }
        if policy.namespace.is_empty() {
            broken.namespace.push(policy.app_id.clone());
        }
    }
    if broken == BrokenPolicies::default() {
        Ok(())
    } else {
        Err(broken)
    }
}

impl AppRules {
    fn compile(policy: &AppPolicy, number: usize, kind: AppKind, findings: &mut Findings) -> Self {
        let place = Place::new(policy, number, kind);
        findings.policy(&place);
        let mut compiled = Self {
            trust_domain: policy.trust_domain.as_str().into(),
            default: (!policy.default_action.is_empty()).then(|| allows(&policy.default_action)),
            operations: Operations::default(),
            rules: Vec::with_capacity(policy.operations.len()),
        };
        let mut names = Vec::with_capacity(policy.operations.len());
        for (number, operation) in policy.operations.iter().enumerate() {
            let name = name_of(operation, kind);
            if let Err(first) = compiled.operations.add(&name, number) {
                findings.repeated_operation(&place, number, first);
            }
            names.push(name);
            compiled.rules.push(rule(operation));
            findings.operation(&place, number);
        }
        for (number, name) in names.iter().enumerate() {
            let found = compiled.operations.find(name);
            // Of two with one name the first is found for both, which has been told already.
            let found = found.map(|first| if names[first] == *name { number } else { first });
            findings.reach(&place, number, name, found);
        }
        compiled
    }
}

/// The name with a slash in front; in lower case for HTTP apps.
fn name_of(operation: &Operation, kind: AppKind) -> Vec<u8> {
    let slash = if operation.name.starts_with('/') { "" } else { "/" };
    let name = [slash.as_bytes(), operation.name.as_bytes()].concat();
    match kind {
        AppKind::Http => lowercased(&name).into_owned(),
        AppKind::Grpc => name,
    }
}

fn rule(operation: &Operation) -> Rule {
    let mut verbs = Verbs::default();
    for verb in &operation.http_verb {
        verbs.add(verb);
    }
    Rule {
        allows: allows(&operation.action),
        verbs,
    }
}
