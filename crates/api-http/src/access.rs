//! Which routes there are: `spec.api` for HTTP.

use api_core::{ApiLists, ApiRule};

use crate::out_of_scope;

const INVOKE: (&str, &str) = ("v1.0", "invoke/*");
const METADATA: (&str, &str) = ("v1.0", "metadata");
const SET_METADATA: (&str, &str) = ("v1.0", "metadata/{key}");
const SHUTDOWN: (&str, &str) = ("v1.0", "shutdown");

/// The routes that the lists leave. Health is always there.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "one for each route")]
pub(crate) struct Access {
    keys: Keys,
    pub(crate) invoke: bool,
    pub(crate) metadata: bool,
    pub(crate) set_metadata: bool,
    pub(crate) shutdown: bool,
}

/// The rules as Dapr compares them: version, slash, name.
#[derive(Clone, Debug, Default)]
struct Keys {
    /// `None` if all are allowed that are not denied.
    allowed: Option<Vec<String>>,
    denied: Vec<String>,
}

impl Access {
    pub(crate) fn new(lists: &ApiLists) -> Self {
        let keys = |rules: &[ApiRule]| -> Vec<String> {
            rules.iter().filter(|rule| rule.is_http()).map(key).collect()
        };
        let keys = Keys {
            allowed: Some(keys(&lists.allowed)).filter(|allowed| !allowed.is_empty()),
            denied: keys(&lists.denied),
        };
        Self {
            invoke: keys.allow(INVOKE),
            metadata: keys.allow(METADATA),
            set_metadata: keys.allow(SET_METADATA),
            shutdown: keys.allow(SHUTDOWN),
            keys,
        }
    }

    /// Whether a route of another building block is there.
    pub(crate) fn has(&self, version: &str, route: &str) -> bool {
        self.keys.allow((version, route))
    }
}

impl Keys {
    fn allow(&self, endpoint: (&str, &str)) -> bool {
        let listed = |keys: &[String]| keys.iter().any(|key| names(key, endpoint));
        !listed(&self.denied) && self.allowed.as_deref().is_none_or(listed)
    }
}

fn key(rule: &ApiRule) -> String {
    format!("{}/{}", rule.version, rule.name)
}

/// Whether a key names an endpoint: by its group (`v1/metadata`), or, as in former times, by what its path begins with
/// (`v1.0/metadata`, but also `v1.0/m`).
fn names(key: &str, (version, route): (&str, &str)) -> bool {
    let name = route.split('/').next().unwrap_or_default();
    let group = (group_version(version), name);
    key.split_once('/') == Some(group)
        || key
            .strip_prefix(version)
            .and_then(|rest| rest.strip_prefix('/'))
            .is_some_and(|begin| route.starts_with(begin))
}

fn group_version(version: &str) -> &str {
    match version {
        "v1.0" => "v1",
        "v1.0-alpha1" => "v1alpha1",
        "v1.0-alpha2" => "v1alpha2",
        "v1.0-beta1" => "v1beta1",
        other => other,
    }
}

/// The rules for HTTP that name no route, with the name of their list.
pub fn unknown_apis(lists: &ApiLists) -> impl Iterator<Item = (&'static str, &ApiRule)> {
    lists.rules().filter(|(_, rule)| {
        let key = key(rule);
        let own = [INVOKE, METADATA, SET_METADATA, SHUTDOWN, ("v1.0", "healthz")];
        let mut all = own.into_iter().chain(out_of_scope::endpoints());
        rule.is_http() && !all.any(|endpoint| names(&key, endpoint))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(keys: &[&str]) -> Vec<ApiRule> {
        let rule = |key: &&str| {
            let (version, name) = key.split_once('/').unwrap();
            ApiRule {
                name: name.into(),
                version: version.into(),
                protocol: "http".into(),
            }
        };
        keys.iter().map(rule).collect()
    }

    /// Which of invoke, metadata, setting it, shutdown, a state route and an alpha one are there.
    fn left(allowed: &[&str], denied: &[&str]) -> String {
        let access = Access::new(&ApiLists {
            allowed: rules(allowed),
            denied: rules(denied),
        });
        let left = [
            (access.invoke, 'i'),
            (access.metadata, 'm'),
            (access.set_metadata, 'M'),
            (access.shutdown, 's'),
            (access.has("v1.0", "state/{n}/*"), 'S'),
            (access.has("v1.0-alpha1", "crypto/{n}/encrypt"), 'c'),
        ];
        left.iter()
            .filter(|(is_left, _)| *is_left)
            .map(|(_, name)| *name)
            .collect()
    }

    #[test]
    fn lists() {
        for (allowed, denied, wanted) in [
            (&[][..], &[][..], "imMsSc"),
            (&["v1/invoke"], &[], "i"),
            (&["v1.0/invoke"], &[], "i"),
            (&["v1/metadata", "v1/shutdown"], &[], "mMs"),
            (&["v1.0/metadata/"], &[], "M"),
            (&["v1/Invoke"], &[], ""),
            (&["v2/invoke"], &[], ""),
            (&["v1/nosuch"], &[], ""),
            (&["v1/"], &[], ""),
            (&["v1.0/"], &[], "imMsS"),
            (&["v1.0-alpha1/crypto", "v1/state"], &[], "Sc"),
            (&["v1alpha1/crypto"], &[], "c"),
            (&[], &["v1/invoke"], "mMsSc"),
            (&[], &["v1.0/m"], "isSc"),
            (&[], &["v1/m"], "imMsSc"),
            (&[], &["v1.0/s"], "imMc"),
            (&["v1/invoke", "v1/metadata"], &["v1/metadata"], "i"),
        ] {
            assert_eq!(left(allowed, denied), wanted, "{allowed:?} {denied:?}");
        }
    }

    #[test]
    fn rules_for_grpc_mean_nothing_here() {
        let mut lists = ApiLists {
            allowed: rules(&["v1/shutdown"]),
            denied: rules(&["v1/invoke"]),
        };
        for rule in lists.allowed.iter_mut().chain(&mut lists.denied) {
            rule.protocol = "grpc".into();
        }
        let access = Access::new(&lists);
        assert!(access.invoke && access.metadata);
        assert_eq!(unknown_apis(&lists).count(), 0);
    }

    #[test]
    fn rules_that_name_nothing() {
        let known = [
            "v1/invoke",
            "v1.0/m",
            "v1/healthz",
            "v1/jobs",
            "v1.0-beta1/workflows",
            "v1alpha2/conversation",
        ];
        let lists = ApiLists {
            allowed: rules(&known),
            denied: rules(&["v1/nosuch", "v1.0-alpha1/state/{n}/x"]),
        };
        let unknown: Vec<_> = unknown_apis(&lists)
            .map(|(list, rule)| (list, &*rule.name))
            .collect();
        assert_eq!(unknown, [("denied", "nosuch"), ("denied", "state/{n}/x")]);
    }
}
