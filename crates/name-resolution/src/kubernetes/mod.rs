//! `kubernetes`: the DNS of the cluster knows the sidecars of an app by a headless service; on wish the API of the cluster
//! is asked, which tells of changes.

mod recent;
mod slice;
mod slices;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use invoke_core::balance::{Endpoint, EndpointWatch, watched};
use invoke_core::error::ResolveError;
use invoke_core::{AppRef, Resolver};
use lifecycle::Tasks;
use serde_json::Value;
use tokio::net::lookup_host;
use tokio::time::{sleep, timeout};

use crate::refresh::{Found, Refreshing};
use crate::registry::{InitError, Instance, Means};
use crate::settings::Settings;
use slices::{AGAIN, Cluster};

const CLUSTER_DOMAIN: &str = "cluster.local";
/// How often those who are watched are looked up again.
const REFRESH: Duration = Duration::from_secs(5);
/// How long one look-up may take.
const LOOKUP: Duration = Duration::from_secs(20);
/// What the log calls this resolver.
const COMPONENT: &str = "nr (kubernetes/v1)";

/// Asks the DNS of the cluster.
#[derive(Debug)]
pub(crate) struct Kubernetes {
    name: Name,
    port: u16,
    refreshing: Arc<Refreshing>,
    cluster: Option<Arc<Cluster>>,
    tasks: Tasks,
}

impl Kubernetes {
    pub(crate) fn new(configuration: &Value, instance: &Instance, means: &Means) -> Result<Self, InitError> {
        let settings = settings_of(configuration)?;
        let port = instance.internal_port;
        let cluster = if settings.flag("endpointSlices") {
            let account = settings.text(&["serviceAccount"]).unwrap_or_default();
            let cluster = Cluster::new(account, port, means).map_err(InitError::Init)?;
            Some(Arc::new(cluster))
        } else {
            None
        };
        Ok(Self {
            name: Name::of(&settings).map_err(InitError::Init)?,
            port,
            refreshing: Arc::new(Refreshing::new(COMPONENT, means.tasks.clone())),
            cluster,
            tasks: means.tasks.clone(),
        })
    }
}

fn settings_of(configuration: &Value) -> Result<Settings, InitError> {
    match configuration {
        Value::Null => Ok(Settings::default()),
        given => Settings::of(given).map_err(|error| InitError::Init(error.to_string())),
    }
}

/// Whether the settings can be read. Whether there is a cluster shows in it alone.
pub(crate) fn check(configuration: &Value) -> Result<(), InitError> {
    let name = Name::of(&settings_of(configuration)?);
    name.map(drop).map_err(InitError::Init)
}

impl Resolver for Kubernetes {
    fn watch(&self, app: &AppRef) -> EndpointWatch {
        let address = Arc::new(Address::of(&self.name, app, self.port));
        let host = address.host.clone();
        let look_up = move || {
            let address = Arc::clone(&address);
            async move { address.look_up().await }
        };
        let Some(cluster) = self.cluster.clone() else {
            return self.refreshing.watch(app, look_up);
        };
        let (publisher, watch) = watched();
        let (refreshing, app) = (Arc::clone(&self.refreshing), app.clone());
        self.tasks.spawn(async move {
            while cluster.keep(&app, &host, &publisher).await {
                // What the DNS found stays known while the API is tried again.
                tokio::select! {
                    () = refreshing.keeping(&app, &publisher, &look_up) => return,
                    () = sleep(AGAIN) => {}
                }
            }
        });
        watch
    }

    fn unreachable(&self, app: &AppRef, _: &Endpoint) {
        self.refreshing.hurry(app);
    }
}

/// A host and a port, and the names by which the host is asked for, one after the other.
#[derive(Debug)]
struct Address {
    host: String,
    port: String,
    asked: Vec<String>,
}

impl Address {
    fn of(name: &Name, app: &AppRef, port: u16) -> Self {
        let address = name.address(app, port);
        let (host, port) = address.rsplit_once(':').unwrap_or((&address, ""));
        Self {
            asked: asked(host, name.is_whole),
            host: host.to_owned(),
            port: port.to_owned(),
        }
    }

