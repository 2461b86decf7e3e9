//! The APIs of other building blocks. This sidecar has none of them; it answers what a Dapr sidecar answers when
//! they are not configured, so that SDKs and apps see what they know.

use std::borrow::Cow;

use http::StatusCode;

use crate::access::Access;
use crate::errors::{ApiError, MALFORMED_REQUEST, quoted};

/// How an API answers. `{0}` in a text is the name of the component in the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    State,
    StateQuery,
    Publish,
    Binding,
    Secrets,
    Configuration,
    Lock,
    Unlock,
    Crypto,
    SubtleCrypto,
    NoPlacement,
    Job(&'static str, &'static str),
    Conversation,
}

/// A call of such an API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call<'a> {
    kind: Kind,
    /// The name of the component, still escaped.
    name: &'a str,
}

const ANY: &[&str] = &["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"];
const WRITE: &[&str] = &["POST", "PUT"];
const GET: &[&str] = &["GET"];
const POST: &[&str] = &["POST"];
const PUT: &[&str] = &["PUT"];
const V1: &[&str] = &["v1.0"];
const ALPHA1: &[&str] = &["v1.0-alpha1"];
const ALPHAS: &[&str] = &["v1.0-alpha1", "v1.0-alpha2"];
const V1_ALPHA1: &[&str] = &["v1.0", "v1.0-alpha1"];
const WORKFLOWS: &[&str] = &["v1.0", "v1.0-alpha1", "v1.0-beta1"];

/// Versions, methods, path after the version, answer. In a path `{n}` is the name that the answer tells, `*` any
/// segment, `**` one or more.
const ROUTES: &[(&[&str], &[&str], &str, Kind)] = &[
    (V1, &["GET", "DELETE"], "state/{n}/*", Kind::State),
    (V1, WRITE, "state/{n}", Kind::State),
    (V1, WRITE, "state/{n}/bulk", Kind::State),
    (V1, WRITE, "state/{n}/transaction", Kind::State),
    (ALPHA1, WRITE, "state/{n}/query", Kind::StateQuery),
    (V1_ALPHA1, WRITE, "publish/bulk/{n}/**", Kind::Publish),
    (V1, WRITE, "publish/{n}/**", Kind::Publish),
    (V1, WRITE, "bindings/{n}", Kind::Binding),
    (V1, GET, "secrets/{n}/*", Kind::Secrets),
    (V1_ALPHA1, GET, "configuration/{n}", Kind::Configuration),
    (V1_ALPHA1, GET, "configuration/{n}/subscribe", Kind::Configuration),
    (
        V1_ALPHA1,
        GET,
        "configuration/{n}/*/unsubscribe",
        Kind::Configuration,
    ),
    (ALPHA1, POST, "lock/{n}", Kind::Lock),
    (ALPHA1, POST, "unlock/{n}", Kind::Unlock),
    (ALPHA1, PUT, "crypto/{n}/encrypt", Kind::Crypto),
    (ALPHA1, PUT, "crypto/{n}/decrypt", Kind::Crypto),
    (ALPHA1, POST, "subtlecrypto/{n}/*", Kind::SubtleCrypto),
    (V1, ANY, "actors/*/*/method/**", Kind::NoPlacement),
    (V1, WRITE, "actors/*/*/state", Kind::NoPlacement),
    (V1, GET, "actors/*/*/state/*", Kind::NoPlacement),
    (
        V1,
        &["GET", "POST", "PUT", "DELETE", "PATCH"],
        "actors/*/*/reminders/*",
        Kind::NoPlacement,
    ),
    (
        V1,
        &["POST", "PUT", "DELETE"],
        "actors/*/*/timers/*",
        Kind::NoPlacement,
    ),
    (WORKFLOWS, POST, "workflows/*/*/start", Kind::NoPlacement),
    (WORKFLOWS, GET, "workflows/*/*", Kind::NoPlacement),
    (WORKFLOWS, POST, "workflows/*/*/terminate", Kind::NoPlacement),
    (WORKFLOWS, POST, "workflows/*/*/pause", Kind::NoPlacement),
    (WORKFLOWS, POST, "workflows/*/*/resume", Kind::NoPlacement),
    (WORKFLOWS, POST, "workflows/*/*/purge", Kind::NoPlacement),
    (WORKFLOWS, POST, "workflows/*/*/raiseEvent/*", Kind::NoPlacement),
    (
        V1_ALPHA1,
        POST,
        "jobs/*",
        Kind::Job("DAPR_SCHEDULER_SCHEDULE_JOB", "schedule"),
    ),
    (
        V1_ALPHA1,
        GET,
        "jobs/*",
        Kind::Job("DAPR_SCHEDULER_GET_JOB", "get"),
    ),
    (
        V1_ALPHA1,
        &["DELETE"],
        "jobs/*",
        Kind::Job("DAPR_SCHEDULER_DELETE_JOB", "delete"),
    ),
    (ALPHAS, POST, "conversation/{n}/converse", Kind::Conversation),
];

