//! What the configuration decides, built whole or not at all, and what lasts beyond it.
//!
//! A [`Generation`] is built of what lasts (connections, watched endpoints, the app's state, identity) and of what was
//! read: rules, resources. A mistake in what was read is an error before anything changes. The next generation takes the
//! place of this one with one store; calls keep the one that they began with.

use std::sync::Arc;

use access_control::Policy;
use api_core::{ApiLists, Metadata};
use api_http::{Api, Health, PublicApi};
use app_channel::{App, External, Watched};
use internal_grpc::{Client, Server, ServerConfig};
use invoke_core::headers::Identity;
use invoke_core::routing::{Mirror, Routed, Sticky, Versions};
use invoke_core::{Attempts, ExternalEndpoints, Inbound, Observe, Outbound, Routes, Targets};
use lifecycle::{Current, ShutdownRequests, Tasks};
use middleware::Store;
use reflection::Reflection;
use resiliency::Policies;
use resources::{AccessLogging, Component, Configuration, HttpEndpoint, Resiliency, StickyBy, Template};
use telemetry::metrics::{AccessCounters, Metrics};
use telemetry::push::PushPlan;
use telemetry::traces::{Exporters, Plan};

use super::access;
use super::apis::{Shown, api_settings, grpc_settings, is_traced, metadata};
use super::enabled::Enabled;
use super::endpoints;
use super::given::CommandLine;
use super::metrics::Measuring;
use super::middleware::Pipelines;
use super::names::Directory;
use super::policies::policies;
use super::pushed::Pushed;
use super::reuse::ReuseBounds;
use crate::access_log::{AccessLog, Accesses};
use crate::environment::Environment;
use crate::fatal::Fatal;
use crate::limits::max_message;
use crate::observer::{ApiLog, Observers};
use crate::scope::SCOPE;

/// The caller's side, with every port filled.
pub(super) type Caller = Outbound<App, Policy, Client, External, Policies, Observers>;
/// The callee's side.
pub(super) type Callee = Inbound<App, Policy, Observers>;
/// All targets that are called.
pub(super) type Known = Targets<
    <External as ExternalEndpoints>::Channel,
    <Policies as Attempts>::Policy,
    <Observers as Observe>::Meters,
>;

/// What lasts from one generation to the next.
pub(super) struct Lasting {
    pub(super) environment: Environment,
    pub(super) identity: Arc<Identity>,
    /// The app, with its connections, its limit and its health.
    pub(super) app: Option<App>,
    /// The connections to other sidecars.
    pub(super) client: Client,
    /// How others are found, and the targets that were found.
    pub(super) directory: Directory,
    pub(super) health: Health,
    pub(super) requests: ShutdownRequests,
    /// Who owns the connections to external endpoints.
    pub(super) connections: Tasks,
    pub(super) of_api: Reflection,
    pub(super) of_internal: Reflection,
    /// Those who export spans: each generation has its own, and those of the one before send what is left.
    pub(super) exporters: Exporters,
    /// What the metrics port shows.
    pub(super) registry: Metrics,
    /// Whoever pushes that.
    pub(super) pushed: Pushed,
    /// Whoever measures. Counters go on from one generation to the next, unless what is measured changes.
    pub(super) measuring: Current<Measuring>,
    /// Whoever is told of the calls of the app and of external endpoints.
    pub(super) watched: Watched,
}

/// The rules of a configuration, compiled. What looks like a mistake in them is in the log.
#[derive(Clone)]
pub(super) struct Rules {
    policy: Policy,
    apis: ApiLists,
    traces: Plan,
    /// Where metrics are pushed to, if they are.
    push: Option<PushPlan>,
    /// What the access log says of a call, if there is one.
    accesses: Option<Template>,
    routes: Routes,
    reuse: ReuseBounds,
}

impl Rules {
    pub(super) fn compile(
        given: &CommandLine<'_>,
        configuration: &Configuration,
        environment: &Environment,
        counters: &AccessCounters,
    ) -> Result<Self, Fatal> {
        Ok(Self {
            accesses: accesses(&configuration.daprd.access_log, environment)?,
            policy: access::policy(given.flags, given.settings, configuration, counters)?,
            apis: access::api_lists(configuration),
            push: if given.flags.is_on("enable-metrics") {
                super::traces::push_plan(&given.settings.app_id, configuration)?
            } else {
                None
            },
            traces: super::traces::plan(&given.settings.app_id, configuration)?,
            routes: routes(configuration)?,
            reuse: ReuseBounds::of(&configuration.daprd.app.connections)?
                .or(ReuseBounds::of_variables(&environment.app_connections)?),
        })
    }

    /// Says in the log how traces are sampled.
    pub(super) fn say_sampler(&self) {
        say_sampler(&self.traces);
    }
}

/// The template of the access log; what the configuration says comes before the environment.
fn accesses(log: &AccessLogging, environment: &Environment) -> Result<Option<Template>, Fatal> {
    if log.enabled.is_some() || log.template.is_some() {
        let is_on = log.enabled.unwrap_or(true);
        return Ok(is_on.then(|| log.template.clone().unwrap_or_default()));
    }
    match environment.access_log.as_deref() {
        None | Some("false") => Ok(None),
        Some("true") => Ok(Some(Template::default())),
        Some(text) => Ok(Some(text.parse()?)),
    }
}

