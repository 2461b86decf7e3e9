//! What the agent says of the instances of a service
//! ([List Service Instances](https://developer.hashicorp.com/consul/api-docs/health#list-service-instances-for-service)).

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;

use http::HeaderMap;
use invoke_core::balance::Endpoint;
use serde::Deserialize;
use thiserror::Error;

use crate::instances::bounded;
use crate::nullable::or_nothing;

/// Why an answer has no sidecars, in the words of Dapr.
#[derive(Debug, Error)]
pub(super) enum NoEndpoints {
    /// There are none of which something can be made, and the answer can be believed.
    #[error("{0}")]
    Nobody(String),
    /// It is no answer, which is no news of the app.
    #[error("failed to query healthy consul services: {0}")]
    Unreadable(#[from] serde_json::Error),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    #[serde(default, deserialize_with = "or_nothing")]
    node: Node,
    #[serde(default, deserialize_with = "or_nothing")]
    service: Service,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Node {
    #[serde(deserialize_with = "or_nothing")]
    address: String,
    locality: Option<Locality>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Service {
    #[serde(deserialize_with = "or_nothing")]
    address: String,
    #[serde(deserialize_with = "or_nothing")]
    meta: HashMap<String, String>,
    weights: Option<Weights>,
    locality: Option<Locality>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Weights {
    passing: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Locality {
    zone: String,
}

/// The sidecars of an app by an answer.
pub(super) fn endpoints(app_id: &str, port_key: &str, body: &[u8]) -> Result<Vec<Endpoint>, NoEndpoints> {
    let entries: Option<Vec<Entry>> = serde_json::from_slice(body)?;
    let mut unusable = format!("no healthy services found with AppID '{app_id}'");
    let mut endpoints = Vec::new();
    for entry in entries.unwrap_or_default() {
        match entry.endpoint(app_id, port_key) {
            Ok(endpoint) => endpoints.push(endpoint),
            Err(text) => unusable = text,
        }
    }
    if endpoints.is_empty() {
        return Err(NoEndpoints::Nobody(unusable));
    }
    Ok(bounded(endpoints))
}

impl Entry {
    fn endpoint(self, app_id: &str, port_key: &str) -> Result<Endpoint, String> {
        let Service {
            address,
            meta,
            weights,
            locality,
        } = self.service;
        let port = meta.get(port_key).map(String::as_str).unwrap_or_default();
        if port.is_empty() {
            return Err(format!(
                "target service AppID '{app_id}' found but {port_key} missing from meta"
            ));
        }
        if port.parse::<u16>().is_ok_and(|port| port > 0) {
            let host = if address.is_empty() {
                &self.node.address
            } else {
                &address
            };
            if host.is_empty() {
                return Err(format!("no healthy services found with AppID '{app_id}'"));
            }
            let address =
                host_of(host).ok_or_else(|| format!("invalid ip address or unreachable hostname: {host}"))?;
            let mut endpoint = Endpoint::new(format!("{address}:{port}"));
            let weight = weights.map_or(1, |weights| weights.passing.clamp(1, u32::MAX.into()));
            if let Some(weight) = u32::try_from(weight).ok().and_then(NonZeroU32::new) {
                endpoint = endpoint.with_weight(weight);
            }
            let zone = locality.or(self.node.locality).map(|locality| locality.zone);
            return Ok(match zone {
                Some(zone) if !zone.is_empty() => endpoint.in_zone(zone),
                _ => endpoint,
            });
        }
        Err(format!(
            "target service AppID '{app_id}' found but {port_key} in meta is no port: {port:?}"
        ))
    }
}

/// A host as it stands in front of a colon and a port; nothing for what can be no host. Names are looked up when a
/// connection is made.
fn host_of(host: &str) -> Option<String> {
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host);
    match bare.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => Some(format!("[{address}]")),
        Ok(IpAddr::V4(address)) => Some(address.to_string()),
        Err(_) => {
            let is_name = host
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
            (is_name && host.len() <= 253).then(|| host.to_owned())
        }
    }
}

/// The index of an answer, for the next query; zero when there is none.
pub(super) fn index(headers: &HeaderMap) -> u64 {
    let text = headers
        .get("x-consul-index")
        .and_then(|index| index.to_str().ok());
    text.and_then(|text| text.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(body: &Value) -> Result<Vec<Endpoint>, String> {
        let found = endpoints("a", "DAPR_PORT", body.to_string().as_bytes());
        found.map_err(|error| error.to_string())
    }

    fn one(address: &str, node: &str, port: &str) -> Value {
        json!({
            "Node": {"Address": node, "Meta": null},
            "Service": {"ID": "x", "Service": "a", "Address": address, "Meta": {"DAPR_PORT": port}, "Port": 1},
            "Checks": [],
        })
    }

    #[test]
    fn addresses() {
        for (entry, wanted) in [
            (one("10.0.0.1", "10.0.0.9", "50002"), "10.0.0.1:50002"),
            (one("", "10.0.0.9", "50002"), "10.0.0.9:50002"),
            (one("2001:db8::1", "", "1"), "[2001:db8::1]:1"),
            (one("[::1]", "", "1"), "[::1]:1"),
            (one("host.example", "", "1"), "host.example:1"),
        ] {
            assert_eq!(&**of(&json!([entry])).unwrap()[0].address(), wanted);
        }
    }

    #[test]
    fn weights_and_zones() {
        let mut entry = one("10.0.0.1", "", "1");
        entry["Service"]["Weights"] = json!({"Passing": 7, "Warning": 1});
        entry["Node"]["Locality"] = json!({"Region": "r", "Zone": "z"});
        let found = of(&json!([entry])).unwrap();
        assert_eq!((found[0].weight().get(), found[0].zone()), (7, Some("z")));
        entry["Service"]["Weights"]["Passing"] = json!(-1);
        assert_eq!(of(&json!([entry])).unwrap()[0].weight().get(), 1);
    }

    #[test]
    fn what_is_unusable_is_left_out_while_there_is_something_else() {
        let good = one("10.0.0.1", "", "1");
        for bad in [
            one("10.0.0.2", "", ""),
            one("10.0.0.2", "", "http"),
            one("a b", "", "1"),
            one("", "", "1"),
            json!({}),
        ] {
            assert_eq!(
                of(&json!([bad, good, good])).unwrap(),
                [Endpoint::new("10.0.0.1:1")],
                "{bad}"
            );
        }
        for (entries, wanted) in [
            (json!([]), "no healthy services found with AppID 'a'"),
            (json!(null), "no healthy services found with AppID 'a'"),
            (
                json!([one("", "", "1")]),
                "no healthy services found with AppID 'a'",
            ),
            (
                json!([one("x", "", "")]),
                "target service AppID 'a' found but DAPR_PORT missing from meta",
            ),
            (
                json!([{"Service": null}]),
                "target service AppID 'a' found but DAPR_PORT missing from meta",
            ),
            (
                json!([one("a b", "", "1")]),
                "invalid ip address or unreachable hostname: a b",
            ),
            (
                json!([one("x", "", "0")]),
                "target service AppID 'a' found but DAPR_PORT in meta is no port: \"0\"",
            ),
            (
                json!({"a": 1}),
                "failed to query healthy consul services: invalid type: map, expected a sequence at line 1 column 0",
            ),
        ] {
            assert_eq!(of(&entries), Err(wanted.to_owned()));
        }
        let cut = endpoints("a", "DAPR_PORT", b"[{\"Node\":");
        assert!(matches!(cut, Err(NoEndpoints::Unreadable(error)) if error.is_eof()));
        // An app id may be any text: it does not decide what kind of failure this is.
        let nobody = endpoints(
            "failed to query",
            "failed to query healthy consul services",
            b"[{}]",
        );
        assert!(matches!(nobody, Err(NoEndpoints::Nobody(_))));
    }

    #[test]
    fn indices() {
        for (text, wanted) in [
            ("7", 7),
            ("", 0),
            ("-1", 0),
            ("x", 0),
            ("18446744073709551616", 0),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("x-consul-index", text.parse().unwrap());
            assert_eq!(index(&headers), wanted, "{text}");
        }
        assert_eq!(index(&HeaderMap::new()), 0);
    }
}
