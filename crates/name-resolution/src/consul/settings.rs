//! The `configuration` of the resolver, checked. Fields and defaults are those of Dapr's
//! [Consul resolver](https://docs.dapr.io/reference/supported-name-resolution/setup-nr-consul/).

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};

use super::registration;
use crate::fields::{FieldError, Fields};
use crate::registry::{Instance, Means};

/// What stands in a query as it is (RFC 3986, section 2.3).
pub(super) const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// How long a query waits for a change unless the settings say otherwise.
const WAIT: Duration = Duration::from_secs(60);
/// The longest wait that Consul knows
/// ([Blocking Queries](https://developer.hashicorp.com/consul/api-docs/features/blocking)).
const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// The settings, checked.
#[derive(Clone, Debug)]
pub(super) struct ConsulSettings {
    pub(super) client: ClientSettings,
    /// Of each query for instances.
    pub(super) query: Query,
    pub(super) registration: Option<Registration>,
    /// Where in the metadata of a service the port of its sidecar stands.
    pub(super) port_key: String,
    /// Whether the registration is withdrawn at the end.
    pub(super) deregisters: bool,
}

/// How the agent is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ClientSettings {
    /// `host:port`, `http://…`, `https://…` or `unix://…`.
    pub(super) address: String,
    pub(super) scheme: String,
    /// How long a query waits for a change; zero if that is not said.
    pub(super) wait: Duration,
    /// What stands in every query: the datacenter, the namespace, the partition.
    pub(super) parameters: Vec<(&'static str, String)>,
    /// `Basic …`.
    pub(super) authorization: Option<String>,
    pub(super) token: String,
    pub(super) token_file: String,
    pub(super) tls: TlsSettings,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TlsSettings {
    /// The name that the certificate of the agent must have, perhaps with a port.
    pub(super) name: String,
    pub(super) ca_file: String,
    pub(super) ca_path: String,
    pub(super) certificate_file: String,
    pub(super) key_file: String,
    pub(super) trusts_anyone: bool,
}

/// What stands in a query for instances, but for the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Query {
    /// Encoded, without a `wait`.
    pub(super) parameters: String,
    /// How long the agent waits for a change.
    pub(super) wait: Duration,
    pub(super) token: String,
    /// The header `Cache-Control`.
    pub(super) caching: String,
}

/// This sidecar, as the agent is told of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Registration {
    /// By this it is withdrawn.
    pub(super) id: String,
    pub(super) name: String,
    pub(super) body: Value,
}

/// Dapr decodes all of it at once.
fn said(error: FieldError) -> String {
    format!("error deserializing to configSpec: {error}")
}

impl ConsulSettings {
    pub(super) fn of(configuration: &Value, instance: &Instance, means: &Means) -> Result<Self, String> {
        if instance.internal_port == 0 {
            return Err("metadata property missing: DAPR_PORT".to_owned());
        }
        let fields = Fields::of(configuration).map_err(said)?;
        Self::read(&fields, instance, means)
    }

    fn read(fields: &Fields<'_>, instance: &Instance, means: &Means) -> Result<Self, String> {
        let port_key = match fields.value("daprPortMetaKey") {
            None => "DAPR_PORT".to_owned(),
            Some(_) => fields.text("daprPortMetaKey").map_err(said)?,
        };
        let client =
            ClientSettings::of(fields.object("client").map_err(said)?.as_ref(), means).map_err(said)?;
        let options = fields.object("queryOptions").map_err(said)?;
        let query = Query::of(options.as_ref(), client.wait).map_err(said)?;
        let registration = registration_of(fields, instance, &port_key)?;
        // What is not used must be readable all the same, as in Dapr.
        fields.flag("useCache").map_err(said)?;
        Ok(Self {
            client,
            query,
            registration,
            port_key,
            deregisters: fields.flag("selfDeregister").map_err(said)?,
        })
    }
}

