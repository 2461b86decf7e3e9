//! `static`: the configuration says where the sidecars of each app are.
//!
//! Dapr has no such resolver. It is for a few hosts that do not change, and for tests.

use std::collections::HashMap;
use std::num::NonZeroU32;

use invoke_core::balance::{Endpoint, EndpointWatch, watched};
use invoke_core::error::ResolveError;
use invoke_core::{AppRef, Resolver};
use serde_json::Value;

use crate::fields::{FieldError, Fields};
use crate::instances::ordered;
use crate::registry::InitError;

/// Of each app the addresses.
#[derive(Debug)]
pub(crate) struct Fixed {
    /// By `app` and by `app.namespace`.
    apps: HashMap<String, Vec<Endpoint>>,
}

impl Fixed {
    pub(crate) fn new(configuration: &Value) -> Result<Self, InitError> {
        let fields = Fields::of(configuration).map_err(said)?;
        let apps = fields.object("apps").map_err(said)?;
        let apps = apps.ok_or_else(|| said(fields.refused("apps", "a map of app ids to addresses")))?;
        let names = apps
            .keys()
            .map(|app| Ok((app.to_owned(), endpoints(&apps, app)?)));
        let apps = names.collect::<Result<_, FieldError>>().map_err(said)?;
        Ok(Self { apps })
    }
}

fn said(error: FieldError) -> InitError {
    InitError::Init(error.to_string())
}

/// One address, or a list of them; each a text, or an object with a weight and a zone.
fn endpoints(apps: &Fields<'_>, app: &str) -> Result<Vec<Endpoint>, FieldError> {
    const ADDRESS: &str = "host:port, with an IPv6 address in brackets,";
    let one = |text: &str| is_address(text).then(|| Endpoint::new(text));
    let list = match apps.value(app) {
        Some(Value::Array(list)) => list.iter().collect(),
        Some(value) => vec![value],
        None => Vec::new(),
    };
    let mut endpoints = Vec::new();
    for value in list {
        let endpoint = match value {
            Value::String(text) => one(text).ok_or_else(|| apps.refused(app, ADDRESS))?,
            Value::Object(_) => {
                let fields = apps.inner(app, value)?;
                let endpoint =
                    one(&fields.text("address")?).ok_or_else(|| fields.refused("address", ADDRESS))?;
                let endpoint = match u32::try_from(fields.natural("weight", u32::MAX.into())?) {
                    Ok(weight) => endpoint.with_weight(NonZeroU32::new(weight).unwrap_or(NonZeroU32::MIN)),
                    Err(_) => endpoint,
                };
                match fields.text("zone")? {
                    none if none.is_empty() => endpoint,
                    zone => endpoint.in_zone(zone),
                }
            }
            _ => return Err(apps.refused(app, "an address, an object with an address, or a list of them")),
        };
        endpoints.push(endpoint);
    }
    if endpoints.is_empty() {
        return Err(apps.refused(app, "at least one address"));
    }
    Ok(ordered(endpoints))
}

/// Whether this is `host:port`.
fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else {
        return false;
    };
    let is_host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(bare) => bare.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
            !host.is_empty() && host.bytes().all(is_plain)
        }
    };
    is_host && port.parse::<u16>().is_ok_and(|port| port > 0) && !port.starts_with('+')
}

impl Resolver for Fixed {
    fn watch(&self, app: &AppRef) -> EndpointWatch {
        let (publisher, watch) = watched();
        let (id, namespace) = (app.id.as_str(), app.namespace.as_str());
        // Which apps there are is known, so a name that is made up costs no more than this.
        let found = self
            .apps
            .get(&format!("{id}.{namespace}"))
            .or_else(|| self.apps.get(id));
        match found {
            Some(endpoints) => publisher.publish_final(endpoints.iter().cloned()),
            None => publisher.fail(ResolveError::new(format!(
                "the configuration of name resolution has no addresses of app id {id}"
            ))),
        }
        watch
    }
}

#[cfg(test)]
mod tests {
    use invoke_core::balance::Resolution;
    use serde_json::json;

    use super::*;

    fn found(
        resolver: &Fixed,
        id: &str,
        namespace: &str,
    ) -> Result<Vec<(String, u32, Option<String>)>, String> {
        let watch = resolver.watch(&AppRef::new(id, namespace));
        match watch.now() {
            Resolution::Endpoints(found) => Ok(found
                .iter()
                .map(|one| {
                    (
                        one.address().to_string(),
                        one.weight().get(),
                        one.zone().map(str::to_owned),
                    )
                })
                .collect()),
            Resolution::Failed(error) => Err(error.to_string()),
            Resolution::Pending => panic!("it is known"),
        }
    }

    #[test]
    fn addresses() {
        let resolver = Fixed::new(&json!({"Apps": {
            "one": "10.0.0.1:50002",
            "one.staging": "10.0.0.9:50002",
            "two": ["host.example:1", "host.example:1", {"address": "[::1]:2", "weight": 3, "zone": "z"}],
        }}));
        let resolver = resolver.unwrap();
        let plain = |address: &str| (address.to_owned(), 1, None);
        assert_eq!(
            found(&resolver, "one", "default"),
            Ok(vec![plain("10.0.0.1:50002")])
        );
        assert_eq!(
            found(&resolver, "one", "staging"),
            Ok(vec![plain("10.0.0.9:50002")])
        );
        assert_eq!(
            found(&resolver, "two", "default"),
            Ok(vec![
                ("[::1]:2".to_owned(), 3, Some("z".to_owned())),
                plain("host.example:1"),
            ])
        );
        assert_eq!(
            found(&resolver, "One", "default"),
            Err("the configuration of name resolution has no addresses of app id One".to_owned()),
            "names are compared byte by byte"
        );
    }

    #[test]
    fn mistakes() {
        for (configuration, wanted) in [
            (
                json!(null),
                "configuration.apps: a map of app ids to addresses is wanted, not null",
            ),
            (
                json!({"apps": []}),
                "configuration.apps: an object is wanted, not []",
            ),
            (
                json!({"apps": {"a": []}}),
                "configuration.apps.a: at least one address is wanted, not []",
            ),
            (
                json!({"apps": {"a": null}}),
                "configuration.apps.a: at least one address is wanted, not null",
            ),
            (
                json!({"apps": {"a": 1}}),
                "configuration.apps.a: an address, an object with an address, or a list of them is wanted, not 1",
            ),
            (
                json!({"apps": {"a": {"address": "x:1", "weight": -1}}}),
                "configuration.apps.a.weight: a whole number that is not too large is wanted, not -1",
            ),
        ] {
            assert_eq!(
                Fixed::new(&configuration).map(drop).unwrap_err().to_string(),
                wanted
            );
        }
        for address in [
            "",
            "x",
            "x:",
            ":1",
            "x:0",
            "x:+1",
            "x:70000",
            "::1:1",
            "[x]:1",
            "a b:1",
            "http://x:1",
        ] {
            let wanted = format!(
                "configuration.apps.a: host:port, with an IPv6 address in brackets, is wanted, not \"{address}\""
            );
            let error = Fixed::new(&json!({"apps": {"a": address}}))
                .map(drop)
                .unwrap_err();
            assert_eq!(error.to_string(), wanted);
        }
    }
}
