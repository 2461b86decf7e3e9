//! What is measured, and who measures it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use app_channel::{ConcurrencyLimit, GrpcCall, HttpCall, Observer, Watched};
use lifecycle::Current;
use resiliency::{Name, Part, State, Told, Unobserved};
use resources::{Configuration, Metric};
use telemetry::log::Log;
use telemetry::metrics::{
    self, AccessCounters, AppMetrics, BreakerState, CallMetrics, HttpMode, Kind, Metrics, MetricsSettings,
    PathLabels, PeerMetrics, PolicyKind, PolicyMeters, ResiliencyLabels, ResiliencyMetrics, Rule, Rules,
    StartMetrics,
};
use telemetry::server::{MetricsError, MetricsServer};
use telemetry::traces::Exporters;

use super::names::Directory;
use super::parts::Parts;
use crate::fatal::Fatal;
use crate::flags::Flags;
use crate::servers;

const SCOPE: &str = "dapr.runtime.diagnostics";
const DEFAULT_BUCKETS: &str = "1 2 3 4 5 6 8 10 13 16 20 25 30 40 50 65 80 100 130 160 200 250 300 400 500 650 800 \
                               1000 2000 5000 10000 20000 50000 100000";

const NEW_DEFAULT: &str = "The default value for 'spec.metric.http.increasedCardinality' will change to 'false' in Dapr 1.15 or later";

/// Whoever measures. Where nothing is measured, nobody is there to be told.
#[derive(Clone, Default)]
pub(super) struct Measuring {
    /// The calls at the doors and between sidecars.
    pub(super) calls: Option<CallMetrics>,
    /// The calls of the app and of external endpoints.
    app: Option<AppMetrics>,
    /// What a start counts.
    pub(super) start: Option<StartMetrics>,
    /// The decisions of access control.
    pub(super) access: AccessCounters,
    /// What policies of resiliency do.
    pub(super) policies: Option<ResiliencyMetrics>,
    /// The families that Dapr does not have.
    own: Own,
    /// Whether latencies have exemplars.
    has_exemplars: bool,
    /// When these counters began; `None` where there are none.
    began: Option<SystemTime>,
}

/// Which families there are that Dapr does not have.
#[derive(Clone, Copy, Default)]
struct Own {
    is_on: bool,
    /// Whether instances of apps have series of their own.
    has_endpoints: bool,
}

impl Own {
    fn of(configuration: &Configuration) -> Self {
        let own = &configuration.daprd.metrics;
        Self {
            is_on: own.enabled.unwrap_or(true),
            has_endpoints: own.endpoints.unwrap_or(false),
        }
    }
}

impl Measuring {
    /// The same counters, of which a configuration that measures the same shows others.
    pub(super) fn showing(&self, configuration: &Configuration) -> Self {
        let own = match self.calls {
            Some(_) => Own::of(configuration),
            None => Own::default(),
        };
        Self { own, ..self.clone() }
    }

    /// What the configuration wants. Mistakes are told and left out: what is measured must not decide whether the sidecar
    /// runs.
    pub(super) fn begin(flags: &Flags, app_id: &str, configuration: &Configuration) -> Self {
        let metric = configuration.metric();
        if metric.enabled == Some(false) {
            if has_default_cardinality(&metric) {
                tracing::warn!(target: "dapr.runtime.http", "{NEW_DEFAULT}");
            }
            return Self::default();
        }
        tell(&metric);
        if !flags.is_on("enable-metrics") {
            return Self::default();
        }
        let own = Own::of(configuration);
        let settings = settings(app_id, &metric, own.is_on, has_exemplars(configuration));
        let (paths, errors) = PathLabels::new(settings.http.is_increased, &settings.http.patterns);
        for error in errors {
            tracing::error!(target: SCOPE, "spec.metrics.http.{error}");
        }
        let paths = Arc::new(paths);
        let calls = CallMetrics::new(&settings, &paths);
        let app = AppMetrics::new(&settings, &paths);
        let start = StartMetrics::new(Arc::clone(&settings.app_id), settings.rules.clone());
        let access = AccessCounters::default();
        let policies = ResiliencyMetrics::new(Arc::clone(&settings.app_id), settings.rules.clone());
        Self {
            calls: Some(calls),
            app: Some(app),
            start: Some(start),
            access,
            policies: Some(policies),
            own,
            has_exemplars: settings.has_exemplars,
            began: Some(SystemTime::now()),
        }
    }

    /// All that is measured, for the metrics port.
    fn families(&self) -> Vec<metrics::Family> {
        let mut families = self.access.families();
        families.extend(self.calls.iter().flat_map(CallMetrics::families));
        families.extend(self.app.iter().flat_map(AppMetrics::families));
        families.extend(self.start.iter().flat_map(StartMetrics::families));
        families.extend(self.policies.iter().flat_map(ResiliencyMetrics::families));
        match self.began {
            Some(began) => families.into_iter().map(|family| family.since(began)).collect(),
            None => families,
        }
    }