impl ClientSettings {
    /// What is empty is taken from the environment, as the agent's own tools do
    /// ([Environment Variables](https://developer.hashicorp.com/consul/commands#environment-variables)).
    fn of(fields: Option<&Fields<'_>>, means: &Means) -> Result<Self, FieldError> {
        let nothing = Value::Null;
        let none = Fields::of(&nothing)?;
        let given = fields.unwrap_or(&none);
        let or = |text: String, name: &str, default: &str| {
            let given = Some(text).filter(|text| !text.is_empty());
            given
                .or_else(|| means.variable(name))
                .unwrap_or_else(|| default.to_owned())
        };
        let says = |name: &str| means.variable(name).and_then(|text| go_bool(&text));
        let scheme = if says("CONSUL_HTTP_SSL") == Some(true) {
            "https"
        } else {
            "http"
        };
        let tls = given.object("tlsConfig")?;
        let tls = tls.as_ref().unwrap_or(&none);
        let mut parameters = Vec::new();
        let mut set = |name, value: String| {
            if !value.is_empty() {
                parameters.push((name, value));
            }
        };
        set("dc", given.text("datacenter")?);
        set("ns", or(String::new(), "CONSUL_NAMESPACE", ""));
        set("partition", or(String::new(), "CONSUL_PARTITION", ""));
        let (own_token, own_file) = (given.text("token")?, given.text("tokenFile")?);
        let variable = |name: &str| means.variable(name).unwrap_or_default();
        let (token, token_file) = if !own_file.is_empty() || !own_token.is_empty() {
            (own_token, own_file)
        } else {
            (variable("CONSUL_HTTP_TOKEN"), variable("CONSUL_HTTP_TOKEN_FILE"))
        };
        Ok(Self {
            address: or(given.text("address")?, "CONSUL_HTTP_ADDR", "127.0.0.1:8500"),
            scheme: match given.text("scheme")? {
                none if none.is_empty() => scheme.to_owned(),
                given => given,
            },
            wait: given.duration("waitTime")?,
            parameters,
            authorization: match (fields, given.object("httpAuth")?) {
                (_, Some(auth)) => Some(basic(&auth.text("username")?, &auth.text("password")?)),
                (Some(_), None) => None,
                (None, None) => means.variable("CONSUL_HTTP_AUTH").map(|auth| {
                    let (name, password) = auth.split_once(':').unwrap_or((&auth, ""));
                    basic(name, password)
                }),
            },
            token,
            token_file,
            tls: TlsSettings {
                name: or(tls.text("address")?, "CONSUL_TLS_SERVER_NAME", ""),
                ca_file: or(tls.text("caFile")?, "CONSUL_CACERT", ""),
                ca_path: or(tls.text("caPath")?, "CONSUL_CAPATH", ""),
                certificate_file: or(tls.text("certFile")?, "CONSUL_CLIENT_CERT", ""),
                key_file: or(tls.text("keyFile")?, "CONSUL_CLIENT_KEY", ""),
                trusts_anyone: tls.flag("insecureSkipVerify")?
                    || says("CONSUL_HTTP_SSL_VERIFY") == Some(false),
            },
        })
    }
}

fn basic(name: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))
}

/// What Go takes for a truth value.
fn go_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Zero would be taken for the default.
fn milliseconds(duration: Duration) -> String {
    format!("{}ms", duration.as_millis().max(1))
}

impl Query {
    /// Without settings the agent may answer from what it keeps up to date by itself, which costs its servers nothing.
    fn of(fields: Option<&Fields<'_>>, client_wait: Duration) -> Result<Self, FieldError> {
        let waits = |own: Duration| match [own, client_wait].into_iter().find(|wait| !wait.is_zero()) {
            Some(wait) => wait.min(LONGEST_WAIT),
            None => WAIT,
        };
        let Some(fields) = fields else {
            return Ok(Self {
                parameters: "cached=&passing=1".to_owned(),
                wait: waits(Duration::ZERO),
                token: String::new(),
                caching: String::new(),
            });
        };
        let mut parameters = vec![("passing", "1".to_owned())];
        let mut set = |name, value: String| parameters.push((name, value));
        for (field, name) in [("datacenter", "dc"), ("near", "near"), ("filter", "filter")] {
            let text = fields.text(field)?;
            if !text.is_empty() {
                set(name, text);
            }
        }
        let is_consistent = fields.flag("requireConsistent")?;
        for (is_set, name, value) in [
            (fields.flag("allowStale")?, "stale", ""),
            (is_consistent, "consistent", ""),
            (fields.flag("localOnly")?, "local-only", "true"),
            (fields.flag("connect")?, "connect", "true"),
        ] {
            if is_set {
                set(name, value.to_owned());
            }
        }
        for (key, value) in fields.text_map("nodeMeta")? {
            set("node-meta", format!("{key}:{value}"));
        }
        let relays = fields.natural("relayFactor", 255)?;
        if relays != 0 {
            set("relay-factor", relays.to_string());
        }
        let mut caching = Vec::new();
        if fields.flag("useCache")? && !is_consistent {
            set("cached", String::new());
            for (field, name) in [("maxAge", "max-age"), ("staleIfError", "stale-if-error")] {
                let age = fields.duration(field)?;
                if !age.is_zero() {
                    caching.push(format!("{name}={:.0}", age.as_secs_f64()));
                }
            }
        }
        // Read and dropped, as in Dapr: where a query begins is decided here.
        fields.natural("waitIndex", u64::MAX)?;
        for unused in ["waitHash", "namespace", "partition"] {
            fields.text(unused)?;
        }
        Ok(Self {
            parameters: encoded(parameters),
            wait: waits(fields.duration("waitTime")?),
            token: fields.text("token")?,
            caching: caching.join(", "),
        })
    }

