//! Who may call the app (`spec.accessControl`), and which APIs the sidecar has (`spec.api`).
//!
//! Texts are kept as they are written: what an action or a pattern means is decided by the crate that judges calls.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::lenient;

/// Who may call this app.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct AccessControl {
    /// For callers that no policy names. `None` when no file says, which means `allow`.
    #[serde(deserialize_with = "lenient::optional_text")]
    pub default_action: Option<String>,
    /// Not part of any decision; `public` unless a file says otherwise.
    #[serde(deserialize_with = "lenient::text")]
    pub trust_domain: String,
    /// The policies. `None` when there is no list at all, which is not the same as an empty one.
    #[serde(deserialize_with = "lenient::optional_sections")]
    pub policies: Option<Vec<AppPolicy>>,
}

impl Default for AccessControl {
    fn default() -> Self {
        Self {
            default_action: None,
            trust_domain: "public".to_owned(),
            policies: None,
        }
    }
}

/// What one calling app may do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct AppPolicy {
    /// The calling app.
    #[serde(deserialize_with = "lenient::text")]
    pub app_id: String,
    /// Its namespace.
    #[serde(deserialize_with = "lenient::text")]
    pub namespace: String,
    /// Its trust domain.
    #[serde(deserialize_with = "lenient::text")]
    pub trust_domain: String,
    /// For operations that are not listed; empty for the global default.
    #[serde(deserialize_with = "lenient::text")]
    pub default_action: String,
    /// The operations, in order.
    #[serde(deserialize_with = "lenient::sections")]
    pub operations: Vec<Operation>,
}

/// A rule for the methods that match a pattern.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Operation {
    /// The pattern.
    #[serde(deserialize_with = "lenient::text")]
    pub name: String,
    /// The verbs, for HTTP apps.
    #[serde(deserialize_with = "lenient::texts")]
    pub http_verb: Vec<String>,
    /// `allow`; all else denies.
    #[serde(deserialize_with = "lenient::text")]
    pub action: String,
}

/// Which APIs there are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Api {
    /// Nothing but these.
    #[serde(deserialize_with = "lenient::sections")]
    pub allowed: Vec<ApiRule>,
    /// All but these.
    #[serde(deserialize_with = "lenient::sections")]
    pub denied: Vec<ApiRule>,
}

/// A group of APIs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ApiRule {
    /// The group.
    #[serde(deserialize_with = "lenient::text")]
    pub name: String,
    /// Its version.
    #[serde(deserialize_with = "lenient::text")]
    pub version: String,
    /// `http` or `grpc`.
    #[serde(deserialize_with = "lenient::text")]
    pub protocol: String,
}

/// Takes `defaultAction:` and `trustDomain:` without a value out of a document, so that what is below them stays in
/// force. Were they empty texts, a forgotten value would deny every call.
pub(crate) fn without_empty_scalars(document: &mut Value) {
    if let Some(Value::Object(access)) = document.pointer_mut("/spec/accessControl") {
        access.retain(|name, value| !(value.is_null() && matches!(&**name, "defaultAction" | "trustDomain")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::load;

    fn access(files: &[&str]) -> Option<AccessControl> {
        load(files).unwrap().access_control
    }

    #[test]
    fn policies() {
        let access = access(&["spec:
  accessControl:
    defaultAction: deny
    trustDomain: td
    policies:
    - appId: caller
      namespace: ns
      trustDomain: public
      defaultAction: allow
      unknown: 1
      operations:
      - name: /a/*
        httpVerb: [GET, '*']
        action: deny
      - name: /b
    - appId: 7
"])
        .unwrap();
        assert_eq!(access.default_action.as_deref(), Some("deny"));
        assert_eq!(access.trust_domain, "td");
        let policies = access.policies.unwrap();
        let texts = |policy: &AppPolicy| {
            [
                policy.app_id.clone(),
                policy.namespace.clone(),
                policy.trust_domain.clone(),
                policy.default_action.clone(),
            ]
        };
        assert_eq!(texts(&policies[0]), ["caller", "ns", "public", "allow"]);
        assert_eq!(
            policies[0].operations,
            [
                Operation {
                    name: "/a/*".into(),
                    http_verb: vec!["GET".into(), "*".into()],
                    action: "deny".into(),
                },
                Operation {
                    name: "/b".into(),
                    ..Operation::default()
                },
            ]
        );
        assert_eq!(texts(&policies[1]), ["7", "", "", ""]);
    }

    #[test]
    fn what_is_left_out() {
        let default = Some(AccessControl::default());
        let nobody = Some(AccessControl {
            default_action: Some(String::new()),
            ..AccessControl::default()
        });
        let empty = Some(AccessControl {
            policies: Some(Vec::new()),
            ..AccessControl::default()
        });
        for (text, wanted) in [
            ("", &default),
            ("spec: {}\n", &default),
            ("spec: {accessControl: {}}\n", &default),
            ("spec: {accessControl: null}\n", &None),
            ("spec: {accessControl: {policies: null}}\n", &default),
            ("spec: {accessControl: {policies: []}}\n", &empty),
            ("spec: {accessControl: {defaultAction: ''}}\n", &nobody),
            (
                "spec: {accessControl: {defaultAction: , trustDomain: null}}\n",
                &default,
            ),
        ] {
            assert_eq!(access(&[text]), *wanted, "{text:?}");
        }
        let deny = "spec: {accessControl: {defaultAction: deny}}\n";
        let nothing = "spec: {accessControl: {defaultAction: , policies: []}}\n";
        let layered = access(&[deny, nothing]).unwrap();
        assert_eq!(
            (layered.default_action.as_deref(), layered.policies),
            (Some("deny"), Some(Vec::new()))
        );
    }

    #[test]
    fn lists_are_replaced_as_a_whole_and_variables_are_expanded() {
        let first = "spec: {accessControl: {policies: [{appId: a}, {appId: b}]}}\n";
        let second = "spec: {accessControl: {policies: [{appId: $COMPONENT}]}}\n";
        let policies = access(&[first, second]).unwrap().policies.unwrap();
        assert_eq!(policies.len(), 1);
        assert_eq!(policies[0].app_id, "sqlite");
    }

    #[test]
    fn mistakes_name_file_and_field() {
        for (text, field) in [
            (
                "spec: {accessControl: {policies: [{operations: [{httpVerb: GET}]}]}}\n",
                "httpVerb",
            ),
            (
                "spec: {accessControl: {policies: [{operations: [{httpVerb: [[GET]]}]}]}}\n",
                "httpVerb",
            ),
            ("spec: {accessControl: {policies: {appId: a}}}\n", "policies"),
            ("spec: {accessControl: {policies: [{appId: [a]}]}}\n", "appId"),
            ("spec: {accessControl: [a]}\n", "accessControl"),
            ("spec: {accessControl: {policies: [[a, b, c]]}}\n", "policies"),
            ("spec: {accessControl: deny}\n", "accessControl"),
            ("spec: {api: {allowed: {name: invoke}}}\n", "allowed"),
            ("spec: {api: {allowed: [invoke]}}\n", "allowed"),
            ("spec: {api: {denied: [{version: {}}]}}\n", "version"),
        ] {
            let error = load(&[text]).unwrap_err();
            assert!(
                error.contains("FILE") && error.contains(field),
                "{text:?}: {error}"
            );
        }
    }
}
