//! Consul: an agent on the host, or nearby, knows who is there and who is healthy.
//!
//! The services are those that Go sidecars register: the port of a sidecar stands in the metadata of its app's service.
//! Instances of an app are kept up to date by queries that the agent answers when something changes. An agent that is
//! away, answers nonsense or begins anew takes nothing from what is known; see `watch`.

mod agent;
mod answer;
mod registration;
mod settings;
mod watch;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use invoke_core::balance::{EndpointWatch, watched};
use invoke_core::{AppRef, Resolver};
use lifecycle::Tasks;
use percent_encoding::utf8_percent_encode;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio::time::sleep;

use crate::registry::{InitError, Instance, Means};
use crate::trouble::Trouble;
use agent::{Agent, AgentError};
use settings::{ConsulSettings, PLAIN, Registration};
use watch::{Watching, keep};

/// What the log calls this resolver.
const COMPONENT: &str = "nr (consul/v1)";
/// How long the agent may take to answer.
const LIMIT: Duration = Duration::from_secs(10);
/// How long it may take at the end, when others wait for this sidecar to go.
const FAREWELL: Duration = Duration::from_secs(3);
/// How often is looked whether the agent still knows this sidecar.
const LOOK: Duration = Duration::from_secs(30);
/// How many queries of one sidecar wait for a change at once.
const PLACES: usize = 16;

/// Finds sidecars by an agent of Consul, and registers this one if that is wished. Cloning shares it.
#[derive(Clone, Debug)]
pub(crate) struct Consul(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    watching: Arc<Watching>,
    registration: Option<Registration>,
    /// Where that is: the agent and the id.
    place: Option<String>,
    deregisters: bool,
    /// What keeps the registration there.
    keeper: Mutex<Option<AbortHandle>>,
    tasks: Tasks,
}

impl Consul {
    /// Registers this sidecar, or looks whether the agent is there. The second value is why that failed: the agent may
    /// come later, and then this is made good.
    pub(crate) async fn start(
        configuration: &Value,
        instance: &Instance,
        means: &Means,
    ) -> Result<(Self, Option<String>), InitError> {
        Self::start_looking(configuration, instance, means, LOOK).await
    }

    /// The same; `looks` is how often is looked whether the agent still knows this sidecar.
    async fn start_looking(
        configuration: &Value,
        instance: &Instance,
        means: &Means,
        looks: Duration,
    ) -> Result<(Self, Option<String>), InitError> {
        let settings = ConsulSettings::of(configuration, instance, means).map_err(InitError::Init)?;
        let agent = Agent::new(&settings.client, means).map_err(|error| {
            InitError::Init(format!(
                "failed to init consul client: consul api error initing client: {error}"
            ))
        })?;
        let place = settings.registration.as_ref().map(|registration| {
            let client = &settings.client;
            format!(
                "consul {} {:?} {}",
                client.address, client.parameters, registration.id
            )
        });
        let consul = Self(Arc::new(Inner {
            place,
            watching: Arc::new(Watching {
                agent,
                query: settings.query,
                port_key: settings.port_key,
                places: Semaphore::new(PLACES),
            }),
            registration: settings.registration,
            deregisters: settings.deregisters,
            keeper: Mutex::default(),
            tasks: means.tasks.clone(),
        }));
        let begun = consul.begin().await;
        consul.keep_registered(begun.is_ok(), looks);
        Ok((consul, begun.err()))
    }

    async fn begin(&self) -> Result<(), String> {
        match &self.0.registration {
            Some(registration) => self.0.register(registration).await,
            None => {
                let itself = self.0.watching.agent.get_plain("/v1/agent/self", LIMIT).await;
                itself
                    .map(drop)
                    .map_err(|error| format!("failed check on consul agent: {error}"))
            }
        }
    }

    fn keep_registered(&self, is_registered: bool, looks: Duration) {
        if self.0.registration.is_none() {
            return;
        }
        let inner = Arc::clone(&self.0);
        let keeper = self
            .0
            .tasks
            .spawn(async move { inner.stay(is_registered, looks).await });
        *self.0.keeper.lock().unwrap_or_else(PoisonError::into_inner) = Some(keeper);
    }

    /// Where this sidecar is registered, if it is.
    pub(crate) fn place(&self) -> Option<&str> {
        self.0.place.as_deref()
    }

