//! What looks like a mistake in a policy. Nothing of it keeps a sidecar from running, as it does not with Dapr, so it
//! is told in the log.

use std::fmt;

use invoke_core::MethodPath;
use resources::{AccessControl, AppPolicy, Operation};

use crate::policy::{AppKind, Verbs};

/// So many are told; a file can have more mistakes than a log should have lines.
const MAX: usize = 100;

/// Something that looks like a mistake; its text is a line for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The way to it from the root of the configuration: keys, and positions in lists.
    pub path: Vec<String>,
    /// What it is.
    pub text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The findings.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    found: Vec<Finding>,
    more: usize,
}

/// A policy in its file.
pub(crate) struct Place<'a> {
    policy: &'a AppPolicy,
    number: usize,
    kind: AppKind,
}

/// The way to a field of `spec.accessControl`.
fn way(steps: &[&str]) -> Vec<String> {
    let all = ["spec", "accessControl"].iter().chain(steps);
    all.map(|step| (*step).to_owned()).collect()
}

impl<'a> Place<'a> {
    pub(crate) fn new(policy: &'a AppPolicy, number: usize, kind: AppKind) -> Self {
        Self { policy, number, kind }
    }

    /// The way to a field of the policy.
    fn field(&self, field: &str) -> Vec<String> {
        way(&["policies", &self.number.to_string(), field])
    }

    /// The way to a field of an operation.
    fn of_operation(&self, number: usize, field: &str) -> Vec<String> {
        let mut way = self.field("operations");
        way.extend([number.to_string(), field.to_owned()]);
        way
    }

    fn operation(&self, number: usize) -> &Operation {
        &self.policy.operations[number]
    }

    fn name(&self, number: usize) -> &str {
        &self.operation(number).name
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (app, namespace) = (&self.policy.app_id, &self.policy.namespace);
        write!(
            f,
            "access control policy for app {app:?} in namespace {namespace:?}"
        )
    }
}

impl Findings {
    pub(crate) fn into_list(self) -> Vec<Finding> {
        let mut found = self.found;
        if self.more > 0 {
            let text = format!("and {} more findings in access control policies", self.more);
            let path = way(&["policies"]);
            found.push(Finding { path, text });
        }
        found
    }

    fn add(&mut self, path: Vec<String>, text: fmt::Arguments<'_>) {
        if self.found.len() < MAX {
            let text = text.to_string();
            self.found.push(Finding { path, text });
        } else {
            self.more += 1;
        }
    }

    /// An action that is neither allow nor deny.
    pub(crate) fn action(&mut self, path: Vec<String>, place: &str, action: &str) {
        if !["allow", "deny"]
            .iter()
            .any(|known| action.eq_ignore_ascii_case(known))
        {
            self.add(
                path,
                format_args!("{place}: the action {action:?} is not known and denies"),
            );
        }
    }

    /// The action for callers without a policy.
    pub(crate) fn default_action(&mut self, action: &str) {
        let place = "spec.accessControl.defaultAction";
        self.action(way(&["defaultAction"]), place, action);
    }

    /// Nobody said what is to happen to callers without a policy. The text is Dapr's.
    pub(crate) fn no_default(&mut self) {
        self.add(
            way(&["defaultAction"]),
            format_args!(
                "No global default action has been specified. Setting default global action as Deny"
            ),
        );
    }

    pub(crate) fn implicit_default(&mut self, spec: &AccessControl) {
        if spec
            .policies
            .as_ref()
            .is_some_and(|policies| !policies.is_empty())
        {
            self.add(way(&["policies"]), format_args!(
                "spec.accessControl has policies but no defaultAction: callers that no policy names are allowed"
            ));
        }
    }

    pub(crate) fn repeated_policy(&mut self, policy: &AppPolicy, number: usize) {
        let place = Place::new(policy, number, AppKind::Http);
        self.add(
            place.field("appId"),
            format_args!("{place}: there is more than one, the last of them counts"),
        );
    }

