//! `kubernetes`: the DNS of the cluster knows the sidecars of an app by a headless service.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use invoke_core::balance::{Endpoint, EndpointWatch, Publisher, Resolution, watched};
use invoke_core::error::ResolveError;
use invoke_core::{AppRef, Resolver};
use serde_json::Value;
use tokio::net::lookup_host;
use tokio::sync::{Notify, Semaphore};
use tokio::time::{sleep, timeout};

use crate::registry::{InitError, Instance};
use crate::settings::Settings;

const CLUSTER_DOMAIN: &str = "cluster.local";
/// How often those who are watched are looked up again.
const REFRESH: Duration = Duration::from_secs(5);
/// The same, when one of them could not be reached.
const SOON: Duration = Duration::from_secs(1);
/// How many look-ups in a row may fail before what is known is given up.
const PATIENCE: u32 = 4;
/// How long one look-up may take.
const LOOKUP: Duration = Duration::from_secs(20);
/// How many look-ups there are at once.
const LOOKUPS: usize = 64;
/// How many sidecars of an app are known at once.
const INSTANCES: usize = 1024;

/// Asks the DNS of the cluster.
#[derive(Debug)]
pub(crate) struct Kubernetes {
    name: Name,
    port: u16,
    lookups: Arc<Semaphore>,
    /// How those who look an app up hear that one of its sidecars could not be reached.
    unreachable: Mutex<HashMap<AppRef, Weak<Notify>>>,
}

impl Kubernetes {
    pub(crate) fn new(configuration: &Value, instance: &Instance) -> Result<Self, InitError> {
        let name = Name::of(configuration).map_err(InitError::Init)?;
        Ok(Self {
            name,
            port: instance.internal_port,
            lookups: Arc::new(Semaphore::new(LOOKUPS)),
            unreachable: Mutex::default(),
        })
    }

    /// What tells those who look the app up. Only they hold it: it goes with the last of them.
    fn unreachable_of(&self, app: &AppRef) -> Arc<Notify> {
        let mut unreachable = self.unreachable.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = unreachable.get(app).and_then(Weak::upgrade) {
            return known;
        }
        unreachable.retain(|_, notify| notify.strong_count() > 0);
        let notify = Arc::new(Notify::new());
        unreachable.insert(app.clone(), Arc::downgrade(&notify));
        notify
    }
}

impl Resolver for Kubernetes {
    fn watch(&self, app: &AppRef) -> EndpointWatch {
        let (publisher, watch) = watched();
        let address = self.name.address(app, self.port);
        let (lookups, unreachable) = (Arc::clone(&self.lookups), self.unreachable_of(app));
        tokio::spawn(async move {
            tokio::select! {
                () = publisher.closed() => {}
                () = keep(&publisher, &address, &lookups, &unreachable) => {}
            }
        });
        watch
    }

    fn unreachable(&self, app: &AppRef, _: &Endpoint) {
        let unreachable = self.unreachable.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(notify) = unreachable.get(app).and_then(Weak::upgrade) {
            notify.notify_waiters();
        }
    }
}

/// Looks an address up now and then, until it is not to be found.
async fn keep(publisher: &Publisher, address: &str, lookups: &Semaphore, unreachable: &Notify) {
    let mut failures = 0;
    loop {
        match look_up(address, lookups).await {
            Ok(found) => {
                failures = 0;
                publisher.publish(found);
            }
            Err(error) => {
                failures += 1;
                let is_known = matches!(publisher.now(), Resolution::Endpoints(_));
                if !is_known || failures == PATIENCE {
                    publisher.fail(error);
                    return;
                }
                tracing::debug!(target: "dapr.nameresolution.kubernetes", "{error}");
            }
        }
        let soon = async {
            unreachable.notified().await;
            sleep(SOON).await;
        };
        tokio::select! {
            () = soon => {}
            () = sleep(REFRESH) => {}
        }
    }
}

async fn look_up(address: &str, lookups: &Semaphore) -> Result<Vec<Endpoint>, ResolveError> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let failed = |reason: &str| {
        ResolveError::new(format!(
            "failed to resolve address for '{host}': lookup {host}: {reason}"
        ))
    };
    // Nobody closes the semaphore.
    let _place = lookups.acquire().await;
    let found = match timeout(LOOKUP, lookup_host(address)).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => return Err(failed(&words(&error))),
        Err(_) => return Err(failed("i/o timeout")),
    };
    let mut endpoints: Vec<Endpoint> = found.map(|address| Endpoint::new(address.to_string())).collect();
    if endpoints.is_empty() {
        return Err(failed("no such host"));
    }
    // The DNS turns the order around from answer to answer.
    endpoints.sort_by(|one, other| one.address().cmp(other.address()));
    endpoints.dedup();
    endpoints.truncate(INSTANCES);
    Ok(endpoints)
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
struct Name(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Id,
    Namespace,
    Port,
}

impl Name {
    fn of(configuration: &Value) -> Result<Self, String> {
        let settings = match configuration {
            Value::Null => Settings::default(),
            given => Settings::of(given).map_err(|error| error.to_string())?,
        };
        if let Some(template) = settings.text(&["template"]).filter(|text| !text.is_empty()) {
            return Self::parse(template);
        }
        let domain = match settings.text(&["clusterDomain"]) {
            None | Some("") => CLUSTER_DOMAIN,
            Some(domain) => domain,
        };
        Ok(Self(vec![
            Part::Id,
            Part::Text("-dapr.".to_owned()),
            Part::Namespace,
            Part::Text(format!(".svc.{domain}:")),
            Part::Port,
        ]))
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
        let name = Self(parts);
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
        let parts = self.0.iter().map(|part| match part {
            Part::Text(text) => text.clone(),
            Part::Id => app.id.as_str().to_owned(),
            Part::Namespace => app.namespace.as_str().to_owned(),
            Part::Port => port.to_string(),
        });
        parts.collect()
    }
}

#[cfg(test)]
mod tests {
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
            let name = Name::of(&configuration).map(|name| name.address(&AppRef::new("a", "ns"), 50002));
            assert_eq!(
                name,
                wanted.map(str::to_owned).map_err(str::to_owned),
                "{configuration}"
            );
        }
    }

    fn resolver(template: &str) -> Kubernetes {
        let instance = Instance {
            app_id: "me".to_owned(),
            address: "127.0.0.1".to_owned(),
            internal_port: 50002,
            host_name: "h".to_owned(),
        };
        Kubernetes::new(&json!({"template": template}), &instance).unwrap()
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
    fn one_unreachable_sidecar_is_no_matter_of_other_apps() {
        let resolver = resolver("127.0.0.1:1");
        let (one, other) = (AppRef::new("a", "ns"), AppRef::new("b", "ns"));
        let (of_one, of_other) = (resolver.unreachable_of(&one), resolver.unreachable_of(&other));
        let mut told = [of_one, of_other].map(|notify| Box::pin(notify.notified_owned()));
        for told in &mut told {
            told.as_mut().enable();
        }
        resolver.unreachable(&one, &Endpoint::new("127.0.0.1:1"));
        assert!(told[0].as_mut().enable(), "it is looked up again soon");
        assert!(!told[1].as_mut().enable());
        drop(told);
        resolver.unreachable_of(&AppRef::new("c", "ns"));
        assert_eq!(
            resolver.unreachable.lock().unwrap().len(),
            1,
            "who is not watched is forgotten"
        );
    }

    proptest::proptest! {
        #[test]
        fn any_template_is_judged(template in "[a{}.:ID1 ]{0,20}") {
            let _ = Name::parse(&template);
        }
    }
}
