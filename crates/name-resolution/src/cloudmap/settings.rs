//! What the configuration says of AWS Cloud Map.

use std::fmt;

use serde_json::Value;

use crate::settings::Settings;

/// The internal port of sidecars that do not say theirs, if nothing is said of that.
const PORT: u16 = 50002;

/// The settings, checked.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct CloudMapSettings {
    pub(super) namespace: Namespace,
    /// None for what the environment says.
    pub(super) region: Option<String>,
    /// None for that of the region.
    pub(super) endpoint: Option<String>,
    /// None for what the environment has.
    pub(super) keys: Option<Keys>,
    pub(super) port: u16,
}

/// By what a namespace is known. Names are unique in a region of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Namespace {
    Id(String),
    Name(String),
}

/// Credentials that stand in the configuration.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Keys {
    pub(super) access: String,
    pub(super) secret: String,
    pub(super) session: Option<String>,
}

impl fmt::Debug for CloudMapSettings {
    /// Without what is secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CloudMapSettings")
            .field("namespace", &self.namespace)
            .field("region", &self.region)
            .field("endpoint", &self.endpoint)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

impl CloudMapSettings {
    pub(crate) fn of(configuration: &Value) -> Result<Self, String> {
        let settings =
            Settings::of(configuration).map_err(|error| format!("failed to decode metadata: {error}"))?;
        let text = |names: &[&str]| settings.text(names).filter(|text| !text.is_empty());
        let own = |names: &[&str]| text(names).map(str::to_owned);
        let namespace = match (own(&["namespaceId"]), own(&["namespaceName"])) {
            (Some(id), _) => Namespace::Id(id),
            (None, Some(name)) => Namespace::Name(name),
            (None, None) => {
                return Err(
                    "invalid metadata: either namespaceName or namespaceId must be provided".to_owned(),
                );
            }
        };
        let keys = match (own(&["accessKey"]), own(&["secretKey"])) {
            (Some(access), Some(secret)) => Some(Keys {
                access,
                secret,
                session: own(&["sessionToken"]),
            }),
            (None, None) => None,
            _ => return Err("invalid metadata: accessKey and secretKey go together".to_owned()),
        };
        let endpoint = own(&["endpoint"]);
        if let Some(endpoint) = &endpoint
            && !endpoint.starts_with("https://")
            && !endpoint.starts_with("http://")
        {
            return Err(format!("invalid metadata: endpoint {endpoint:?} is no URL"));
        }
        Ok(Self {
            namespace,
            region: own(&["region", "awsRegion"]),
            endpoint,
            keys,
            port: port(text(&["defaultDaprPort"]))?,
        })
    }
}

/// As with Dapr, 0 and less is as good as nothing.
fn port(text: Option<&str>) -> Result<u16, String> {
    let Some(text) = text else {
        return Ok(PORT);
    };
    let number = text.parse::<i64>();
    match number {
        Ok(..=0) => Ok(PORT),
        Ok(number) => u16::try_from(number).map_err(|_| number),
        Err(_) => Err(0),
    }
    .map_err(|_| format!("invalid metadata: defaultDaprPort {text:?} is no port"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_read() {
        let of = |value: Value| CloudMapSettings::of(&value);
        let least = of(json!({"namespaceName": "n"})).unwrap();
        assert_eq!(least.namespace, Namespace::Name("n".to_owned()));
        assert!(least.port == PORT && least.region.is_none() && least.keys.is_none());
        let all = of(json!({
            "NamespaceId": "ns-1", "namespacename": "n", "awsRegion": "eu-west-1", "endpoint": "http://h:1",
            "accessKey": "a", "secretKey": "s", "sessionToken": "t", "defaultDaprPort": 3500,
        }))
        .unwrap();
        assert_eq!(all.namespace, Namespace::Id("ns-1".to_owned()), "the id wins");
        assert_eq!((all.port, all.region.as_deref()), (3500, Some("eu-west-1")));
        assert_eq!(all.keys.as_ref().unwrap().session.as_deref(), Some("t"));
        assert!(!format!("{all:?}").contains("secret"), "{all:?}");
        for port in ["0", "-1"] {
            assert_eq!(
                of(json!({"namespaceName": "n", "defaultDaprPort": port}))
                    .unwrap()
                    .port,
                PORT
            );
        }
    }

    #[test]
    fn mistakes() {
        for (value, wanted) in [
            (
                json!({}),
                "invalid metadata: either namespaceName or namespaceId must be provided",
            ),
            (
                json!({"namespaceName": ""}),
                "invalid metadata: either namespaceName or namespaceId must be provided",
            ),
            (
                json!(null),
                "failed to decode metadata: input object cannot be cast to map[string]string: not a map",
            ),
            (
                json!({"namespaceName": "n", "defaultDaprPort": "x"}),
                "invalid metadata: defaultDaprPort \"x\" is no port",
            ),
            (
                json!({"namespaceName": "n", "defaultDaprPort": 65536}),
                "invalid metadata: defaultDaprPort \"65536\" is no port",
            ),
            (
                json!({"namespaceName": "n", "accessKey": "a"}),
                "invalid metadata: accessKey and secretKey go together",
            ),
            (
                json!({"namespaceName": "n", "endpoint": "h:1"}),
                "invalid metadata: endpoint \"h:1\" is no URL",
            ),
        ] {
            assert_eq!(CloudMapSettings::of(&value).unwrap_err(), wanted);
        }
    }
}
