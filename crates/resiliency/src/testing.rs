//! What tests of this crate share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use invoke_core::AppRef;
use invoke_core::attempts::{Attempts, Named};
use resources::{Resiliency, decode_resiliency};

use crate::{Name, Observer, Part, Policies, Settings, State, TargetPolicy, Told};

/// Writes down what it is told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Noted(Arc<Mutex<Vec<String>>>);

impl Noted {
    fn note(&self, what: String) {
        self.0.lock().unwrap().push(what);
    }

    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl Observer for Noted {
    fn loaded(&self, resource: Name<'_>) {
        self.note(format!("loaded {}", resource.name));
    }

    fn target(&self, last: Name<'_>, target: &str) -> Arc<dyn Told> {
        self.note(format!("target {target} of {}", last.name));
        Arc::new(self.clone())
    }
}

impl Told for Noted {
    fn executed(&self, part: Part) {
        self.note(format!("executed {part:?}"));
    }

    fn activated(&self, part: Part) {
        self.note(format!("activated {part:?}"));
    }

    fn breaker_state(&self, state: State) {
        self.note(format!("state {state}"));
    }
}

/// A resource with this `spec`.
pub(crate) fn resource(name: &str, spec: &str) -> Arc<Resiliency> {
    let text = format!("metadata: {{name: {name}}}\nspec:\n{spec}\n");
    let mut loaded = decode_resiliency(&[&text], "me");
    assert!(loaded.troubles.is_empty(), "{:?}", loaded.troubles);
    loaded.resources.remove(0)
}

pub(crate) fn observed(specs: &[&str]) -> (Policies, Noted) {
    let noted = Noted::default();
    let names = (0..).map(|index| format!("r{index}"));
    let resources: Vec<_> = names
        .zip(specs)
        .map(|(name, spec)| resource(&name, spec))
        .collect();
    let settings = Settings {
        kept: 1 << 20,
        base_urls: HashMap::from([("ext".to_owned(), "http://e:1".to_owned())]),
    };
    (
        Policies::compile(&resources, settings, Arc::new(noted.clone())),
        noted,
    )
}

pub(crate) fn policies(specs: &[&str]) -> Policies {
    observed(specs).0
}

/// The policy for what a caller wrote, whose own app is `me`.
pub(crate) fn policy_of(policies: &Policies, written: &str) -> Option<Arc<TargetPolicy>> {
    let app = |id: &str, namespace: &str| AppRef::new(id, namespace);
    match written.split_once('.') {
        _ if written.starts_with("http://") || written == "ext" => {
            policies.policy(Named::External(written), written)
        }
        _ if written == "me" => policies.policy(Named::Own(&"me".into()), written),
        None => policies.policy(Named::Peer(&app(written, "default")), written),
        Some((id, namespace)) => policies.policy(Named::Peer(&app(id, namespace)), written),
    }
}
