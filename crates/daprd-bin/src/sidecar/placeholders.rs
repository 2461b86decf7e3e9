//! What stands for something in the metadata of components: `{namespace}`, `{appID}`, `{podName}`, `{uuid}`. See
//! "Component schema" in Dapr's documentation.

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

use thiserror::Error;
use uuid::{Builder, Uuid};

/// What is put in the place of placeholders.
pub(super) struct Placeholders {
    namespace: String,
    app_id: String,
    /// `POD_NAME`, if it is set.
    pod_name: Option<String>,
}

/// A value names the pod, and there is none.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("failed to parse metadata: property {0} refers to {{podName}} but podName is not set")]
pub(super) struct NoPodName(String);

impl Placeholders {
    pub(super) fn of(namespace: &str, app_id: &str, pod_name: Option<String>) -> Self {
        Self {
            namespace: namespace.to_owned(),
            app_id: app_id.to_owned(),
            pod_name: pod_name.filter(|name| !name.is_empty()),
        }
    }

    /// The value of a property of a component, with placeholders replaced.
    pub(super) fn put_into(&self, component: &str, property: &str, value: &str) -> Result<String, NoPodName> {
        if !value.contains('{') {
            return Ok(value.to_owned());
        }
        let own = format!("{}.{}", self.namespace, self.app_id);
        let mut value = with_ids(component, property, value)
            .replace("{namespace}", &own)
            .replace("{appID}", &self.app_id);
        if value.contains("{podName}") {
            let pod_name = self.pod_name.as_ref();
            value = value.replace(
                "{podName}",
                pod_name.ok_or_else(|| NoPodName(property.to_owned()))?,
            );
        }
        Ok(value)
    }
}

/// Each `{uuid}` as an id of its own.
fn with_ids(component: &str, property: &str, value: &str) -> String {
    let mut pieces = value.split("{uuid}");
    let mut text = pieces.next().unwrap_or_default().to_owned();
    for (index, piece) in pieces.enumerate() {
        text.push_str(&id(&(component, property, index)).to_string());
        text.push_str(piece);
    }
    text
}

/// A random id that stays the same while the process runs: a component must not begin anew with each change of another
/// resource.
fn id(place: &(&str, &str, usize)) -> Uuid {
    static SEEDS: OnceLock<[RandomState; 2]> = OnceLock::new();
    let seeds = SEEDS.get_or_init(Default::default);
    let [high, low] = seeds.each_ref().map(|seed| seed.hash_one(place));
    let bytes = (u128::from(high) << 64 | u128::from(low)).to_be_bytes();
    Builder::from_random_bytes(bytes).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_in_their_place() {
        let all = Placeholders::of("ns", "app", Some("pod-1".to_owned()));
        for (value, wanted) in [
            ("plain", "plain"),
            ("{namespace}/{appID}", "ns.app/app"),
            ("{appID}{appID} {podName}", "appapp pod-1"),
            ("{APPID} {other} {", "{APPID} {other} {"),
        ] {
            assert_eq!(all.put_into("c", "p", value).as_deref(), Ok(wanted));
        }
    }

    #[test]
    fn a_pod_without_a_name() {
        for pod_name in [None, Some(String::new())] {
            let none = Placeholders::of("ns", "app", pod_name);
            assert_eq!(none.put_into("c", "p", "{appID}").as_deref(), Ok("app"));
            let error = none.put_into("c", "p", "a {podName}").unwrap_err();
            assert_eq!(
                error.to_string(),
                "failed to parse metadata: property p refers to {podName} but podName is not set"
            );
        }
    }

    #[test]
    fn ids() {
        let all = Placeholders::of("ns", "app", None);
        let ids = |component, property| {
            let text = all.put_into(component, property, "{uuid} {uuid}").unwrap();
            text.split(' ')
                .map(|id| Uuid::parse_str(id).unwrap())
                .collect::<Vec<_>>()
        };
        let found = ids("c", "p");
        assert_eq!(found[0].get_version_num(), 4);
        assert_ne!(found[0], found[1]);
        assert_eq!(found, ids("c", "p"), "a reload finds the same");
        assert_ne!(found, ids("d", "p"));
        assert_ne!(found, ids("c", "q"));
    }
}