    /// A policy that no caller can have.
    pub(crate) fn policy(&mut self, place: &Place<'_>) {
        let policy = place.policy;
        let is_domain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
        if !policy.trust_domain.bytes().all(is_domain) {
            self.add(place.field("trustDomain"), format_args!(
                "{place}: no caller can be of the trust domain {:?}, which has other characters than a-z 0-9 . _ -",
                policy.trust_domain
            ));
        }
        for (field, value) in [("appId", &policy.app_id), ("namespace", &policy.namespace)] {
            if value.contains('/') {
                self.add(
                    place.field(field),
                    format_args!("{place}: no caller can have a slash in its {field}"),
                );
            }
        }
        if !policy.default_action.is_empty() {
            let path = place.field("defaultAction");
            self.action(path, &format!("{place}, defaultAction"), &policy.default_action);
        }
    }

    pub(crate) fn repeated_operation(&mut self, place: &Place<'_>, number: usize, first: usize) {
        self.add(
            place.of_operation(number, "name"),
            format_args!(
                "{place}: the operation {:?} is there twice (numbers {} and {}), the first counts; \
             put all its verbs into one",
                place.name(number),
                first + 1,
                number + 1,
            ),
        );
    }

    /// Action and verbs of an operation.
    pub(crate) fn operation(&mut self, place: &Place<'_>, number: usize) {
        let operation = place.operation(number);
        let name = &operation.name;
        let path = place.of_operation(number, "action");
        self.action(path, &format!("{place}, operation {name:?}"), &operation.action);
        let verbs = || place.of_operation(number, "httpVerb");
        if place.kind == AppKind::Grpc {
            return;
        }
        if operation.http_verb.is_empty() {
            self.add(
                verbs(),
                format_args!(
                    "{place}: the operation {name:?} has no httpVerb, so its action is never taken; \
                 write ['*'] for all verbs"
                ),
            );
        }
        for verb in &operation.http_verb {
            if Verbs::default().add(verb) {
                continue;
            }
            if Verbs::default().add(&verb.to_uppercase()) {
                self.add(verbs(), format_args!(
                    "{place}: verbs are compared in upper case, {verb:?} of the operation {name:?} matches no call"
                ));
            } else {
                self.add(
                    verbs(),
                    format_args!("{place}: no call has the verb {verb:?} of the operation {name:?}"),
                );
            }
        }
    }

    /// Whether an operation can be reached. `compiled` is its name as it is compared, `found` the operation that
    /// decides about a method of exactly that name.
    pub(crate) fn reach(&mut self, place: &Place<'_>, number: usize, compiled: &[u8], found: Option<usize>) {
        let name = place.name(number);
        let at = || place.of_operation(number, "name");
        let normal = MethodPath::parse(compiled.to_vec());
        if normal.is_ok_and(|normal| normal.as_bytes() != compiled) || has_forbidden(compiled) {
            self.add(at(), format_args!(
                "{place}: the operation {name:?} matches no method, since methods are normalised before they are \
                 compared"
            ));
            return;
        }
        let segments: Vec<&[u8]> = compiled.split(|byte| *byte == b'/').collect();
        if segments[..segments.len() - 1].contains(&b"*".as_slice()) {
            self.add(at(), format_args!(
                "{place}: the operation {name:?} matches no method, since * stands for a whole segment at the end \
                 only; write ** for one segment before the end"
            ));
        }
        if place.kind == AppKind::Http && is_escaped(compiled) {
            self.add(at(), format_args!(
                "{place}: the operation {name:?} has an escape, but methods are compared after they were decoded"
            ));
        }
        match found {
            Some(first) if first == number => {}
            Some(first) => self.add(at(), format_args!(
                "{place}: the operation {name:?} does not decide about {name:?}, because {:?} matches first",
                place.name(first)
            )),
            None => self.add(at(), format_args!(
                "{place}: the operation {name:?} is never reached, because one before it matches the beginning of \
                 its name"
            )),
        }
    }
}

fn has_forbidden(name: &[u8]) -> bool {
    MethodPath::parse(name.to_vec()).is_err()
}

fn is_escaped(name: &[u8]) -> bool {
    name.windows(3)
        .any(|window| matches!(window, [b'%', a, b] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit()))
}
