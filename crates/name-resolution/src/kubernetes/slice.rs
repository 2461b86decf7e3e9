//! What the API of a cluster says of the pods of a service
//! ([EndpointSlice](https://kubernetes.io/docs/reference/kubernetes-api/service-resources/endpoint-slice-v1/)).

use std::collections::BTreeMap;
use std::net::IpAddr;

use invoke_core::balance::Endpoint;
use serde::Deserialize;

use crate::instances::{INSTANCES, bounded};
use crate::nullable::or_nothing;

/// By this name Dapr's operator calls the port that sidecars call.
const PORT: &str = "dapr-internal";
/// How many pods the slices of one service may have, each slice counting for one more: twice as many as are called, for
/// those that are not ready, and that for both families of addresses.
const MOST_PODS: usize = 4 * INSTANCES;

/// All slices of a service, and from where on changes are to be told.
#[derive(Debug, Deserialize)]
pub(super) struct List {
    #[serde(default)]
    pub(super) metadata: Metadata,
    #[serde(default, deserialize_with = "or_nothing")]
    pub(super) items: Vec<Slice>,
}

/// A change
/// ([watch](https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes)).
#[derive(Debug, Deserialize)]
pub(super) struct Event {
    #[serde(rename = "type")]
    pub(super) kind: String,
    /// A slice, or a status when the kind is `ERROR`.
    pub(super) object: Slice,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Metadata {
    #[serde(deserialize_with = "or_nothing")]
    pub(super) name: String,
    #[serde(deserialize_with = "or_nothing")]
    pub(super) resource_version: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Slice {
    #[serde(deserialize_with = "or_nothing")]
    pub(super) metadata: Metadata,
    #[serde(deserialize_with = "or_nothing")]
    address_type: String,
    #[serde(deserialize_with = "or_nothing")]
    endpoints: Vec<Pod>,
    #[serde(deserialize_with = "or_nothing")]
    ports: Vec<Port>,
    /// Of a status.
    pub(super) code: Option<u16>,
    pub(super) message: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Pod {
    #[serde(deserialize_with = "or_nothing")]
    addresses: Vec<String>,
    #[serde(deserialize_with = "or_nothing")]
    conditions: Conditions,
    zone: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Conditions {
    /// What is not said means yes.
    ready: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Port {
    name: Option<String>,
    port: Option<u16>,
}

/// The slices of one service, by their names.
#[derive(Debug, Default)]
pub(super) struct Slices(BTreeMap<String, Slice>);

impl Slices {
    pub(super) fn of(items: Vec<Slice>) -> Self {
        let mut slices = Self::default();
        let mut pods = 0;
        for slice in items {
            pods += slice.weight();
            if pods > MOST_PODS {
                break;
            }
            slices.0.insert(slice.metadata.name.clone(), slice);
        }
        slices
    }

    /// A slice for which there is no room is not kept: nobody would call its pods.
    pub(super) fn set(&mut self, slice: Slice) {
        self.0.remove(&slice.metadata.name);
        let pods: usize = self.0.values().map(Slice::weight).sum();
        if pods + slice.weight() <= MOST_PODS {
            self.0.insert(slice.metadata.name.clone(), slice);
        }
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// The pods that are ready. A service that does not name the port of sidecars has `port`.
    pub(super) fn endpoints(&self, port: u16) -> Vec<Endpoint> {
        bounded(self.0.values().flat_map(|slice| slice.endpoints(port)).collect())
    }
}

impl Slice {
    /// What it counts for in [`MOST_PODS`]. One without pods takes memory, too.
    fn weight(&self) -> usize {
        self.endpoints.len() + 1
    }

    fn endpoints(&self, usual: u16) -> impl Iterator<Item = Endpoint> {
        let is_named = |port: &&Port| port.name.as_deref() == Some(PORT);
        let named = self.ports.iter().find(is_named).and_then(|port| port.port);
        let port = named.filter(|port| *port > 0).unwrap_or(usual);
        let is_address = matches!(self.address_type.as_str(), "IPv4" | "IPv6");
        let pods = self.endpoints.iter().filter(move |_| is_address);
        let ready = pods.filter(|pod| pod.conditions.ready != Some(false));
        ready.filter_map(move |pod| {
            // The others are the same pod.
            let address: IpAddr = pod.addresses.first()?.parse().ok()?;
            let endpoint = Endpoint::new(std::net::SocketAddr::new(address, port).to_string());
            Some(match pod.zone.as_deref() {
                None | Some("") => endpoint,
                Some(zone) => endpoint.in_zone(zone),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn found(slice: &Value) -> Vec<(String, Option<String>)> {
        let slice: Slice = serde_json::from_str(&slice.to_string()).unwrap();
        let endpoints = Slices::of(vec![slice]).endpoints(50002);
        let shown = endpoints
            .iter()
            .map(|one| (one.address().to_string(), one.zone().map(str::to_owned)));
        shown.collect()
    }

    #[test]
    fn pods() {
        let slice = json!({
            "metadata": {"name": "s", "resourceVersion": "1", "labels": {}},
            "addressType": "IPv4",
            "endpoints": [
                {"addresses": ["10.0.0.2"], "conditions": {"ready": true}, "zone": "eu-1"},
                {"addresses": ["10.0.0.1"], "conditions": {"ready": null}},
                {"addresses": ["10.0.0.1", "10.0.0.9"]},
                {"addresses": ["10.0.0.3"], "conditions": {"ready": false, "serving": true, "terminating": true}},
                {"addresses": []},
                {"addresses": ["nonsense"]},
                {"addresses": null, "conditions": null},
            ],
            "ports": [{"name": "dapr-http", "port": 3500}, {"name": "dapr-internal", "port": 50007}, {"name": null}],
        });
        let zone = Some("eu-1".to_owned());
        assert_eq!(
            found(&slice),
            [
                ("10.0.0.1:50007".to_owned(), None),
                ("10.0.0.2:50007".to_owned(), zone)
            ]
        );
        for (changed, wanted) in [
            (
                json!({"addressType": "IPv6", "endpoints": [{"addresses": ["::1"]}]}),
                vec!["[::1]:50002"],
            ),
            (
                json!({"addressType": "FQDN", "endpoints": [{"addresses": ["10.0.0.1"]}]}),
                vec![],
            ),
            (json!({"endpoints": [{"addresses": ["10.0.0.1"]}]}), vec![]),
            (json!({}), vec![]),
        ] {
            let addresses: Vec<String> = found(&changed).into_iter().map(|(address, _)| address).collect();
            assert_eq!(addresses, wanted, "{changed}");
        }
    }

    #[test]
    fn slices_come_and_go() {
        let slice = |name: &str, address: &str| {
            let text = json!({"metadata": {"name": name}, "addressType": "IPv4", "endpoints": [{"addresses": [address]}]});
            serde_json::from_value::<Slice>(text).unwrap()
        };
        let mut slices = Slices::of(vec![slice("a", "10.0.0.1"), slice("b", "10.0.0.2")]);
        slices.set(slice("a", "10.0.0.3"));
        slices.remove("b");
        slices.remove("c");
        assert_eq!(slices.endpoints(1), [Endpoint::new("10.0.0.3:1")]);
    }

    #[test]
    fn slices_for_which_there_is_no_room_are_not_kept() {
        let slice = |name: usize, pods: usize| {
            let pods: Vec<Value> = (0..pods).map(|_| json!({})).collect();
            let text = json!({"metadata": {"name": name.to_string()}, "endpoints": pods});
            serde_json::from_value::<Slice>(text).unwrap()
        };
        let most = MOST_PODS / 1024;
        let mut slices = Slices::of((0..2 * most).map(|name| slice(name, 1023)).collect());
        assert_eq!(slices.0.len(), most);
        slices.set(slice(most, 0));
        assert_eq!(slices.0.len(), most, "there is no room for an empty one");
        slices.set(slice(0, 1022));
        slices.set(slice(most, 0));
        assert_eq!(slices.0.len(), most + 1, "another one became shorter");
        slices.set(slice(most, 1));
        assert_eq!(slices.0.len(), most, "it grew beyond the bound");
    }
}