    /// The parameters of one query: of the client, of the settings, and of what is to be waited for. A parameter of the
    /// settings takes the place of the client's.
    pub(super) fn with(&self, client: &[(&'static str, String)], index: Option<u64>) -> String {
        let is_own = |name: &str| {
            let mut own = self.parameters.split('&');
            own.any(|pair| pair.split('=').next() == Some(name))
        };
        let client = client.iter().filter(|(name, _)| !is_own(name));
        let client = encoded(client.map(|(name, value)| (*name, value.clone())));
        let mut all = self.parameters.clone();
        if !client.is_empty() {
            all = format!("{all}&{client}");
        }
        if let Some(index) = index {
            all = format!("{all}&index={index}&wait={}", milliseconds(self.wait));
        }
        all
    }
}

/// `a=1&b=2`, sorted, as Go does.
pub(super) fn encoded(parameters: impl IntoIterator<Item = (&'static str, String)>) -> String {
    let mut parameters: Vec<_> = parameters.into_iter().collect();
    parameters.sort();
    let pairs = parameters.iter().map(|(name, value)| {
        let value = utf8_percent_encode(value, PLAIN);
        format!("{name}={value}")
    });
    pairs.collect::<Vec<_>>().join("&")
}

fn registration_of(
    fields: &Fields<'_>,
    instance: &Instance,
    port_key: &str,
) -> Result<Option<Registration>, String> {
    let advanced = fields.object("advancedRegistration").map_err(said)?;
    let is_wanted = fields.flag("selfRegister").map_err(said)?;
    let checks = registration::checks(fields).map_err(said)?;
    let tags = fields.texts("tags").map_err(said)?;
    let meta = fields.text_map("meta").map_err(said)?;
    let mut service = match advanced {
        Some(advanced) => registration::service(&advanced).map_err(said)?,
        None if is_wanted => own(instance, checks, tags, meta)?,
        None => return Ok(None),
    };
    let port = Value::from(instance.internal_port.to_string());
    match service.get_mut("Meta").and_then(Value::as_object_mut) {
        Some(meta) => {
            meta.insert(port_key.to_owned(), port);
        }
        None => {
            service.insert("Meta".to_owned(), json!({ port_key: port }));
        }
    }
    let text = |key: &str| {
        service
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let name = text("Name");
    Ok(Some(Registration {
        // A service without an id has its name for one.
        id: Some(text("ID"))
            .filter(|id| !id.is_empty())
            .unwrap_or_else(|| name.clone()),
        name,
        body: Value::Object(service),
    }))
}

/// The registration that is made of what this sidecar is.
fn own(
    instance: &Instance,
    mut checks: Vec<Value>,
    tags: Vec<String>,
    meta: Vec<(String, String)>,
) -> Result<Map<String, Value>, String> {
    let app_port = instance.app_port.unwrap_or_default();
    for (is_missing, name) in [
        (instance.app_id.is_empty(), "APP_ID"),
        (app_port == 0, "APP_PORT"),
        (instance.address.is_empty(), "HOST_ADDRESS"),
        (instance.http_port == 0, "DAPR_HTTP_PORT"),
    ] {
        if is_missing {
            return Err(format!("metadata property missing: {name}"));
        }
    }
    let (app_id, host, http_port) = (&instance.app_id, &instance.address, instance.http_port);
    let id = format!("{app_id}-{host}-{http_port}");
    if checks.is_empty() {
        let bracketed = if host.contains(':') {
            format!("[{host}]")
        } else {
            host.clone()
        };
        checks.push(json!({
            "CheckID": format!("daprHealth:{id}"),
            "Name": "Dapr Health Status",
            "Interval": "15s",
            "HTTP": format!("http://{bracketed}:{http_port}/v1.0/healthz?appid={app_id}"),
        }));
    }
    let mut service = Map::new();
    let mut set = |name: &str, value: Value| service.insert(name.to_owned(), value);
    set("ID", id.into());
    set("Name", app_id.as_str().into());
    set("Address", host.as_str().into());
    set("Port", app_port.into());
    set("Check", Value::Null);
    set("Checks", checks.into());
    if !tags.is_empty() {
        set("Tags", tags.into());
    }
    if !meta.is_empty() {
        set(
            "Meta",
            meta.into_iter()
                .map(|(key, text)| (key, Value::from(text)))
                .collect(),
        );
    }
    Ok(service)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance() -> Instance {
        Instance {
            app_id: "a".into(),
            address: "10.0.0.5".into(),
            internal_port: 50002,
            http_port: 3500,
            app_port: Some(3000),
            host_name: "h".into(),
        }
    }

    fn means(variables: &'static [(&str, &str)]) -> Means {
        Means::with_variables(move |name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    fn settings(configuration: &Value) -> Result<ConsulSettings, String> {
        ConsulSettings::of(configuration, &instance(), &means(&[]))
    }

    #[test]
    fn the_registration_of_dapr() {
        let found = settings(&json!({"selfRegister": true})).unwrap();
        let registration = found.registration.unwrap();
        assert_eq!(registration.id, "a-10.0.0.5-3500");
        assert_eq!(
            registration.body,
            json!({
                "ID": "a-10.0.0.5-3500", "Name": "a", "Port": 3000, "Address": "10.0.0.5",
                "Meta": {"DAPR_PORT": "50002"}, "Check": null,
                "Checks": [{
                    "CheckID": "daprHealth:a-10.0.0.5-3500", "Name": "Dapr Health Status", "Interval": "15s",
                    "HTTP": "http://10.0.0.5:3500/v1.0/healthz?appid=a",
                }],
            })
        );
        let found = settings(&json!({
            "selfRegister": true, "tags": ["t"], "meta": {"x": "y"}, "checks": [{"name": "n", "ttl": "3s"}],
            "daprPortMetaKey": "PORT",
        }));
        let body = found.unwrap().registration.unwrap().body;
        assert_eq!(body["Meta"], json!({"x": "y", "PORT": "50002"}));
        assert_eq!(body["Tags"], json!(["t"]));
        assert_eq!(body["Checks"], json!([{"Name": "n", "TTL": "3s"}]));
        assert!(settings(&Value::Null).unwrap().registration.is_none());
    }

    #[test]
    fn an_advanced_registration_is_taken_as_it_is() {
        let found =
            settings(&json!({"selfRegister": true, "advancedRegistration": {"name": "other", "port": 1}}));
        let registration = found.unwrap().registration.unwrap();
        assert_eq!(registration.id, "other", "which is the id that Consul gives it");
        assert_eq!(
            registration.body,
            json!({"Name": "other", "Port": 1, "Meta": {"DAPR_PORT": "50002"}, "Check": null, "Checks": null})
        );
    }

    #[test]
    fn what_is_missing() {
        let with = |change: fn(&mut Instance)| {
            let mut instance = instance();
            change(&mut instance);
            let found = ConsulSettings::of(&json!({"selfRegister": true}), &instance, &means(&[]));
            found.map(drop).unwrap_err()
        };
        for (error, name) in [
            (with(|instance| instance.internal_port = 0), "DAPR_PORT"),
            (with(|instance| instance.app_id = String::new()), "APP_ID"),
            (with(|instance| instance.app_port = None), "APP_PORT"),
            (with(|instance| instance.app_port = Some(0)), "APP_PORT"),
            (with(|instance| instance.address = String::new()), "HOST_ADDRESS"),
            (with(|instance| instance.http_port = 0), "DAPR_HTTP_PORT"),
        ] {
            assert_eq!(error, format!("metadata property missing: {name}"));
        }
    }

    #[test]
    fn mistakes() {
        for (configuration, wanted) in [
            (json!("x"), "configuration: an object is wanted, not \"x\""),
            (
                json!({"useCache": "yes"}),
                "configuration.useCache: true or false is wanted, not \"yes\"",
            ),
            (
                json!({"client": []}),
                "configuration.client: an object is wanted, not []",
            ),
            (
                json!({"client": {"tlsConfig": {"caFile": 1}}}),
                "configuration.client.tlsConfig.caFile: a text is wanted, not 1",
            ),
            (
                json!({"queryOptions": {"relayFactor": 256}}),
                "configuration.queryOptions.relayFactor: a whole number that is not too large is wanted, not 256",
            ),
            (
                json!({"checks": [{"http": {}}]}),
                "configuration.checks[0].http: a text is wanted, not {}",
            ),
        ] {
            let error = settings(&configuration).map(drop).unwrap_err();
            assert_eq!(error, format!("error deserializing to configSpec: {wanted}"));
        }
    }

    #[test]
    fn queries() {
        for (configuration, wanted, caching) in [
            (Value::Null, "cached=&passing=1", ""),
            (json!({"queryOptions": {}}), "passing=1", ""),
            (
                json!({"queryOptions": {"useCache": true, "maxAge": 30_000_000_000_u64, "staleIfError": "1m"}}),
                "cached=&passing=1",
                "max-age=30, stale-if-error=60",
            ),
            (
                json!({"queryOptions": {"useCache": true, "requireConsistent": true, "filter": "a == \"b\"",
                    "nodeMeta": {"k": "v"}, "waitIndex": 7, "waitHash": "x", "near": "_agent", "localOnly": true,
                    "relayFactor": 3, "allowStale": true, "connect": true, "datacenter": "d"}}),
                "connect=true&consistent=&dc=d&filter=a%20%3D%3D%20%22b%22&local-only=true&near=_agent\
                 &node-meta=k%3Av&passing=1&relay-factor=3&stale=",
                "",
            ),
        ] {
            let query = settings(&configuration).unwrap().query;
            assert_eq!(query.with(&[], None), wanted);
            assert_eq!(query.caching, caching);
        }
        let found = settings(&json!({
            "client": {"datacenter": "one", "waitTime": 5_000_000_000_u64}, "queryOptions": {"datacenter": "two"},
        }));
        let found = found.unwrap();
        assert_eq!(
            found.query.with(&found.client.parameters, Some(7)),
            "dc=two&passing=1&index=7&wait=5000ms"
        );
        let found = settings(&json!({"client": {"datacenter": "one"}})).unwrap();
        assert_eq!(
            found.query.with(&found.client.parameters, Some(7)),
            "cached=&passing=1&dc=one&index=7&wait=60000ms"
        );
    }

    #[test]
    fn the_environment_fills_in() {
        let variables = &[
            ("CONSUL_HTTP_ADDR", "agent:1"),
            ("CONSUL_HTTP_TOKEN", "secret"),
            ("CONSUL_HTTP_AUTH", "me:pass"),
            ("CONSUL_HTTP_SSL", "true"),
            ("CONSUL_HTTP_SSL_VERIFY", "0"),
            ("CONSUL_NAMESPACE", "team"),
            ("CONSUL_CACERT", "/ca"),
        ];
        let of = |configuration: &Value| {
            let found = ConsulSettings::of(configuration, &instance(), &means(variables));
            found.unwrap().client
        };
        let client = of(&Value::Null);
        assert_eq!(
            (client.address.as_str(), client.scheme.as_str()),
            ("agent:1", "https")
        );
        assert_eq!(client.authorization.as_deref(), Some("Basic bWU6cGFzcw=="));
        assert_eq!(client.token, "secret");
        assert_eq!(client.parameters, [("ns", "team".to_owned())]);
        assert!(client.tls.trusts_anyone && client.tls.ca_file == "/ca");
        let client = of(&json!({"client": {"address": "mine:2", "scheme": "http", "token": "own"}}));
        assert_eq!(
            (client.address.as_str(), client.scheme.as_str()),
            ("mine:2", "http")
        );
        assert_eq!((client.token.as_str(), client.authorization), ("own", None));
    }
}
