//! Resiliency policies: timeouts, retries, circuit breakers, and the targets that they are for.
//!
//! Read as Dapr's `daprd` reads them, which is not how it reads other resources: only the first document of a file,
//! whatever its version; names of fields in any case; a number or a boolean where a text is expected is its text. What
//! a policy means is decided by the crate `resiliency`.

mod fields;
mod load;
mod overlay;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde_json::{Value, json};

use crate::field_error::FieldError;
use crate::manifest::Head;
use crate::schema::of as schema_of;
use fields::Fields;

pub use load::{LoadedResiliency, Trouble, decode_resiliency, load_resiliency};
pub(crate) use load::{kind as kind_of, of_document, of_text};

/// A `Resiliency`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resiliency {
    /// Name, namespace and scopes.
    pub head: Head,
    /// `spec.policies.timeouts`, each a duration.
    pub timeouts: BTreeMap<String, String>,
    /// `spec.policies.retries`.
    pub retries: BTreeMap<String, RetryPolicy>,
    /// `spec.policies.circuitBreakers`.
    pub circuit_breakers: BTreeMap<String, CircuitBreakerPolicy>,
    /// `spec.policies.hedges`, which Dapr does not know.
    pub hedges: BTreeMap<String, HedgePolicy>,
    /// `spec.targets.apps`: which policies calls to an app, an endpoint or an address have.
    pub apps: BTreeMap<String, TargetPolicies>,
    /// `spec.targets.actors`, which this sidecar only checks.
    pub actors: BTreeMap<String, TargetPolicies>,
    /// `spec.targets.components`, inbound and outbound: the same.
    pub components: BTreeMap<String, [TargetPolicies; 2]>,
}

/// An entry of `spec.policies.retries`. Empty texts stand for the default.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[schemars(rename_all = "camelCase")]
pub struct RetryPolicy {
    /// `policy`: `constant` or `exponential`.
    pub policy: String,
    /// `duration`: the pause of a constant policy.
    pub duration: String,
    /// `maxInterval`: the longest pause of an exponential one.
    pub max_interval: String,
    /// `maxRetries`.
    pub max_retries: Option<i64>,
    /// `matching.httpStatusCodes`.
    #[schemars(skip)]
    pub http_codes: String,
    /// `matching.gRPCStatusCodes`.
    #[schemars(skip)]
    pub grpc_codes: String,
    /// `jitter`, which Dapr does not know: by which share of itself a pause is scattered.
    pub jitter: String,
    /// `totalTimeout`, which Dapr does not know: how long all attempts and pauses may take together.
    pub total_timeout: String,
    /// `maxRetryAfter`, which Dapr does not know: the longest pause that the other side may ask for.
    pub max_retry_after: String,
    /// `budget`, which Dapr does not know: how many of the calls may be retries.
    pub budget: Option<RetryBudget>,
}

/// `budget` of a retry policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[schemars(rename_all = "camelCase")]
pub struct RetryBudget {
    /// `percent`: how many retries there may be for a hundred calls.
    pub percent: Option<i64>,
    /// `minimum`: how many there may be in any case.
    pub minimum: Option<i64>,
    /// `window`: the time in which both are counted.
    pub window: String,
}

/// An entry of `spec.policies.circuitBreakers`. Empty texts stand for the default.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[schemars(rename_all = "camelCase")]
pub struct CircuitBreakerPolicy {
    /// `maxRequests`.
    pub max_requests: i64,
    /// `interval`.
    pub interval: String,
    /// `timeout`.
    pub timeout: String,
    /// `trip`: a CEL expression.
    pub trip: String,
}

/// An entry of `spec.policies.hedges`: when a call is made to a second endpoint beside the first.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[schemars(rename_all = "camelCase")]
pub struct HedgePolicy {
    /// `delay`: so long after the first one.
    pub delay: String,
    /// `quantile`: once this share of the calls would have been answered.
    pub quantile: String,
    /// `verbs`: those that are hedged besides GET, HEAD and OPTIONS.
    pub verbs: String,
    /// `budget`: how many of the calls may be made twice.
    pub budget: Option<RetryBudget>,
}

/// An entry of `spec.targets`: names of policies, empty for none.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[schemars(rename_all = "camelCase")]
pub struct TargetPolicies {
    /// `timeout`.
    pub timeout: String,
    /// `retry`.
    pub retry: String,
    /// `circuitBreaker`.
    pub circuit_breaker: String,
    /// `circuitBreakerScope`, of actors.
    pub circuit_breaker_scope: String,
    /// `circuitBreakerCacheSize`; 0 for the default.
    pub circuit_breaker_cache_size: i64,
    /// `hedge`, which Dapr does not know.
    pub hedge: String,
    /// `methods`, which Dapr does not know: what some methods or verbs of an app have in place of that.
    #[schemars(skip)]
    pub methods: BTreeMap<String, TargetPolicies>,
}

impl Resiliency {
    /// The kind of the resource.
    pub const KIND: &'static str = "Resiliency";

