//! A service as settings describe it, and as Consul's agent takes it
//! ([Register Service](https://developer.hashicorp.com/consul/api-docs/agent/service#register-service)).
//!
//! The names of fields stand in tables: what Dapr knows is passed on, nothing else.

use serde_json::{Map, Value};

use crate::fields::{FieldError, Fields};

/// What a field is.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Text,
    Flag,
    Number,
    Texts,
    TextMap,
    /// Of each name a list of texts: the headers of a request.
    TextsMap,
    /// Anything at all, as it is.
    Any,
    Object(&'static [Field]),
    /// A registration inside of a registration.
    Service,
    Objects(&'static [Field]),
    ObjectMap(&'static [Field]),
}

/// A field: its name in the settings, its name on the wire, and whether its zero is sent, too.
#[derive(Clone, Copy, Debug)]
struct Field(&'static str, &'static str, Kind, Zero);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Zero {
    Left,
    Sent,
}

use Kind::{Any, Flag, Number, Object, ObjectMap, Objects, Service, Text, TextMap, Texts, TextsMap};
use Zero::{Left, Sent};

static CHECK: &[Field] = &[
    Field("checkID", "CheckID", Text, Left),
    Field("name", "Name", Text, Left),
    Field("args", "ScriptArgs", Texts, Left),
    Field("dockerContainerID", "DockerContainerID", Text, Left),
    Field("shell", "Shell", Text, Left),
    Field("interval", "Interval", Text, Left),
    Field("timeout", "Timeout", Text, Left),
    Field("ttl", "TTL", Text, Left),
    Field("http", "HTTP", Text, Left),
    Field("header", "Header", TextsMap, Left),
    Field("method", "Method", Text, Left),
    Field("tcp", "TCP", Text, Left),
    Field("status", "Status", Text, Left),
    Field("notes", "Notes", Text, Left),
    Field("tlsSkipVerify", "TLSSkipVerify", Flag, Left),
    Field("grpc", "GRPC", Text, Left),
    Field("grpcUseTLS", "GRPCUseTLS", Flag, Left),
    Field("aliasNode", "AliasNode", Text, Left),
    Field("aliasService", "AliasService", Text, Left),
    Field(
        "deregisterCriticalServiceAfter",
        "DeregisterCriticalServiceAfter",
        Text,
        Left,
    ),
];

static ADDRESS: &[Field] = &[
    Field("address", "Address", Text, Sent),
    Field("port", "Port", Number, Sent),
];

static WEIGHTS: &[Field] = &[
    Field("passing", "Passing", Number, Sent),
    Field("warning", "Warning", Number, Sent),
];

static MESH_GATEWAY: &[Field] = &[Field("mode", "Mode", Text, Left)];

static EXPOSED_PATH: &[Field] = &[
    Field("listenerPort", "ListenerPort", Number, Left),
    Field("path", "Path", Text, Left),
    Field("localPathPort", "LocalPathPort", Number, Left),
    Field("protocol", "Protocol", Text, Left),
    Field("parsedFromCheck", "ParsedFromCheck", Flag, Sent),
];

static EXPOSED: &[Field] = &[
    Field("checks", "Checks", Flag, Left),
    Field("paths", "Paths", Objects(EXPOSED_PATH), Left),
];

static UPSTREAM: &[Field] = &[
    Field("destinationType", "DestinationType", Text, Left),
    Field("destinationNamespace", "DestinationNamespace", Text, Left),
    Field("destinationName", "DestinationName", Text, Sent),
    Field("datacenter", "Datacenter", Text, Left),
    Field("localBindAddress", "LocalBindAddress", Text, Left),
    Field("localBindPort", "LocalBindPort", Number, Left),
    Field("config", "Config", Any, Left),
    Field("meshGateway", "MeshGateway", Object(MESH_GATEWAY), Left),
];

static PROXY: &[Field] = &[
    Field("destinationServiceName", "DestinationServiceName", Text, Left),
    Field("destinationServiceID", "DestinationServiceID", Text, Left),
    Field("localServiceAddress", "LocalServiceAddress", Text, Left),
    Field("localServicePort", "LocalServicePort", Number, Left),
    Field("config", "Config", Any, Left),
    Field("upstreams", "Upstreams", Objects(UPSTREAM), Left),
    Field("meshGateway", "MeshGateway", Object(MESH_GATEWAY), Left),
    Field("expose", "Expose", Object(EXPOSED), Left),
];

static CONNECT: &[Field] = &[
    Field("native", "Native", Flag, Left),
    Field("sidecarService", "SidecarService", Service, Left),
];

static SERVICE: &[Field] = &[
    Field("kind", "Kind", Text, Left),
    Field("id", "ID", Text, Left),
    Field("name", "Name", Text, Left),
    Field("tags", "Tags", Texts, Left),
    Field("port", "Port", Number, Left),
    Field("address", "Address", Text, Left),
    Field("taggedAddresses", "TaggedAddresses", ObjectMap(ADDRESS), Left),
    Field("enableTagOverride", "EnableTagOverride", Flag, Left),
    Field("meta", "Meta", TextMap, Left),
    Field("weights", "Weights", Object(WEIGHTS), Left),
    Field("check", "Check", Object(CHECK), Sent),
    Field("checks", "Checks", Objects(CHECK), Sent),
    Field("proxy", "Proxy", Object(PROXY), Left),
    Field("connect", "Connect", Object(CONNECT), Left),
];

/// A registration that the settings give as a whole.
pub(super) fn service(fields: &Fields<'_>) -> Result<Map<String, Value>, FieldError> {
    object(fields, SERVICE)
}

/// The checks of a registration that is made here.
pub(super) fn checks(settings: &Fields<'_>) -> Result<Vec<Value>, FieldError> {
    let checks = settings.objects("checks")?;
    checks
        .iter()
        .map(|check| Ok(Value::Object(object(check, CHECK)?)))
        .collect()
}

fn object(fields: &Fields<'_>, known: &[Field]) -> Result<Map<String, Value>, FieldError> {
    let mut map = Map::new();
    for Field(name, wire, kind, zero) in known {
        let (value, is_zero) = value(fields, name, *kind)?;
        if !is_zero || *zero == Sent {
            map.insert((*wire).to_owned(), value);
        }
    }
    Ok(map)
}

/// A value, and whether it is the zero of its kind.
fn value(fields: &Fields<'_>, name: &str, kind: Kind) -> Result<(Value, bool), FieldError> {
    Ok(match kind {
        Text => {
            let text = fields.text(name)?;
            let is_zero = text.is_empty();
            (text.into(), is_zero)
        }
        Flag => {
            let flag = fields.flag(name)?;
            (flag.into(), !flag)
        }
        Number => {
            let number = fields.number(name)?;
            (number.into(), number == 0)
        }
        Texts => listed(fields.texts(name)?.into_iter().map(Value::from).collect()),
        TextMap => mapped(
            fields
                .text_map(name)?
                .into_iter()
                .map(|(key, text)| (key, text.into()))
                .collect(),
        ),
        TextsMap => {
            let Some(inner) = fields.object(name)? else {
                return Ok((Value::Null, true));
            };
            let lists = inner
                .keys()
                .map(|key| Ok((key.to_owned(), inner.texts(key)?.into())));
            mapped(lists.collect::<Result<_, FieldError>>()?)
        }
        Any => match fields.value(name) {
            None => (Value::Null, true),
            Some(value) => (value.clone(), false),
        },
        Object(known) => one(fields, name, known)?,
        Service => one(fields, name, SERVICE)?,
        Objects(known) => {
            let items = fields.objects(name)?;
            let items = items.iter().map(|item| Ok(Value::Object(object(item, known)?)));
            listed(items.collect::<Result<_, FieldError>>()?)
        }
        ObjectMap(known) => {
            let items = fields.object_map(name)?;
            let items = items
                .iter()
                .map(|(key, item)| Ok(((*key).to_owned(), object(item, known)?.into())));
            mapped(items.collect::<Result<_, FieldError>>()?)
        }
    })
}

fn one(fields: &Fields<'_>, name: &str, known: &[Field]) -> Result<(Value, bool), FieldError> {
    Ok(match fields.object(name)? {
        None => (Value::Null, true),
        Some(inner) => (object(&inner, known)?.into(), false),
    })
}

/// A list, which Go sends as `null` when there is none.
fn listed(list: Vec<Value>) -> (Value, bool) {
    if list.is_empty() {
        (Value::Null, true)
    } else {
        (Value::Array(list), false)
    }
}

fn mapped(map: Map<String, Value>) -> (Value, bool) {
    let is_zero = map.is_empty();
    (Value::Object(map), is_zero)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sent(settings: Value) -> Result<Value, String> {
        let fields = Fields::of(&settings).map_err(|error| error.to_string())?;
        service(&fields)
            .map(Value::Object)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn what_dapr_sends_of_an_advanced_registration() {
        let settings = json!({
            "ID": "id", "name": "app", "port": 3000, "unknown": 1,
            "taggedAddresses": {"lan": {"address": "10.0.0.1", "port": 1}},
            "meta": {"A": "b"},
            "weights": {"passing": 10},
            "check": {"checkID": "c", "args": ["x"], "header": {"H": ["1", "2"]}, "grpcUseTLS": true},
            "proxy": {"upstreams": [{"destinationName": "d", "config": {"any": [1]}}], "expose": {"paths": [{"path": "/m"}]}},
            "connect": {"sidecarService": {"port": 21000}},
        });
        let wanted = json!({
            "ID": "id", "Name": "app", "Port": 3000,
            "TaggedAddresses": {"lan": {"Address": "10.0.0.1", "Port": 1}},
            "Meta": {"A": "b"},
            "Weights": {"Passing": 10, "Warning": 0},
            "Check": {"CheckID": "c", "ScriptArgs": ["x"], "Header": {"H": ["1", "2"]}, "GRPCUseTLS": true},
            "Checks": null,
            "Proxy": {
                "Upstreams": [{"DestinationName": "d", "Config": {"any": [1]}}],
                "Expose": {"Paths": [{"Path": "/m", "ParsedFromCheck": false}]},
            },
            "Connect": {"SidecarService": {"Port": 21000, "Check": null, "Checks": null}},
        });
        assert_eq!(sent(settings), Ok(wanted));
    }

    #[test]
    fn mistakes_name_their_place() {
        let error = sent(json!({"check": {"header": {"H": "1"}}})).unwrap_err();
        assert!(
            error.ends_with("configuration.check.header.H: a list of texts is wanted, not \"1\""),
            "{error}"
        );
    }
}