/// What is done with calls to some apps.
fn routes(configuration: &Configuration) -> Result<Routes, Fatal> {
    let by = |sticky| match sticky {
        StickyBy::Header(name) => Sticky::Header(name),
        StickyBy::Cookie(name) => Sticky::Cookie(name),
    };
    let routed = configuration.routed()?.into_iter().map(|routed| {
        let mirror = routed.mirror.map(|mirror| Mirror {
            app: mirror.app,
            share: mirror.share,
            at_once: mirror.at_once,
        });
        let what = Routed {
            versions: Versions::new(routed.versions, routed.sticky.map(by)),
            instance: routed.sticky_instance.map(by),
            mirror,
        };
        (routed.app, what)
    });
    Ok(Routes::new(routed))
}

fn say_sampler(traces: &Plan) {
    tracing::info!(target: SCOPE, "Dapr trace sampler initialized: {}", traces.sampler());
}

/// What was read for a generation.
pub(super) struct Read {
    pub(super) configuration: Configuration,
    pub(super) rules: Rules,
    pub(super) components: Vec<Arc<Component>>,
    /// Those of the components that are middleware.
    pub(super) middleware: Store,
    pub(super) endpoints: Vec<Arc<HttpEndpoint>>,
    pub(super) resiliency: Vec<Arc<Resiliency>>,
    /// Whether nothing changed of which policies are made.
    pub(super) keeps_policies: bool,
}

/// The sidecar as one configuration wants it: a handler for each door.
pub(super) struct Generation {
    pub(super) http: Api<Caller, Observers>,
    pub(super) grpc: api_grpc::Api<Caller, Observers>,
    pub(super) public: PublicApi<Observers>,
    pub(super) internal: Server<Callee, Observers>,
    pub(super) metadata: Arc<Metadata>,
    /// What is in front of the doors.
    pub(super) enabled: Enabled,
    /// The app, behind the middleware of this configuration.
    pub(super) app: Option<App>,
    /// What the next generation goes on with.
    external: External,
    policies: Policies,
}

impl Generation {
    /// Builds the next generation. What apps left in the metadata goes on from `before`, and so do circuit breakers and
    /// connections of what did not change.
    pub(super) fn build(
        given: &CommandLine<'_>,
        lasting: &Lasting,
        read: Read,
        before: Option<&Self>,
    ) -> Self {
        let CommandLine {
            flags,
            options,
            settings,
            log,
        } = *given;
        let Read {
            configuration,
            rules:
                Rules {
                    policy,
                    apis,
                    traces,
                    push,
                    accesses,
                    routes,
                    reuse,
                },
            components,
            middleware,
            endpoints,
            resiliency,
            keeps_policies,
        } = read;
        let pipelines = Pipelines::of(&configuration, &middleware);
        let app = lasting.app.as_ref().map(|app| app.piped(pipelines.app.as_ref()));
        if let Some(app) = &app {
            reuse.put_into(app.reuse());
        }
        let environment = &lasting.environment;
        let shown = Shown {
            components: &components,
            endpoints: &endpoints,
            resiliency: &resiliency,
        };
        let shown = metadata(settings, &configuration, environment, shown);
        let metadata = Arc::new(match before {
            None => Metadata::new(shown),
            Some(before) => before.metadata.renewed(shown),
        });
        let by_flag = flags
            .is_given("enable-api-logging")
            .then(|| flags.is_on("enable-api-logging"));
        let log = ApiLog::new(log.clone(), by_flag, configuration.api_logging());
        let measuring = lasting.measuring.take();
        if before.is_none() {
            say_sampler(&traces);
        }
        let traces = traces.begin(&lasting.exporters);
        let accesses = accesses.map(|template| AccessLog::new(given.log.clone(), &settings.app_id, template));
        let seen = (traces, accesses.map(Accesses));
        let observer = Arc::new(((log, measuring.calls.clone()), seen));
        lasting
            .pushed
            .follow(push, |plan| plan.begin(&lasting.registry, &lasting.exporters));
        let external = match before {
            None => endpoints::external(settings, options, &lasting.watched, &lasting.connections),
            Some(before) => before.external.clone(),
        };
        let external = endpoints::with_endpoints(&external, &endpoints, &lasting.connections);
        let external = external.piped(pipelines.app);
        let before = before.map(|before| &before.policies);
        let policies = match before {
            Some(before) if keeps_policies => before.clone(),
            _ => policies(before, options, &resiliency, &endpoints, measuring.of_policies()),
        };
        let inbound = Arc::new(Inbound::observed(
            Arc::clone(&lasting.identity),
            app.clone(),
            policy,
            Arc::clone(&observer),
        ));
        let names = lasting.directory.names();
        let outbound = Outbound::with(
            Arc::clone(&lasting.identity),
            Arc::clone(&inbound),
            lasting.client.clone(),
            external.clone(),
            names.resolver.clone(),
            Arc::clone(&names.targets),
            policies.clone(),
        );
        let outbound = Arc::new(outbound.routed(routes));
        Self {
            external,
            policies,
            enabled: Enabled::new(is_traced(&configuration), measuring.calls.is_some(), &apis),
            grpc: api_grpc::Api::new(
                Arc::clone(&outbound),
                Arc::clone(&observer),
                grpc_settings(options, &configuration, environment, apis.clone()),
                Arc::clone(&metadata),
                lasting.requests.clone(),
                lasting.of_api.clone(),
            ),
            public: PublicApi::new(
                Arc::clone(&observer),
                Arc::clone(&metadata),
                lasting.health.clone(),
                &apis,
            ),
            http: Api::new(
                outbound,
                Arc::clone(&observer),
                api_settings(flags, options, &configuration, environment, apis, pipelines.api),
                Arc::clone(&metadata),
                lasting.health.clone(),
                lasting.requests.clone(),
            ),
            internal: Server::observed(
                inbound,
                observer,
                ServerConfig {
                    max_message: max_message(options),
                    tracing: is_traced(&configuration),
                },
                lasting.of_internal.clone(),
            ),
            metadata,
            app,
        }
    }
}