    /// Whoever is told what policies do.
    pub(super) fn of_policies(&self) -> Arc<dyn resiliency::Observer> {
        match &self.policies {
            Some(metrics) => Arc::new(MeasuredPolicies(metrics.clone())),
            None => Arc::new(Unobserved),
        }
    }
}

/// Shows what is measured at the metrics port, now and after each change of what is measured.
pub(super) fn register(measuring: &Current<Measuring>, registry: &Metrics) {
    let measured = measuring.clone();
    registry.register(Box::new(move || measured.take().families()));
    let measuring = measuring.clone();
    registry.offer_openmetrics(move || measuring.take().has_exemplars);
}

/// What the families that Dapr does not have are read from.
pub(super) struct Sources {
    pub(super) app_id: String,
    pub(super) log: Log,
    pub(super) exporters: Exporters,
    pub(super) directory: Directory,
    pub(super) limit: Option<ConcurrencyLimit>,
    /// When the certificate expires, for a sidecar that has one.
    pub(super) expiry: Option<Box<dyn Fn() -> u64 + Send + Sync>>,
}

impl Sources {
    /// Shows them at the metrics port, as long as they are wanted.
    pub(super) fn register(self, measuring: &Current<Measuring>, registry: &Metrics) {
        let measuring = measuring.clone();
        let peers = PeerMetrics::new(&self.app_id);
        registry.register(Box::new(move || {
            let own = measuring.take().own;
            if own.is_on {
                self.families(own, &peers)
            } else {
                Vec::new()
            }
        }));
    }

    fn families(&self, own: Own, peers: &PeerMetrics) -> Vec<metrics::Family> {
        let app_id = &self.app_id;
        let gauge = |name, help, value| metrics::single(app_id, name, help, Kind::Gauge, value);
        let mut families = metrics::sockets(app_id);
        families.extend(peers.families(&self.directory.names().targets.peers(), own.has_endpoints));
        families.extend(self.exporters.families());
        families.push(metrics::single(
            app_id,
            "daprd_log_lines_lost_total",
            "The number of lines that went without being written to the log.",
            Kind::Counter,
            self.log.lost(),
        ));
        if let Some(limit) = &self.limit {
            let usage = limit.usage();
            families.extend([
                gauge(
                    "daprd_app_concurrency_limit",
                    "How many calls the app gets at once.",
                    usage.places as u64,
                ),
                gauge(
                    "daprd_app_calls_in_flight",
                    "How many calls the app has, where there is a limit.",
                    usage.taken as u64,
                ),
                gauge(
                    "daprd_app_calls_waiting",
                    "How many calls wait for the app, where there is a limit.",
                    usage.waiting as u64,
                ),
            ]);
        }
        families.extend(self.expiry.iter().map(|expiry| {
            gauge(
                "daprd_certificate_expiry_timestamp_seconds",
                "When the certificate of this sidecar expires, in seconds since 1970.",
                expiry(),
            )
        }));
        families
    }
}

/// Whoever is told of the calls of the app and of external endpoints; nobody where nothing is ever measured.
pub(super) fn watched(flags: &Flags, measuring: &Current<Measuring>) -> Watched {
    if flags.is_on("enable-metrics") {
        Watched::by(Arc::new(Measured(measuring.clone())))
    } else {
        Watched::default()
    }
}

/// Says what is measured, in the words of Dapr.
pub(super) fn tell(metric: &Metric) {
    let shown = serde_json::to_string(metric).unwrap_or_default();
    tracing::info!(target: SCOPE, "metric spec: {shown}");
    match metric.latency_distribution_buckets.as_deref() {
        None | Some([]) => {
            tracing::info!(target: SCOPE, "Using default latency distribution buckets: [{DEFAULT_BUCKETS}]");
        }
        Some(buckets) => {
            let buckets: Vec<String> = buckets.iter().map(ToString::to_string).collect();
            let buckets = buckets.join(" ");
            tracing::info!(target: SCOPE, "Using custom latency distribution buckets: [{buckets}]");
        }
    }
    if has_default_cardinality(metric) {
        // Dapr says it twice, in these scopes.
        tracing::warn!(target: SCOPE, "{NEW_DEFAULT}");
        tracing::warn!(target: "dapr.runtime.http", "{NEW_DEFAULT}");
    }
}

/// Whether nobody says how many series there may be.
fn has_default_cardinality(metric: &Metric) -> bool {
    let http = metric.http.as_ref();
    http.and_then(|http| http.increased_cardinality).is_none()
}

/// How labels are rewritten.
pub fn rules(metric: &Metric) -> impl Iterator<Item = Rule> {
    metric.rules.iter().flat_map(|rule| {
        let labels = rule.labels.iter().map(move |label| (rule, label));
        labels.flat_map(|(rule, label)| {
            label.regex.iter().map(|(replacement, pattern)| Rule {
                family: rule.name.clone(),
                label: label.name.clone(),
                pattern: pattern.clone(),
                replacement: replacement.clone(),
            })
        })
    })
}

/// Whether latencies are to have exemplars.
fn has_exemplars(configuration: &Configuration) -> bool {
    configuration.daprd.metrics.exemplars.unwrap_or(false)
}