    async fn look_up(&self) -> Result<Found, ResolveError> {
        let host = &self.host;
        let mut reason = "no such host".to_owned();
        for name in &self.asked {
            match timeout(LOOKUP, lookup_host(format!("{name}:{}", self.port))).await {
                Ok(Ok(found)) => {
                    let endpoints: Vec<_> = found.map(|one| Endpoint::new(one.to_string())).collect();
                    if !endpoints.is_empty() {
                        return Ok(Found {
                            endpoints,
                            good_for: REFRESH,
                        });
                    }
                }
                Ok(Err(error)) => reason = words(&error),
                Err(_) => "i/o timeout".clone_into(&mut reason),
            }
        }
        Err(ResolveError::new(format!(
            "failed to resolve address for '{host}': lookup {host}: {reason}"
        )))
    }
}

/// A name that ends in a dot is whole. Without the dot the system tries it with each domain of its search list first: pods
/// have `ndots:5` and three domains, so that one look-up makes eight queries of which six find nothing
/// ([DNS for Services and Pods](https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/)). A name that
/// somebody chose may need the list, so it is asked for with the list if it is not whole.
fn asked(host: &str, is_whole: bool) -> Vec<String> {
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host);
    if bare.parse::<IpAddr>().is_ok() || host.ends_with('.') || !host.contains('.') {
        return vec![host.to_owned()];
    }
    let whole = format!("{host}.");
    if is_whole {
        vec![whole]
    } else {
        vec![whole, host.to_owned()]
    }
}

/// The system's words differ from one to the other; those of Go are known.
fn words(error: &io::Error) -> String {
    let text = error.to_string();
    if ["not known", "No address", "not found", "nodename"]
        .iter()
        .any(|words| text.contains(words))
    {
        "no such host".to_owned()
    } else {
        text
    }
}

/// How the name of an app's sidecars is made.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Name {
    parts: Vec<Part>,
    /// It is not to be completed by a search list.
    is_whole: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Id,
    Namespace,
    Port,
}

impl Name {
    fn of(settings: &Settings) -> Result<Self, String> {
        if let Some(template) = settings.text(&["template"]).filter(|text| !text.is_empty()) {
            return Self::parse(template);
        }
        let domain = match settings.text(&["clusterDomain"]) {
            None | Some("") => CLUSTER_DOMAIN,
            Some(domain) => domain,
        };
        let parts = vec![
            Part::Id,
            Part::Text("-dapr.".to_owned()),
            Part::Namespace,
            Part::Text(format!(".svc.{domain}:")),
            Part::Port,
        ];
        Ok(Self {
            parts,
            is_whole: true,
        })
    }

    /// Of Go's templates the three fields are there: names need no more.
    fn parse(template: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = template;
        while let Some((text, after)) = rest.split_once("{{") {
            let (field, after) = after
                .split_once("}}")
                .ok_or_else(|| format!("template {template:?}: an action is not closed"))?;
            parts.push(Part::Text(text.to_owned()));
            parts.push(match field.trim() {
                ".ID" => Part::Id,
                ".Namespace" => Part::Namespace,
                ".Port" => Part::Port,
                other => {
                    return Err(format!(
                        "template {template:?}: {{{{{other}}}}} is not supported, only .ID, .Namespace and .Port are"
                    ));
                }
            });
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        let name = Self {
            parts,
            is_whole: false,
        };
        let shown = name.address(&AppRef::new("a", "b"), 1);
        match shown.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(name),
            _ => Err(format!(
                "template {template:?}: it must end in a colon and a port"
            )),
        }
    }

    /// `host:port`.
    fn address(&self, app: &AppRef, port: u16) -> String {
        let parts = self.parts.iter().map(|part| match part {
            Part::Text(text) => text.clone(),
            Part::Id => app.id.as_str().to_owned(),
            Part::Namespace => app.namespace.as_str().to_owned(),
            Part::Port => port.to_string(),
        });
        parts.collect()
    }
}