/// The API that a request calls, if it is one of these and is there.
pub(crate) fn find<'a>(method: &str, path: &'a str, access: &Access) -> Option<Call<'a>> {
    at(path, access)
        .find(|(methods, _)| methods.contains(&method))
        .map(|(_, call)| call)
}

/// The methods by which a path may be called.
pub(crate) fn methods(path: &str, access: &Access) -> Vec<&'static str> {
    let mut found = Vec::new();
    for method in at(path, access).flat_map(|(methods, _)| methods) {
        if !found.contains(method) {
            found.push(*method);
        }
    }
    found
}

/// What is at a path, with its methods.
fn at<'a>(path: &'a str, access: &Access) -> impl Iterator<Item = (&'static [&'static str], Call<'a>)> {
    let split = path.strip_prefix('/').and_then(|path| path.split_once('/'));
    split.into_iter().flat_map(move |(version, rest)| {
        ROUTES
            .iter()
            .filter_map(move |(versions, methods, pattern, kind)| {
                let name = matches(pattern, rest)?;
                let is_there = versions.contains(&version) && access.has(version, pattern);
                is_there.then_some((*methods, Call { kind: *kind, name }))
            })
    })
}

/// Version and path of every API.
pub(crate) fn endpoints() -> impl Iterator<Item = (&'static str, &'static str)> {
    let routes = ROUTES.iter();
    routes.flat_map(|(versions, _, pattern, _)| versions.iter().map(move |version| (*version, *pattern)))
}

/// Whether a path has this form; the name in it if so.
fn matches<'a>(pattern: &str, path: &'a str) -> Option<&'a str> {
    let mut name = "";
    let mut segments = path.split('/');
    for wanted in pattern.split('/') {
        let segment = segments.next()?;
        match wanted {
            "**" => return Some(name),
            "{n}" => name = segment,
            "*" => {}
            literal if literal == segment => {}
            _ => return None,
        }
    }
    segments.next().is_none().then_some(name)
}

impl Call<'_> {
    /// Whether the answer depends on the body.
    pub(crate) fn reads_body(&self) -> bool {
        matches!(self.kind, Kind::Binding | Kind::Lock | Kind::Unlock)
    }

    /// The component that is asked for; empty for none.
    pub(crate) fn name(&self) -> Cow<'_, str> {
        percent_encoding::percent_decode_str(self.name).decode_utf8_lossy()
    }

    /// The answer. `body` is what was sent, if [`Self::reads_body`].
    pub(crate) fn answer(&self, app_id: &str, namespace: &str, body: &[u8]) -> ApiError {
        let name = self.name();
        if self.reads_body()
            && let Err(error) = serde_json::from_slice::<serde_json::Value>(body)
        {
            let text = format!("failed deserializing HTTP body: {}", go_words(&error, body));
            return ApiError::new(StatusCode::BAD_REQUEST, MALFORMED_REQUEST, text);
        }
        match self.kind {
            Kind::State => state(&name, &format!("{{\"appID\":{}}}", quoted(app_id))),
            Kind::StateQuery => state(&name, "null"),
            Kind::Publish => with_details(
                ApiError::new(
                    StatusCode::NOT_FOUND,
                    "ERR_PUBSUB_NOT_FOUND",
                    format!("pubsub {name} is not found"),
                ),
                "DAPR_PUBSUB_NOT_FOUND",
                "{}",
            ),
            Kind::Binding => binding(&name, body),
            Kind::Secrets => ApiError::internal(
                "ERR_SECRET_STORES_NOT_CONFIGURED",
                "secret store is not configured",
            ),
            Kind::Configuration => ApiError::internal(
                "ERR_CONFIGURATION_STORE_NOT_CONFIGURED",
                "configuration stores not configured",
            ),
            Kind::Lock => lock(&name, body),
            Kind::Unlock => not_locked(),
            Kind::Crypto => ApiError::internal(
                "ERR_CRYPTO_PROVIDERS_NOT_CONFIGURED",
                "crypto providers not configured",
            ),
            Kind::SubtleCrypto => ApiError::new(
                StatusCode::NOT_IMPLEMENTED,
                "ERR_API_UNIMPLEMENTED",
                "this API is currently not implemented",
            ),
            Kind::NoPlacement => ApiError::new(
                StatusCode::BAD_REQUEST,
                "ERR_ACTOR_NO_PLACEMENT",
                "placement service is not configured",
            ),
            Kind::Job(code, verb) => with_details(
                ApiError::internal(
                    code,
                    format!("failed to {verb} job due to: scheduler clients are disabled"),
                ),
                code,
                &format!(
                    "{{\"appID\":{},\"namespace\":{}}}",
                    quoted(app_id),
                    quoted(namespace)
                ),
            ),
            Kind::Conversation => ApiError::new(
                StatusCode::BAD_REQUEST,
                "ERR_CONVERSATION_NOT_FOUND",
                format!("failed finding conversation component {name}"),
            ),
        }
    }
}