    /// Looks after the registration no longer.
    pub(crate) fn leave(&self) {
        let keeper = self
            .0
            .keeper
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(keeper) = keeper {
            keeper.abort();
        }
    }

    /// Withdraws the registration, if the settings say so. Resolving goes on.
    pub(crate) async fn close(&self) {
        self.leave();
        let Some(registration) = self.0.registration.as_ref().filter(|_| self.0.deregisters) else {
            return;
        };
        let path = format!(
            "/v1/agent/service/deregister/{}",
            utf8_percent_encode(&registration.id, PLAIN)
        );
        match self.0.watching.agent.put(&path, Bytes::new(), FAREWELL).await {
            Ok(_) => {
                tracing::info!(target: "dapr.contrib", component = COMPONENT, "deregistered service from consul");
            }
            Err(error) => tracing::error!(
                target: "dapr.contrib",
                component = COMPONENT,
                "failed to deregister consul service: {error}"
            ),
        }
    }
}

impl Inner {
    async fn register(&self, registration: &Registration) -> Result<(), String> {
        let body = Bytes::from(registration.body.to_string());
        let put = self
            .watching
            .agent
            .put("/v1/agent/service/register", body, LIMIT)
            .await;
        put.map_err(|error| format!("failed to register consul service: {error}"))?;
        let name = &registration.name;
        tracing::info!(target: "dapr.contrib", component = COMPONENT, "service:{name} registered on consul agent");
        Ok(())
    }

    /// Registers until it succeeds, and again when the agent has forgotten: one without a folder for its data does when
    /// it is started anew.
    async fn stay(&self, mut is_registered: bool, looks: Duration) {
        let Some(registration) = &self.registration else {
            return;
        };
        let path = format!(
            "/v1/agent/service/{}",
            utf8_percent_encode(&registration.id, PLAIN)
        );
        let mut trouble = Trouble::new(COMPONENT);
        loop {
            if is_registered {
                sleep(looks).await;
                let known = self.watching.agent.get_plain(&path, LIMIT).await;
                // Whoever may not ask, or is not answered, learns nothing.
                is_registered = !matches!(
                    known,
                    Err(AgentError::Refused {
                        status: StatusCode::NOT_FOUND,
                        ..
                    })
                );
            } else {
                match self.register(registration).await {
                    Ok(()) => {
                        is_registered = true;
                        trouble.over();
                    }
                    Err(error) => sleep(trouble.next(&error)).await,
                }
            }
        }
    }
}

impl Resolver for Consul {
    fn watch(&self, app: &AppRef) -> EndpointWatch {
        let (publisher, watch) = watched();
        let app_id = app.id.as_str().to_owned();
        self.0
            .tasks
            .spawn(keep(Arc::clone(&self.0.watching), app_id, publisher));
        watch
    }
}

/// Whether the settings can be read. Whether the files that they name are there shows where the sidecar runs.
pub(crate) fn check(configuration: &Value, instance: &Instance, means: &Means) -> Result<(), InitError> {
    let settings = ConsulSettings::of(configuration, instance, means);
    settings.map(drop).map_err(InitError::Init)
}

/// Doors for the fuzz targets.
#[cfg(feature = "fuzz")]
pub(crate) mod fuzz {
    use invoke_core::balance::Endpoint;
    use transport::client::Proxies;

    use super::{Agent, ConsulSettings, Instance, Means, Tasks, Value, answer};

    pub(crate) fn endpoints(bytes: &[u8]) -> Result<Vec<Endpoint>, String> {
        answer::endpoints("app", "DAPR_PORT", bytes).map_err(|error| error.to_string())
    }

    pub(crate) fn are_settings(settings: &Value) -> bool {
        let instance = Instance {
            app_id: "me".to_owned(),
            address: "127.0.0.1".to_owned(),
            internal_port: 1,
            http_port: 2,
            app_port: Some(3),
            host_name: "here".to_owned(),
        };
        let means = Means::new(Tasks::new(), Proxies::default(), |_| None);
        match ConsulSettings::of(settings, &instance, &means) {
            // Files that the settings name are none of a fuzzer's business.
            Ok(ConsulSettings { client, .. }) => {
                let reads_files = !client.token_file.is_empty()
                    || [&client.scheme, &client.address]
                        .iter()
                        .any(|text| text.contains("https"));
                reads_files || Agent::new(&client, &means).is_ok()
            }
            Err(_) => false,
        }
    }
}

#[cfg(test)]
mod tests;
