//! `middleware.http.opa`: a policy in Rego says what goes on (Open Policy Agent).
//!
//! The policy is that of OPA before its version 1, as Dapr's: `import rego.v1` asks for the newer syntax. It is compiled
//! once; each request is judged by a copy that shares what was compiled. A judgement that takes too long is none.

mod eval;
mod input;
mod jwt;
mod words;

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use invoke_core::{Body, BodyError};
use regorus::{Engine, Value};
use serde::Deserialize;
use thiserror::Error;

use crate::answer::refused;
use crate::handler::{After, Call, Verdict};
use crate::properties::{Duplicate, Properties};
use crate::whole::{NotWhole, whole};
use eval::Policy;
use input::Input;

/// How much of a body a policy may see, in bytes. A longer one is refused: half of it would be another one.
const LONGEST: usize = 16 << 20;
/// What decides.
const RULE: &str = "data.http.allow";
/// The name under which a policy appears in errors.
const FILE: &str = "inline.rego";
/// What says that the policy could not decide.
const ERROR: HeaderName = HeaderName::from_static("x-dapr-opa-error");

/// Functions of OPA that are not here. A policy that names one is refused: each of its answers could be wrong.
const MISSING: [&str; 10] = [
    "http.send",
    "io.jwt.decode_verify",
    "io.jwt.encode_",
    "io.jwt.verify_",
    "crypto.",
    "json.match_schema",
    "graphql.",
    "rego.parse_module",
    "providers.aws",
    "time.",
];

/// What is here of those.
const NOW: &str = "time.now_ns";

/// Why there is no policy.
#[derive(Debug, Error)]
pub(crate) enum OpaError {
    #[error(transparent)]
    Duplicate(#[from] Duplicate),
    #[error(
        "1 error(s) decoding:\n\n* cannot parse 'defaultStatus' as int: strconv.ParseInt: parsing {0:?}: invalid syntax"
    )]
    Status(String),
    #[error("1 error occurred: {FILE}:0: rego_parse_error: empty module")]
    Empty,
    #[error("rego_unsupported_error: the policy uses {0}, which is not part of daprd-rs")]
    Missing(&'static str),
    #[error(
        "1 error occurred: {FILE}:{line}: rego_parse_error: {word:?} needs an import: rego.v1 or future.keywords"
    )]
    Keyword { line: usize, word: &'static str },
    #[error("rego_parse_error: {0}")]
    Rego(String),
}

/// Why a policy did not decide.
#[derive(Debug, Error)]
enum EvalError {
    #[error("received no results back from rego policy. Are you setting data.http.allow?")]
    NoResult,
    #[error("got an invalid type back from repo policy. Only a boolean or map is valid")]
    Type,
    #[error(transparent)]
    Evaluation(#[from] eval::NoResult),
    #[error("{0}")]
    Rego(String),
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    #[error("additional_headers: {0:?} cannot be a header")]
    Header(String),
}

/// What a policy says that says more than yes or no.
#[derive(Deserialize)]
struct Judgement {
    #[serde(default)]
    allow: bool,
    #[serde(default)]
    additional_headers: Option<BTreeMap<String, String>>,
    #[serde(default)]
    status_code: Option<i64>,
}

/// A policy.
pub(crate) struct Opa {
    policy: Policy,
    /// Whether it decides anything.
    has_rule: bool,
    default_status: i64,
    included: Vec<HeaderName>,
    reads_body: bool,
}

impl std::fmt::Debug for Opa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opa")
            .field("default_status", &self.default_status)
            .field("included", &self.included)
            .field("reads_body", &self.reads_body)
            .finish_non_exhaustive()
    }
}

impl Opa {
    pub(crate) fn new(properties: &Properties) -> Result<Self, OpaError> {
        properties.check()?;
        let text = |name| properties.get(name).unwrap_or_default();
        let default_status = match properties.get("defaultStatus") {
            None => StatusCode::FORBIDDEN.as_u16().into(),
            Some("") => 0,
            Some(status) => status.parse().map_err(|_| OpaError::Status(status.to_owned()))?,
        };
        let (engine, has_rule) = compiled(text("rego"))?;
        let included = text("includedHeaders").replace(' ', "");
        Ok(Self {
            policy: Policy::new(engine),
            has_rule,
            default_status,
            // What is no name of a header is in no request.
            included: included
                .split(',')
                .filter_map(|name| HeaderName::try_from(name).ok())
                .collect(),
            reads_body: go_text::is_truthy(text("readBody")),
        })
    }

