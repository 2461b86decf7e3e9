//! Decisions.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use invoke_core::{Authorize, Caller, Decision, Denied, Manner, MethodPath, Verb};

use crate::observer::{Judged, Observer, Source};
use crate::operations::Operations;
use crate::readings;
use crate::spiffe::SpiffeId;

const SCOPE: &str = "dapr.acl";

/// What the app of this sidecar speaks. It decides what verbs mean and whether the case of methods matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppKind {
    /// HTTP in any version: verbs count, methods are compared in lower case and in every form that the app may read.
    Http,
    /// gRPC: there are no verbs, and methods are what they are.
    Grpc,
}

/// The access control policy of a sidecar.
///
/// It is made by [`Policy::compile`]. Cloning shares it.
#[derive(Clone)]
pub struct Policy {
    /// `None` when there is no policy at all: nothing is judged or counted.
    pub(crate) list: Option<Arc<List>>,
    pub(crate) kind: AppKind,
    pub(crate) observer: Arc<dyn Observer>,
}

/// The compiled policies.
#[derive(Debug)]
pub(crate) struct List {
    /// Whether callers that no policy names are allowed.
    pub(crate) default: bool,
    /// By app id, then by namespace.
    pub(crate) apps: HashMap<Box<str>, HashMap<Box<str>, AppRules>>,
}

/// The policy for one calling app.
#[derive(Debug)]
pub(crate) struct AppRules {
    pub(crate) trust_domain: Box<str>,
    pub(crate) default: Option<bool>,
    pub(crate) operations: Operations,
    pub(crate) rules: Vec<Rule>,
}

/// What an operation says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    pub(crate) allows: bool,
    pub(crate) verbs: Verbs,
}

/// The verbs of an operation.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Verbs {
    /// A bit for each verb that has a number.
    named: u16,
    any: bool,
}

impl Verbs {
    /// Adds a verb. `false` if no call can have it: names are compared as they are.
    pub(crate) fn add(&mut self, name: &str) -> bool {
        if name == "*" {
            self.any = true;
            return true;
        }
        // NONE is no verb that a rule could be for.
        let number = (1..16).find(|number| Verb::from_number(*number).name() == Some(name));
        if let Some(number) = number {
            self.named |= 1 << number;
        }
        number.is_some()
    }

    fn has(self, verb: Verb) -> bool {
        self.any || ((1..16).contains(&verb.number()) && self.named & (1 << verb.number()) != 0)
    }
}

impl List {
    fn judge(
        &self,
        caller: Option<&SpiffeId<'_>>,
        method: &[u8],
        manner: Manner,
        kind: AppKind,
    ) -> (bool, Source) {
        let rules = caller.and_then(|caller| {
            let rules = self.apps.get(caller.app_id)?.get(caller.namespace)?;
            (*rules.trust_domain == *caller.trust_domain).then_some(rules)
        });
        let Some(rules) = rules else {
            return (self.default, Source::Global);
        };
        let (default, source) = match rules.default {
            Some(default) => (default, Source::App),
            None => (self.default, Source::Global),
        };
        let allows_call = |method: &[u8]| rules.allows_call(method).unwrap_or(default);
        let allowed = match (kind, manner) {
            (AppKind::Grpc, _) => allows_call(method),
            (AppKind::Http, Manner::Invoked(verb)) => readings::all(method, |method| {
                rules.allows_request(&lowercased(method), verb.unwrap_or(Verb::NONE), default)
            }),
            // Dapr looks the path up as it is among names that are in lower case. An app need not care about the
            // case, so what is denied in lower case is denied too.
            (AppKind::Http, Manner::Proxied) => readings::all(method, |method| {
                allows_call(method) && allows_call(&lowercased(method))
            }),
        };
        (allowed, source)
    }
}

impl AppRules {
    fn allows_call(&self, method: &[u8]) -> Option<bool> {
        Some(self.rules[self.operations.find(method)?].allows)
    }

    fn allows_request(&self, method: &[u8], verb: Verb, default: bool) -> bool {
        let Some(rule) = self.operations.find(method).map(|rule| self.rules[rule]) else {
            return default;
        };
        if verb == Verb::NONE {
            // Not the global one: a policy without a default denies.
            return self.default.unwrap_or(false);
        }
        if rule.verbs.has(verb) {
            rule.allows
        } else {
            default
        }
    }
}

/// The method in lower case, letter by letter; bytes that are no text stay.
pub(crate) fn lowercased(text: &[u8]) -> Cow<'_, [u8]> {
    if text.is_ascii() {
        return if text.iter().any(u8::is_ascii_uppercase) {
            Cow::Owned(text.to_ascii_lowercase())
        } else {
            Cow::Borrowed(text)
        };
    }
    let mut lower = Vec::with_capacity(text.len());
    let mut buffer = [0; 4];
    for chunk in text.utf8_chunks() {
        for character in chunk.valid().chars() {
            // One letter for one letter: `İ` is `i`.
            let small = character.to_lowercase().next().unwrap_or(character);
            lower.extend_from_slice(small.encode_utf8(&mut buffer).as_bytes());
        }
        lower.extend_from_slice(chunk.invalid());
    }
    Cow::Owned(lower)
}

impl Authorize for Policy {
    fn authorize(&self, caller: &Caller, method: &MethodPath, manner: Manner) -> Decision {
        let Some(list) = &self.list else {
            return Decision::Allow;
        };
        let caller = match caller.spiffe_id.as_deref().map(SpiffeId::parse).transpose() {
            Ok(caller) => caller,
            Err(malformed) => {
                tracing::debug!(target: SCOPE, "{malformed}");
                return Decision::Deny(Denied::Malformed(malformed.0.into()));
            }
        };
        let (is_allowed, source) = list.judge(caller.as_ref(), method.as_bytes(), manner, self.kind);
        self.observer.judged(Judged {
            caller,
            source,
            is_allowed,
        });
        if is_allowed {
            return Decision::Allow;
        }
        let verb = match (self.kind, manner) {
            (AppKind::Http, Manner::Invoked(Some(verb))) => verb,
            _ => Verb::NONE,
        };
        let denied = Denied::Policy {
            id: caller.map_or("", |caller| caller.as_str()).into(),
            operation: method.clone(),
            verb,
        };
        tracing::debug!(target: SCOPE, "{denied}");
        Decision::Deny(denied)
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy")
            .field("list", &self.list)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}
