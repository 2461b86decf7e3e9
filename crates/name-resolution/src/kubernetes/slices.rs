//! The pods of an app as the API of the cluster tells them: a list, then changes, one JSON object a line.
//!
//! No client of Kubernetes is needed for two requests. The token of the service account is read for each, since it is
//! renewed about once an hour.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use invoke_core::AppRef;
use invoke_core::balance::Publisher;
use invoke_core::error::ResolveError;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};
use transport::tls::{OriginTls, Trust};

use super::COMPONENT;
use super::recent::Recent;
use super::slice::{Event, List, Slices};
use crate::origin::{Origin, Place};
use crate::registry::Means;
use crate::trouble::{BACK_OFF, Trouble};

/// Where a pod has the token and the authority of the API.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// How long an answer may take that need not wait for anything.
const LIMIT: Duration = Duration::from_secs(10);
/// How long the API is asked to tell of changes before it is asked anew.
const WATCH: Duration = Duration::from_secs(290);
/// How long a line may be, in bytes: a slice has up to a thousand pods.
const LONGEST: usize = 4 << 20;
/// How many apps are watched like this; the others are looked up in the DNS.
const PLACES: usize = 64;

/// For how long the DNS is asked in place of the API before that is tried again.
pub(super) const AGAIN: Duration = Duration::from_secs(60);
/// For how long a namespace that this sidecar may not look into is not asked for.
const DENIED: Duration = Duration::from_secs(55);
/// How often the log tells that the pods of a namespace cannot be watched.
const SILENCE: Duration = Duration::from_secs(600);

/// The API, and how many apps are watched.
#[derive(Debug)]
pub(super) struct Cluster {
    origin: Origin,
    token: PathBuf,
    port: u16,
    places: Semaphore,
    /// The namespaces into which this sidecar may not look. A call to an app that nobody knows asks anew.
    denied: Recent,
    /// Those of which the log has told.
    told: Recent,
}

/// Why the API tells nothing.
#[derive(Debug)]
struct Failure {
    text: String,
    /// Its answer, when it says no.
    status: Option<StatusCode>,
}

impl Failure {
    /// This sidecar has no right to look, which asking again does not change.
    fn is_denial(&self) -> bool {
        matches!(
            self.status,
            Some(StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
        )
    }
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self { text, status: None }
    }
}

/// Why nothing more is told.
enum Ended {
    /// The API does not let this sidecar look, or there is no place: the DNS knows, too.
    Refused(Failure),
    /// Whoever looked was told why.
    Failed,
}

impl Cluster {
    /// `account` is the folder of the service account, if it is another one than that of a pod.
    pub(super) fn new(account: &str, port: u16, means: &Means) -> Result<Self, String> {
        let account = Path::new(if account.is_empty() { ACCOUNT } else { account });
        let variable = |name: &str| {
            let missing = || format!("endpointSlices: {name} is not set, so this is no pod of a cluster");
            means.variable(name).ok_or_else(missing)
        };
        let (host, api_port) = (
            variable("KUBERNETES_SERVICE_HOST")?,
            variable("KUBERNETES_SERVICE_PORT")?,
        );
        let host = if host.contains(':') {
            format!("[{host}]")
        } else {
            host
        };
        let file = account.join("ca.crt");
        let roots =
            fs::read(&file).map_err(|error| format!("endpointSlices: open {}: {error}", file.display()))?;
        let tls = OriginTls::http1(Trust::Only(&roots), None)
            .map_err(|error| format!("endpointSlices: {error}"))?;
        let place = Place {
            authority: format!("{host}:{api_port}"),
            prefix: String::new(),
            tls: Some(tls),
            unix: None,
        };
        let origin = Origin::new(place, means)?;
        Ok(Self::at(origin, account.join("token"), port, PLACES))
    }

