//! `aws.cloudmap`: instances that AWS Cloud Map knows.
//!
//! Cloud Map tells nobody of changes, so each app is asked for again and again, and sooner when one of its sidecars cannot
//! be reached. What was found goes on to count while Cloud Map does not answer. Nothing is registered: whoever starts
//! instances does that.

mod client;
mod settings;

use std::sync::Arc;
use std::time::Duration;

use invoke_core::balance::{Endpoint, EndpointWatch};
use invoke_core::error::ResolveError;
use invoke_core::{AppRef, Resolver};
use serde_json::Value;
use tokio::sync::OnceCell;

use self::client::{Client, Failure, Instance};
pub(crate) use self::settings::CloudMapSettings;
use self::settings::Namespace;
use crate::refresh::{Found, Refreshing};
use crate::registry::{InitError, Means};

/// What the log calls this resolver.
const COMPONENT: &str = "nr (aws.cloudmap/v1)";
/// How long an answer is good for. Dapr asks again after twenty seconds.
const GOOD_FOR: Duration = Duration::from_secs(10);

/// Asks AWS Cloud Map.
#[derive(Clone, Debug)]
pub(crate) struct CloudMap {
    asking: Arc<Asking>,
    refreshing: Arc<Refreshing>,
}

/// Whether the settings can be read.
pub(crate) fn check(configuration: &Value) -> Result<(), InitError> {
    CloudMapSettings::of(configuration)
        .map(drop)
        .map_err(InitError::Init)
}

impl CloudMap {
    /// Reads the settings and looks whether Cloud Map knows the namespace. What it says against that is a complaint: the
    /// namespace is asked for again by the first look-up.
    pub(crate) async fn start(
        configuration: &Value,
        means: &Means,
    ) -> Result<(Self, Option<String>), InitError> {
        let settings = CloudMapSettings::of(configuration).map_err(InitError::Init)?;
        let asking = Arc::new(Asking {
            client: Client::new(&settings).await,
            namespace: settings.namespace,
            name: OnceCell::new(),
            port: settings.port,
        });
        let complaint = asking.name().await.err();
        let complaint = complaint.map(|error| format!("failed to validate CloudMap access: {error}"));
        let refreshing = Refreshing::new(COMPONENT, means.tasks.clone());
        let resolver = Self {
            asking,
            refreshing: Arc::new(refreshing),
        };
        Ok((resolver, complaint))
    }
}

impl Resolver for CloudMap {
    fn watch(&self, app: &AppRef) -> EndpointWatch {
        let (asking, service): (_, Arc<str>) = (Arc::clone(&self.asking), app.id.as_str().into());
        self.refreshing.watch(app, move || {
            let (asking, service) = (Arc::clone(&asking), Arc::clone(&service));
            async move { asking.look_up(&service).await }
        })
    }

    fn unreachable(&self, app: &AppRef, _: &Endpoint) {
        self.refreshing.hurry(app);
    }
}

#[derive(Debug)]
struct Asking {
    client: Client,
    namespace: Namespace,
    /// The name of the namespace, once Cloud Map has told it.
    name: OnceCell<String>,
    /// The internal port of sidecars that do not say theirs.
    port: u16,
}

impl Asking {
    /// The name of the namespace, which Cloud Map knows.
    async fn name(&self) -> Result<&str, Failure> {
        let asked = || async {
            match &self.namespace {
                Namespace::Id(id) => self.client.name_of(id).await,
                Namespace::Name(name) => self.client.has_name(name).await.map(|()| name.clone()),
            }
        };
        self.name.get_or_try_init(asked).await.map(String::as_str)
    }

    async fn look_up(&self, service: &str) -> Result<Found, ResolveError> {
        let failed = |error| ResolveError::new(format!("failed to discover CloudMap instances: {error}"));
        let name = match &self.namespace {
            // Who may not list namespaces may still ask for instances.
            Namespace::Name(name) => name,
            Namespace::Id(_) => self.name().await.map_err(failed)?,
        };
        let instances = self.client.instances(name, service).await.map_err(failed)?;
        let endpoints: Vec<_> = instances
            .iter()
            .filter_map(|instance| endpoint(instance, self.port))
            .collect();
        if endpoints.is_empty() {
            let text = format!("no healthy instances found for service {service}");
            return Err(ResolveError::new(text));
        }
        Ok(Found {
            endpoints,
            good_for: GOOD_FOR,
        })
    }
}

/// The sidecar of an instance; `None` if nothing says where it is.
fn endpoint(instance: &Instance, port: u16) -> Option<Endpoint> {
    let attribute = |name: &str| {
        let value = instance.get(name).map(|value| value.trim());
        value.filter(|value| !value.is_empty())
    };
    let host = match (attribute("AWS_INSTANCE_IPV4"), attribute("AWS_INSTANCE_IPV6")) {
        (Some(address), _) => address.to_owned(),
        (None, Some(address)) => format!("[{}]", address.trim_matches(['[', ']'])),
        (None, None) => attribute("AWS_INSTANCE_CNAME")?.to_owned(),
    };
    let said = attribute("DAPR_PORT").map(str::parse::<u16>);
    let port = match said {
        Some(Ok(said)) if said > 0 => said,
        Some(_) => {
            let component = COMPONENT;
            tracing::debug!(target: "dapr.contrib", component, "DAPR_PORT of an instance at {host} is no port: {port} is taken");
            port
        }
        None => port,
    };
    let endpoint = Endpoint::new(format!("{host}:{port}"));
    Some(match attribute("AVAILABILITY_ZONE") {
        Some(zone) => endpoint.in_zone(zone),
        None => endpoint,
    })
}

#[cfg(test)]
mod tests;