/// The pods in a list of slices, or in a change, for the fuzz targets.
#[cfg(feature = "fuzz")]
pub(crate) fn fuzz(bytes: &[u8]) -> Vec<Endpoint> {
    let items = match serde_json::from_slice::<slice::Event>(bytes) {
        Ok(event) => vec![event.object],
        Err(_) => serde_json::from_slice::<slice::List>(bytes).map_or_else(|_| Vec::new(), |list| list.items),
    };
    slice::Slices::of(items).endpoints(50002)
}

#[cfg(test)]
mod tests {
    use invoke_core::balance::Resolution;
    use serde_json::json;

    use super::*;

    #[test]
    fn names() {
        for (configuration, wanted) in [
            (json!(null), Ok("a-dapr.ns.svc.cluster.local:50002")),
            (
                json!({"clusterDomain": ""}),
                Ok("a-dapr.ns.svc.cluster.local:50002"),
            ),
            (json!({"clusterDomain": "c.d"}), Ok("a-dapr.ns.svc.c.d:50002")),
            (
                json!({"clusterDomain": "c.d", "template": "{{.ID}}-{{ .Namespace }}.internal:{{.Port}}"}),
                Ok("a-ns.internal:50002"),
            ),
            (json!({"template": "h:1"}), Ok("h:1")),
            (
                json!({"template": "{{.ID}}"}),
                Err("template \"{{.ID}}\": it must end in a colon and a port"),
            ),
            (
                json!({"template": "{{if .ID}}:1"}),
                Err(
                    "template \"{{if .ID}}:1\": {{if .ID}} is not supported, only .ID, .Namespace and .Port are",
                ),
            ),
            (
                json!({"template": "{{.ID:1"}),
                Err("template \"{{.ID:1\": an action is not closed"),
            ),
            (
                json!(5),
                Err("input object cannot be cast to map[string]string: not a map"),
            ),
        ] {
            let name = built(&configuration).map(|built| built.name.address(&AppRef::new("a", "ns"), 50002));
            assert_eq!(
                name.map_err(|error| error.to_string()),
                wanted.map(str::to_owned).map_err(str::to_owned),
                "{configuration}"
            );
        }
    }

    fn built(configuration: &Value) -> Result<Kubernetes, InitError> {
        let instance = Instance {
            app_id: "me".to_owned(),
            address: "127.0.0.1".to_owned(),
            internal_port: 50002,
            http_port: 0,
            app_port: None,
            host_name: "h".to_owned(),
        };
        Kubernetes::new(configuration, &instance, &Means::with_variables(|_| None))
    }

    fn resolver(template: &str) -> Kubernetes {
        built(&json!({"template": template})).unwrap()
    }

    async fn first(resolver: &Kubernetes) -> Resolution {
        resolver.watch(&AppRef::new("a", "ns")).first().await
    }

    #[tokio::test]
    async fn addresses() {
        match first(&resolver("127.0.0.1:{{.Port}}")).await {
            Resolution::Endpoints(found) => {
                assert!(found.iter().eq([&Endpoint::new("127.0.0.1:50002")]));
            }
            other => panic!("{other:?}"),
        }
        match first(&resolver("{{.ID}}.invalid:1")).await {
            Resolution::Failed(error) => {
                let error = error.to_string();
                assert!(
                    error.starts_with("failed to resolve address for 'a.invalid': lookup a.invalid: "),
                    "{error}"
                );
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_the_dns_is_asked_for() {
        for (host, is_whole, wanted) in [
            (
                "a-dapr.ns.svc.cluster.local",
                true,
                &["a-dapr.ns.svc.cluster.local."][..],
            ),
            ("a-dapr.ns.svc", false, &["a-dapr.ns.svc.", "a-dapr.ns.svc"]),
            ("a.example.", false, &["a.example."]),
            ("a", false, &["a"]),
            ("127.0.0.1", false, &["127.0.0.1"]),
            ("[::1]", false, &["[::1]"]),
        ] {
            assert_eq!(asked(host, is_whole), wanted, "{host}");
        }
        assert!(built(&json!(null)).unwrap().name.is_whole);
        assert!(!resolver("{{.ID}}.x:1").name.is_whole);
    }

    proptest::proptest! {
        #[test]
        fn any_template_is_judged(template in "[a{}.:ID1 ]{0,20}") {
            let _ = Name::parse(&template);
        }
    }
}