fn settings(app_id: &str, metric: &Metric, has_own: bool, has_exemplars: bool) -> MetricsSettings {
    let (rules, errors) = Rules::compile(rules(metric));
    for error in errors {
        tracing::error!(
            target: SCOPE,
            "[INIT_FAILURE]: initialization error occurred for metrics: {error}; spec.metrics.rules goes without it"
        );
    }
    let buckets = metric.latency_distribution_buckets.iter().flatten();
    let latencies = buckets.filter_map(|bucket| {
        let valid = u64::try_from(*bucket);
        if valid.is_err() {
            tracing::error!(
                target: SCOPE,
                "spec.metrics.latencyDistributionBuckets: {bucket} is negative and not used"
            );
        }
        valid.ok()
    });
    let http = metric.http.clone().unwrap_or_default();
    MetricsSettings {
        app_id: app_id.into(),
        http: HttpMode {
            is_increased: http.increased_cardinality.unwrap_or(true),
            patterns: http.path_matching,
            excludes_verbs: http.exclude_verbs.unwrap_or(false),
        },
        latencies: latencies.collect(),
        rules,
        records_error_codes: metric.record_error_codes.unwrap_or(false),
        has_own,
        has_exemplars,
    }
}

/// Tells the calls of the app to the metrics that are current.
struct Measured(Current<Measuring>);

fn with_call(call: HttpCall<'_>, tell: impl FnOnce(metrics::HttpCall<'_>)) {
    let path = String::from_utf8_lossy(call.path);
    tell(metrics::HttpCall {
        method: call.method,
        path: &path,
        span: call.span,
    });
}

impl Measured {
    fn with(&self, tell: impl FnOnce(&AppMetrics)) {
        if let Some(metrics) = &self.0.take().app {
            tell(metrics);
        }
    }
}

impl Observer for Measured {
    fn http_begun(&self, call: HttpCall<'_>, bytes: u64) {
        self.with(|metrics| with_call(call, |call| metrics.http_begun(call, bytes)));
    }

    fn http_answered(&self, call: HttpCall<'_>, status: i32, latency: Duration) {
        self.with(|metrics| with_call(call, |call| metrics.http_completed(call, status, latency)));
    }

    fn http_received(&self, bytes: u64) {
        self.with(|metrics| metrics.http_received(bytes));
    }

    fn grpc_answered(&self, call: GrpcCall<'_>) {
        self.with(|metrics| {
            metrics.grpc_completed(metrics::GrpcCall {
                method: call.method,
                status: call.status,
                bytes: [call.sent, call.received],
                latency: call.latency,
                span: call.span,
            });
        });
    }

    fn http_probed(&self, status: i32, latency: Duration) {
        self.with(|metrics| metrics.http_probed(status, latency));
    }

    fn grpc_probed(&self, status: i32, latency: Duration) {
        self.with(|metrics| metrics.grpc_probed(status, latency));
    }
}

/// Tells what policies do to the metrics.
struct MeasuredPolicies(ResiliencyMetrics);

impl resiliency::Observer for MeasuredPolicies {
    fn loaded(&self, resource: Name<'_>) {
        self.0.loaded(resource.name, resource.namespace);
    }

    fn target(&self, last: Name<'_>, target: &str) -> Arc<dyn Told> {
        Arc::new(MeasuredTarget(self.0.meters(ResiliencyLabels {
            name: last.name.to_owned(),
            namespace: last.namespace.to_owned(),
            target: format!("app_{target}"),
        })))
    }
}

/// The same for one target.
#[derive(Debug)]
struct MeasuredTarget(Arc<PolicyMeters>);

impl Told for MeasuredTarget {
    fn executed(&self, part: Part) {
        self.0.applied(kind_of(part));
    }

    fn activated(&self, part: Part) {
        self.0.activated(kind_of(part));
    }

    fn breaker_state(&self, state: State) {
        self.0.breaker_is(state_of(state));
    }
}

fn kind_of(part: Part) -> PolicyKind {
    match part {
        Part::Timeout => PolicyKind::Timeout,
        Part::Retry => PolicyKind::Retry,
        Part::CircuitBreaker(state) => PolicyKind::CircuitBreaker(state_of(state)),
    }
}

fn state_of(state: State) -> BreakerState {
    match state {
        State::Closed => BreakerState::Closed,
        State::HalfOpen => BreakerState::HalfOpen,
        State::Open => BreakerState::Open,
    }
}

/// Opens the metrics port.
pub(super) async fn serve(flags: &Flags, registry: Metrics, parts: &Parts) -> Result<(), Fatal> {
    if !flags.is_on("enable-metrics") {
        return Ok(());
    }
    let port =
        go_text::atoi(flags.text("metrics-port")).map_err(|error| MetricsError::Port(error.to_string()))?;
    let port = u16::try_from(port).map_err(|_| MetricsError::Port(format!("{port} is no port")))?;
    let server = MetricsServer::bind(flags.text("metrics-listen-address"), port, registry)
        .await
        .inspect_err(|error| servers::tell_unusable("metrics-port", error))?;
    parts.tasks.spawn(server.serve(parts.shutdown.clone()));
    Ok(())
}