    pub(crate) async fn handle(&self, call: &mut Call) -> Verdict {
        let mut body = bytes::Bytes::new();
        if self.reads_body {
            let taken = std::mem::take(call.request.body_mut());
            body = match Box::pin(whole(taken, LONGEST)).await {
                Ok(body) => body,
                Err(error @ (NotWhole::TooLong(_) | NotWhole::Broken(BodyError::TooLarge))) => {
                    tracing::warn!(target: "dapr.contrib", "Error procesing rego policy: the body: {error}");
                    let answer = refused(StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large");
                    return Err(Box::new(answer));
                }
                Err(NotWhole::Broken(error)) => {
                    // Nobody judged it, so it does not go on, not even to routes that read no body.
                    tracing::warn!(target: "dapr.contrib", "Error procesing rego policy: the body: {error}");
                    return Err(Box::new(refused(StatusCode::BAD_REQUEST, "Bad Request")));
                }
            };
            *call.request.body_mut() = Body::full(body.clone());
        }
        let judged = Box::pin(self.judge(call, &body)).await;
        judged.unwrap_or_else(|error| {
            tracing::warn!(target: "dapr.contrib", "Error procesing rego policy: {error}");
            let mut answer = answered(self.default_status);
            let told = HeaderValue::from_static("true");
            answer.headers_mut().insert(ERROR, told);
            Err(Box::new(answer))
        })
    }

    async fn judge(&self, call: &mut Call, body: &[u8]) -> Result<Verdict, EvalError> {
        if !self.has_rule {
            return Err(EvalError::NoResult);
        }
        let input = Input { call, body }.value(&self.included);
        let result = self.policy.evaluate(input).await?;
        match result {
            Value::Bool(true) => Ok(Ok(After::Nothing)),
            Value::Bool(false) => Ok(Err(Box::new(answered(self.default_status)))),
            Value::Undefined => Err(EvalError::NoResult),
            Value::Object(_) => {
                let json = result
                    .to_json_str()
                    .map_err(|error| EvalError::Rego(in_words(&error)))?;
                self.apply(call, serde_json::from_str(&json)?)
            }
            _ => Err(EvalError::Type),
        }
    }

    fn apply(&self, call: &mut Call, judgement: Judgement) -> Result<Verdict, EvalError> {
        let mut headers = HeaderMap::new();
        for (name, value) in judgement.additional_headers.into_iter().flatten() {
            match (HeaderName::try_from(&name), HeaderValue::try_from(value)) {
                (Ok(name), Ok(value)) => headers.insert(name, value),
                _ => return Err(EvalError::Header(name)),
            };
        }
        if judgement.allow {
            call.request.headers_mut().extend(headers);
            return Ok(Ok(After::Nothing));
        }
        let mut answer = answered(judgement.status_code.unwrap_or(self.default_status));
        for (name, value) in &headers {
            if !answer.headers().contains_key(name) {
                answer.headers_mut().insert(name, value.clone());
            }
        }
        Ok(Err(Box::new(answer)))
    }
}

/// A policy, and whether it has the rule that decides.
fn compiled(rego: &str) -> Result<(Engine, bool), OpaError> {
    if rego.trim().is_empty() {
        return Err(OpaError::Empty);
    }
    let mut used = words::words(rego).filter(|word| word.text != NOW);
    let missing = used.find_map(|word| MISSING.into_iter().find(|missing| word.text.starts_with(missing)));
    if let Some(missing) = missing {
        return Err(OpaError::Missing(missing));
    }
    if let Some((line, word)) = words::keyword_without_import(rego) {
        return Err(OpaError::Keyword { line, word });
    }
    let failed = |error: anyhow::Error| OpaError::Rego(in_words(&error));
    let mut engine = Engine::new();
    engine.set_rego_v0(true);
    jwt::add(&mut engine).map_err(failed)?;
    let now = |_: Vec<Value>| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Ok(u64::try_from(now.unwrap_or_default().as_nanos()).map_or(Value::Undefined, Value::from))
    };
    engine
        .add_extension(NOW.to_owned(), 0, Box::new(now))
        .map_err(failed)?;
    engine
        .add_policy(FILE.to_owned(), rego.to_owned())
        .map_err(failed)?;
    match eval::rehearse(&mut engine) {
        Err(error) if error.to_string().contains("not a valid rule path") => Ok((engine, false)),
        Err(error) if error.to_string().contains("could not find function") => Err(failed(error)),
        _ => Ok((engine, true)),
    }
}

/// An error of the engine on one line.
fn in_words(error: &anyhow::Error) -> String {
    let said = format!("{error:#}");
    let lines: Vec<&str> = said
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    lines.join(" ")
}

/// A status with its name; one without a name is 500, as in Dapr.
fn answered(status: i64) -> Response<Body> {
    let status = u16::try_from(status).ok().filter(|status| *status >= 200);
    let status = status.and_then(|status| StatusCode::from_u16(status).ok());
    let named = status.and_then(|status| Some((status, status.canonical_reason()?)));
    let (status, name) = named.unwrap_or((StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error"));
    refused(status, name)
}

/// Doors for the fuzz targets.
#[cfg(feature = "fuzz")]
pub(crate) mod fuzz {
    pub(crate) fn keyword_without_import(rego: &str) -> Option<(usize, &'static str)> {
        super::words::keyword_without_import(rego)
    }

    pub(crate) fn decoded(token: &str) -> Option<String> {
        super::jwt::decoded(token)?.to_json_str().ok()
    }
}

#[cfg(test)]
mod tests;