    /// A document as such a resource; an error names the field.
    pub(crate) fn of(mut document: Value) -> Result<Self, FieldError> {
        overlay::apply(&mut document).map_err(|text| FieldError::new(overlay::path(), text.clone(), text))?;
        let document = Fields::of(Vec::new(), document)?;
        let metadata = document.section("metadata")?;
        let spec = document.section("spec")?;
        let policies = spec.section("policies")?;
        let targets = spec.section("targets")?;
        Ok(Self {
            head: Head {
                name: metadata.text("name")?,
                namespace: metadata.text("namespace")?,
                scopes: document.texts("scopes")?,
                secret_store: String::new(),
            },
            timeouts: policies.section("timeouts")?.all_texts()?,
            retries: named(&policies.section("retries")?, retry)?,
            circuit_breakers: named(&policies.section("circuitBreakers")?, circuit_breaker)?,
            hedges: named(&policies.section("hedges")?, hedge)?,
            apps: named(&targets.section("apps")?, target)?,
            actors: named(&targets.section("actors")?, target)?,
            // Components are no targets of calls to apps, but a mistake in their types is one in the resource.
            components: named(&targets.section("components")?, |component| {
                let way = |direction| target(&component.section(direction)?);
                Ok([way("inbound")?, way("outbound")?])
            })?,
        })
    }
}

fn named<T>(
    section: &Fields,
    read: impl Fn(&Fields) -> Result<T, FieldError>,
) -> Result<BTreeMap<String, T>, FieldError> {
    let entries = section.entries()?.into_iter();
    entries.map(|(name, fields)| Ok((name, read(&fields)?))).collect()
}

fn retry(fields: &Fields) -> Result<RetryPolicy, FieldError> {
    let matching = fields.section("matching")?;
    Ok(RetryPolicy {
        policy: fields.text("policy")?,
        duration: fields.text("duration")?,
        max_interval: fields.text("maxInterval")?,
        max_retries: fields.integer("maxRetries")?,
        http_codes: matching.text("httpStatusCodes")?,
        grpc_codes: matching.text("gRPCStatusCodes")?,
        jitter: fields.text("jitter")?,
        total_timeout: fields.text("totalTimeout")?,
        max_retry_after: fields.text("maxRetryAfter")?,
        budget: fields
            .optional("budget")?
            .map(|fields| budget(&fields))
            .transpose()?,
    })
}

fn budget(fields: &Fields) -> Result<RetryBudget, FieldError> {
    Ok(RetryBudget {
        percent: fields.integer("percent")?,
        minimum: fields.integer("minimum")?,
        window: fields.text("window")?,
    })
}

fn hedge(fields: &Fields) -> Result<HedgePolicy, FieldError> {
    Ok(HedgePolicy {
        delay: fields.text("delay")?,
        quantile: fields.text("quantile")?,
        verbs: fields.text("verbs")?,
        budget: fields
            .optional("budget")?
            .map(|fields| budget(&fields))
            .transpose()?,
    })
}

fn circuit_breaker(fields: &Fields) -> Result<CircuitBreakerPolicy, FieldError> {
    Ok(CircuitBreakerPolicy {
        max_requests: fields.integer("maxRequests")?.unwrap_or_default(),
        interval: fields.text("interval")?,
        timeout: fields.text("timeout")?,
        trip: fields.text("trip")?,
    })
}

/// An entry with what it has for methods, which have nothing of the kind.
fn target(fields: &Fields) -> Result<TargetPolicies, FieldError> {
    Ok(TargetPolicies {
        methods: named(&fields.section("methods")?, parts)?,
        ..parts(fields)?
    })
}

fn parts(fields: &Fields) -> Result<TargetPolicies, FieldError> {
    Ok(TargetPolicies {
        timeout: fields.text("timeout")?,
        retry: fields.text("retry")?,
        circuit_breaker: fields.text("circuitBreaker")?,
        circuit_breaker_scope: fields.text("circuitBreakerScope")?,
        circuit_breaker_cache_size: fields.integer("circuitBreakerCacheSize")?.unwrap_or_default(),
        hedge: fields.text("hedge")?,
        methods: BTreeMap::new(),
    })
}

/// The JSON Schema of what [`Resiliency::of`] reads.
pub(crate) fn schema() -> Value {
    let text = || json!({ "type": "string" });
    let texts = || json!({ "type": "array", "items": text() });
    let closed = |properties: Value| json!({ "type": "object", "properties": properties });
    let named = |entry: Value| json!({ "type": "object", "additionalProperties": entry });
    let mut retry = schema_of::<RetryPolicy>();
    retry["properties"]["matching"] = closed(json!({ "httpStatusCodes": text(), "gRPCStatusCodes": text() }));
    let mut target = schema_of::<TargetPolicies>();
    target["properties"]["methods"] = named(target.clone());
    let component = closed(json!({ "inbound": target, "outbound": target }));
    let policies = json!({
        "timeouts": named(text()),
        "retries": named(retry),
        "circuitBreakers": named(schema_of::<CircuitBreakerPolicy>()),
        "hedges": named(schema_of::<HedgePolicy>()),
    });
    let targets =
        json!({ "apps": named(target.clone()), "actors": named(target), "components": named(component) });
    closed(json!({
        "metadata": closed(json!({ "name": text(), "namespace": text() })),
        "scopes": texts(),
        "spec": closed(json!({ "policies": closed(policies), "targets": closed(targets) })),
    }))
}