    fn at(origin: Origin, token: PathBuf, port: u16, places: usize) -> Self {
        Self {
            origin,
            token,
            port,
            places: Semaphore::new(places),
            denied: Recent::new(DENIED),
            told: Recent::new(SILENCE),
        }
    }

    /// Keeps the pods of an app up to date until nobody looks or there are none; `true` when the DNS is to be asked
    /// instead.
    pub(super) async fn keep(&self, app: &AppRef, host: &str, publisher: &Publisher) -> bool {
        let namespace = app.namespace.as_str();
        if self.denied.has(namespace) {
            return true;
        }
        let ended = tokio::select! {
            () = publisher.closed() => return false,
            ended = self.follow(app, host, publisher) => ended,
        };
        let Ended::Refused(failure) = ended else {
            return false;
        };
        if failure.is_denial() {
            self.denied.note(namespace);
        }
        let why = failure.text;
        if self.told.note(namespace) {
            tracing::warn!(
                target: "dapr.contrib",
                component = COMPONENT,
                "the pods of {app} cannot be watched, so the DNS is asked: {why}"
            );
        } else {
            tracing::debug!(target: "dapr.contrib", component = COMPONENT, "the DNS is asked for {app}: {why}");
        }
        true
    }

    async fn follow(&self, app: &AppRef, host: &str, publisher: &Publisher) -> Ended {
        let Ok(_place) = self.places.try_acquire() else {
            return Ended::Refused(format!("{PLACES} apps are watched already").into());
        };
        // What the DNS found before is none of what this keeps fresh.
        let mut is_known = false;
        let mut trouble = Trouble::new(COMPONENT);
        loop {
            let told = self.tell(app, publisher, &mut trouble, &mut is_known).await;
            let failure = match told {
                // What was known is too old to go on from it, or the API wants to be asked anew.
                Ok(Told::Again) => {
                    trouble.over();
                    sleep(BACK_OFF.0.mul_f64(fastrand::f64())).await;
                    continue;
                }
                Ok(Told::Nobody) => {
                    let text = format!("failed to resolve address for '{host}': lookup {host}: no such host");
                    publisher.fail(ResolveError::new(text));
                    return Ended::Failed;
                }
                Err(failure) => failure,
            };
            if !is_known || trouble.is_stale() {
                return Ended::Refused(failure);
            }
            sleep(trouble.next(&failure.text)).await;
        }
    }