fn state(name: &str, metadata: &str) -> ApiError {
    let text = format!("state store {name} is not configured");
    with_details(
        ApiError::internal("ERR_STATE_STORE_NOT_CONFIGURED", text),
        "DAPR_STATE_NOT_CONFIGURED",
        metadata,
    )
}

fn binding(name: &str, body: &[u8]) -> ApiError {
    let request: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let cause = match request["operation"].as_str() {
        None | Some("") => "operation field is missing from request".to_owned(),
        Some(_) => format!("couldn't find output binding {name}"),
    };
    let text = format!("error invoking output binding {name}: {cause}");
    ApiError::internal("ERR_INVOKE_OUTPUT_BINDING", text)
}

fn lock(name: &str, body: &[u8]) -> ApiError {
    let request: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    if request["expiryInSeconds"].as_f64().unwrap_or_default() > 0.0 {
        return not_locked();
    }
    let text = format!("ExpiryInSeconds is not positive in lock store {name}");
    ApiError::new(StatusCode::BAD_REQUEST, MALFORMED_REQUEST, text)
}

fn not_locked() -> ApiError {
    ApiError::internal("ERR_LOCK_STORE_NOT_CONFIGURED", "lock store is not configured")
}

fn with_details(error: ApiError, reason: &str, metadata: &str) -> ApiError {
    let details = format!(
        "[{{\"@type\":\"type.googleapis.com/google.rpc.ErrorInfo\",\"domain\":\"dapr.io\",\
         \"metadata\":{metadata},\"reason\":\"{reason}\"}}]"
    );
    ApiError {
        details: Some(details),
        ..error
    }
}

/// What Go's JSON decoder says of a body that is none.
pub(crate) fn go_words(error: &serde_json::Error, body: &[u8]) -> String {
    match body.trim_ascii_start().first() {
        None => "unexpected end of JSON input".to_owned(),
        Some(first) if error.column() <= 1 && !b"{[\"-0123456789tfn".contains(first) => {
            format!(
                "invalid character '{}' looking for beginning of value",
                char::from(*first)
            )
        }
        Some(_) if error.is_eof() => "unexpected end of JSON input".to_owned(),
        Some(_) => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use api_core::ApiLists;

    use super::*;

    /// Recorded from a Dapr sidecar of the app `oos`.
    const RECORDED: &str = include_str!("../tests-data/out-of-scope.tsv");

    #[test]
    fn the_recorded_answers() {
        let mut count = 0;
        for line in RECORDED.lines() {
            let fields: Vec<&str> = line.split('\t').collect();
            let [request, body, status, wanted] = fields[..] else {
                panic!("{line}")
            };
            let (method, path) = request.split_once(' ').unwrap();
            let access = Access::new(&ApiLists::default());
            let call = find(method, path, &access).unwrap_or_else(|| panic!("{request} has no answer"));
            let mut response = call.answer("oos", "default", body.as_bytes()).into_response();
            assert_eq!(response.status().as_str(), status, "{request}");
            let json = response.body_mut().take_full().unwrap();
            assert_eq!(std::str::from_utf8(&json).unwrap(), wanted, "{request}");
            count += 1;
        }
        assert_eq!(count, 32);
    }

    #[test]
    fn what_is_none_of_them() {
        for (method, path) in [
            ("GET", "/v1.0/nosuch"),
            ("GET", "/v1.0/subscribe"),
            ("PATCH", "/v1.0/state/s"),
            ("GET", "/v2.0/state/s/k"),
            ("GET", "/state/s/k"),
            ("GET", "/"),
        ] {
            let access = Access::new(&ApiLists::default());
            assert_eq!(find(method, path, &access), None, "{method} {path}");
        }
    }
}