    /// Asks for all and then for what changes, until it has to be begun anew.
    async fn tell(
        &self,
        app: &AppRef,
        publisher: &Publisher,
        trouble: &mut Trouble,
        is_known: &mut bool,
    ) -> Result<Told, Failure> {
        let (id, namespace) = (app.id.as_str(), app.namespace.as_str());
        // Who an app is goes into a path and a selector: letters, digits and hyphens, as the API lets names have.
        let is_name = |text: &str| {
            !text.is_empty()
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        if !is_name(id) || !is_name(namespace) {
            return Ok(Told::Nobody);
        }
        let target = format!(
            "/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices?labelSelector=kubernetes.io%2Fservice-name%3D{id}-dapr"
        );
        let body = self.list(&target).await?;
        let list: List =
            serde_json::from_slice(&body).map_err(|error| format!("the list of slices: {error}"))?;
        let mut version = list.metadata.resource_version;
        let mut slices = Slices::of(list.items);
        loop {
            let endpoints = slices.endpoints(self.port);
            if endpoints.is_empty() {
                return Ok(Told::Nobody);
            }
            publisher.publish(endpoints);
            trouble.heard();
            *is_known = true;
            let begun = Instant::now();
            let changes = self.changes(&target, &mut version, &mut slices, publisher, trouble);
            match timeout(WATCH + LIMIT, changes).await {
                Ok(Ok(true)) => return Ok(Told::Again),
                Ok(Ok(false)) => trouble.over(),
                Ok(Err(error)) => return Err(error),
                Err(_) => return Err("the API tells nothing, and does not end either".to_owned().into()),
            }
            // An API that ends at once is not asked all the time.
            sleep(BACK_OFF.0.saturating_sub(begun.elapsed())).await;
        }
    }

    async fn list(&self, target: &str) -> Result<Bytes, Failure> {
        let answer = self
            .origin
            .ask(Method::GET, target, self.headers()?, Bytes::new(), LIMIT)
            .await
            .map_err(|error| error.to_string())?;
        if answer.status == StatusCode::OK {
            return Ok(answer.body);
        }
        let shown = &answer.body[..answer.body.len().min(512)];
        Err(Failure {
            text: format!(
                "the API answered {}: {}",
                answer.status,
                String::from_utf8_lossy(shown).trim()
            ),
            status: Some(answer.status),
        })
    }

    /// Follows the changes until the API has said all that it wanted to: whether all is to be asked for anew.
    async fn changes(
        &self,
        target: &str,
        version: &mut String,
        slices: &mut Slices,
        publisher: &Publisher,
        trouble: &mut Trouble,
    ) -> Result<bool, Failure> {
        let seconds = WATCH.as_secs();
        let target = format!(
            "{target}&watch=1&allowWatchBookmarks=true&timeoutSeconds={seconds}&resourceVersion={version}"
        );
        let answer = self.origin.open(&target, self.headers()?, LIMIT).await;
        let answer = answer.map_err(|error| error.to_string())?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::GONE => return Ok(true),
            other => {
                return Err(Failure {
                    text: format!("the API answered {other}"),
                    status: Some(other),
                });
            }
        }
        let mut body = answer.into_body();
        let mut line = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| error.to_string())?;
            let Some(data) = frame.data_ref() else { continue };
            line.extend_from_slice(data);
            while let Some(end) = line.iter().position(|byte| *byte == b'\n') {
                let event = line.split_to(end + 1);
                if event.trim_ascii().is_empty() {
                    continue;
                }
                if self.take(&event, version, slices, publisher)? {
                    return Ok(true);
                }
                trouble.over();
            }
            if line.len() > LONGEST {
                return Err(format!("a change is longer than {LONGEST} bytes").into());
            }
        }
        Ok(false)
    }

    /// Takes a change in: whether all is to be asked for anew.
    fn take(
        &self,
        event: &[u8],
        version: &mut String,
        slices: &mut Slices,
        publisher: &Publisher,
    ) -> Result<bool, String> {
        let Event { kind, object } =
            serde_json::from_slice(event).map_err(|error| format!("a change: {error}"))?;
        if kind == "ERROR" {
            return match object.code {
                Some(410) => Ok(true),
                code => Err(format!(
                    "the API says {}: {}",
                    code.unwrap_or_default(),
                    object.message.unwrap_or_default()
                )),
            };
        }
        if !object.metadata.resource_version.is_empty() {
            version.clone_from(&object.metadata.resource_version);
        }
        match kind.as_str() {
            "ADDED" | "MODIFIED" => slices.set(object),
            "DELETED" => slices.remove(&object.metadata.name),
            _ => return Ok(false),
        }
        let endpoints = slices.endpoints(self.port);
        // While none is ready those that were may still answer; if none comes, the list says so.
        if endpoints.is_empty() {
            return Ok(true);
        }
        publisher.publish(endpoints);
        Ok(false)
    }

    fn headers(&self) -> Result<HeaderMap, String> {
        let token = fs::read_to_string(&self.token)
            .map_err(|error| format!("open {}: {error}", self.token.display()))?;
        let mut value = HeaderValue::from_str(&format!("Bearer {}", token.trim()))
            .map_err(|_| format!("{} has no token", self.token.display()))?;
        value.set_sensitive(true);
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, value);
        Ok(headers)
    }
}

/// What came of asking.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    /// All is to be asked for anew.
    Again,
    /// There is nobody.
    Nobody,
}

#[cfg(test)]
mod tests;
