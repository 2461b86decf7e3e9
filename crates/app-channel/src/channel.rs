//! The channel to an HTTP app.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::uri::{InvalidUriParts, PathAndQuery};
use http::{Method, Request, Response, Uri};
use invoke_core::{
    AppChannel, Body, BodyError, Cause, Fault, Head, Invocation, InvokeError, Origin, Pipeline, ProxiedHead,
    Reply, headers,
};
use lifecycle::Tasks;
use thiserror::Error;
use transport::client::{H1Config, H1Pool, H2Origin, Proxy, RawTarget, Reuse};
use transport::tls::OriginTls;

use crate::length::Declared;
use crate::url::{self, Target};
use crate::{failure, piped, request, response};

/// The protocol of an HTTP app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpProtocol {
    /// HTTP/1.1, in clear text or over TLS.
    Http,
    /// HTTP/2 in clear text, by prior knowledge.
    H2c,
}

/// Where an app is and how it is called.
#[derive(Clone)]
pub struct HttpSettings {
    /// The protocol.
    pub protocol: HttpProtocol,
    /// `http://host:port` or `https://host:port`, perhaps with a path, without a trailing slash.
    pub base: String,
    /// How connections are secured; for `https://` addresses.
    pub tls: Option<OriginTls>,
    /// What connections go through; never for the app.
    pub proxy: Option<Proxy>,
    /// What the app knows its sidecar by (`APP_API_TOKEN`).
    pub token: Option<HeaderValue>,
    /// Status line and headers of an answer together, in bytes.
    pub max_header_bytes: usize,
    /// In which header the app is told how many milliseconds are left of the time of a call, if any.
    pub deadline_header: Option<HeaderName>,
    /// For how long connections are used again.
    pub reuse: Reuse,
}

impl fmt::Debug for HttpSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpSettings")
            .field("protocol", &self.protocol)
            .field("base", &self.base)
            .field("max_header_bytes", &self.max_header_bytes)
            .finish_non_exhaustive()
    }
}

/// An address that no app can have.
#[derive(Debug, Error)]
#[error("invalid address of an HTTP endpoint {base:?}: {reason}")]
pub struct ChannelError {
    base: String,
    reason: String,
}

/// Calls one HTTP app. Cloning shares the connections.
#[derive(Clone)]
pub struct HttpChannel(Arc<Inner>, Option<Arc<dyn Pipeline>>);

struct Inner {
    settings: HttpSettings,
    base_path: String,
    host: HeaderValue,
    client: Client,
}

enum Client {
    Http(H1Pool<Outgoing>),
    H2c(H2Origin),
}

impl fmt::Debug for HttpChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HttpChannel").field(&self.0.settings).finish()
    }
}

impl HttpChannel {
    /// A channel without connections; calls make them. `tasks` owns the connections.
    pub fn new(settings: HttpSettings, tasks: Tasks) -> Result<Self, ChannelError> {
        let invalid = |reason: &str| ChannelError {
            base: settings.base.clone(),
            reason: reason.to_owned(),
        };
        let uri: Uri = settings
            .base
            .parse()
            .map_err(|error: http::uri::InvalidUri| invalid(&error.to_string()))?;
        let authority = uri.authority().ok_or_else(|| invalid("no host"))?;
        if authority.as_str().contains('@') {
            let reason = "a user and a password in the address are not supported".to_owned();
            let base = "(not shown)".to_owned();
            return Err(ChannelError { base, reason });
        }
        if uri.query().is_some() {
            return Err(invalid("a query"));
        }
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| invalid("host"))?;
        let is_https = uri.scheme() == Some(&http::uri::Scheme::HTTPS);
        if is_https != settings.tls.is_some() {
            return Err(invalid("the scheme and the security of the connection differ"));
        }
        let address = match authority.port_u16() {
            Some(_) => authority.to_string(),
            None if is_https => format!("{authority}:443"),
            None => format!("{authority}:80"),
        };
        let base_path = uri.path().trim_end_matches('/').to_owned();
        let client = match settings.protocol {
            HttpProtocol::Http => {
                let config = H1Config {
                    max_header_bytes: settings.max_header_bytes,
                    tls: settings.tls.clone(),
                    proxy: settings.proxy.clone(),
                    reuse: settings.reuse.clone(),
                    ..H1Config::default()
                };
                Client::Http(H1Pool::new(address, config, tasks))
            }
            HttpProtocol::H2c => {
                Client::H2c(H2Origin::reusing(&address, None, settings.reuse.clone(), tasks))
            }
        };
        let inner = Inner {
            settings,
            base_path,
            host,
            client,
        };
        Ok(Self(Arc::new(inner), None))
    }

    /// The same channel, with middleware in front (`spec.appHttpPipeline`).
    #[must_use]
    pub fn piped(&self, pipeline: Option<Arc<dyn Pipeline>>) -> Self {
        Self(Arc::clone(&self.0), pipeline)
    }

    /// Sends a request that the sidecar makes by itself and waits for the head of the answer.
    pub(crate) async fn send(&self, call: Invocation) -> Result<Reply, InvokeError> {
        self.invoke(Cow::Owned(call.head), call.body).await
    }

    /// What a call asks of the app.
    pub(crate) fn prepare(&self, head: Cow<'_, Head>, body: Body) -> Result<Prepared, InvokeError> {
        let method = method_of(&head)?;
        let inner = &*self.0;
        let target = url::target(&inner.settings.base, &inner.base_path, &head.method, &head.query)
            .map_err(failure::of_url)?;
        let Target { escaped, raw } = target;
        let declared = declared_length(&head)?;
        let wants_length = method == Method::HEAD && head.origin == Origin::Http;
        let deadline = head.deadline;
        let mut headers = request::headers_of(&mut head.into_owned());
        if let (Some(name), Some(deadline)) = (&inner.settings.deadline_header, deadline) {
            let left = deadline.saturating_duration_since(Instant::now()).as_millis();
            headers.insert(name, HeaderValue::from(u64::try_from(left).unwrap_or(u64::MAX)));
        }
        if let Some(token) = &inner.settings.token {
            headers.insert(headers::API_TOKEN, token.clone());
        }
        Ok(Prepared {
            method,
            target: escaped,
            raw,
            wants_length,
            headers,
            body,
            declared,
        })
    }

    /// Sends a request and waits for the head of the answer.
    pub(crate) async fn exchange(&self, prepared: Prepared) -> Result<Reply, InvokeError> {
        let Prepared {
            method,
            target,
            raw,
            wants_length,
            mut headers,
            body,
            declared,
        } = prepared;
        let inner = &*self.0;
        if matches!(method, Method::POST | Method::PUT | Method::PATCH) && body.as_full() == Some(b"") {
            // An app that expects a body learns at once that there is none.
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        let (body, broken) = Outgoing::new(body, declared);
        match (inner.settings.protocol, http_body::Body::size_hint(&body).exact()) {
            // With a method that rarely has one, hyper sends a body of unknown length only when it is told to.
            (HttpProtocol::Http, None) => {
                headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
            }
            // HTTP/2 does without, but what many apps are made of does not: behind WSGI there is no body then.
            (HttpProtocol::H2c, Some(length)) if length > 0 => {
                headers.insert(header::CONTENT_LENGTH, length.into());
            }
            _ => {}
        }
        let mut request = Request::new(body);
        if let Some(raw) = &raw {
            request.extensions_mut().insert(raw.clone());
        }
        *request.method_mut() = method.clone();
        *request.uri_mut() = inner.uri(target.clone()).map_err(failure::of_parts)?;
        *request.headers_mut() = headers;
        let shown = || {
            let target = match &raw {
                Some(raw) => String::from_utf8_lossy(raw.as_bytes()),
                None => target.as_str().into(),
            };
            url::shown(&inner.settings.base, &inner.base_path, &target)
        };
        let answer = inner.exchange(request, wants_length).await;
        answer.map_err(|error| {
            let broken = broken.and_then(|slot| slot.lock().unwrap_or_else(PoisonError::into_inner).take());
            failure::of_call(&method, &shown(), inner.settings.max_header_bytes, error, broken)
        })
    }
}

/// A request to an app, but for what its connection adds.
pub(crate) struct Prepared {
    pub(crate) method: Method,
    pub(crate) target: PathAndQuery,
    /// The target with what cannot stand in the former.
    pub(crate) raw: Option<RawTarget>,
    /// The caller asked how long the answer would be.
    pub(crate) wants_length: bool,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Body,
    /// How long the caller said that the body is.
    pub(crate) declared: Option<u64>,
}

impl Inner {
    /// Where a request goes, as its protocol wants it written.
    fn uri(&self, target: PathAndQuery) -> Result<Uri, InvalidUriParts> {
        match self.client {
            Client::Http(_) => Ok(Uri::from(target)),
            Client::H2c(_) => {
                let mut parts = http::uri::Parts::default();
                parts.scheme = Some(http::uri::Scheme::HTTP);
                parts.authority = self.host.to_str().ok().and_then(|host| host.parse().ok());
                parts.path_and_query = Some(target);
                Uri::from_parts(parts)
            }
        }
    }

    async fn exchange(
        &self,
        mut request: Request<Outgoing>,
        wants_length: bool,
    ) -> Result<Reply, transport::client::ClientError> {
        match &self.client {
            Client::Http(pool) => {
                request.headers_mut().insert(header::HOST, self.host.clone());
                Ok(response::reply(pool.send(request).await?, wants_length).await)
            }
            Client::H2c(origin) => Ok(response::reply(origin.send(request).await?, wants_length).await),
        }
    }
}

impl AppChannel for HttpChannel {
    async fn invoke(&self, head: Cow<'_, Head>, body: Body) -> Result<Reply, InvokeError> {
        let prepared = self.prepare(head, body)?;
        match &self.1 {
            None => self.exchange(prepared).await,
            // In a box: nobody else needs room for it.
            Some(pipeline) => {
                let send = |prepared| self.exchange(prepared);
                Box::pin(piped::through(&**pipeline, prepared, send)).await
            }
        }
    }

    async fn proxy(&self, _: Cow<'_, ProxiedHead>, _: Body) -> Result<Response<Body>, InvokeError> {
        let text = format!("{} is called with HTTP, not with gRPC", self.0.settings.base);
        Err(InvokeError::unsent(
            Fault::Caller,
            Cause::App { text, source: None },
        ))
    }
}

fn method_of(head: &Head) -> Result<Method, InvokeError> {
    let Some(verb) = head.verb else {
        return Err(InvokeError::unsent(Fault::Caller, Cause::MissingVerb));
    };
    verb.to_http()
        .ok_or_else(|| InvokeError::unsent(Fault::Caller, Cause::InvalidVerb))
}

/// The length that the caller declared, if it did.
fn declared_length(head: &Head) -> Result<Option<u64>, InvokeError> {
    let Some(length) = head.headers.get(header::CONTENT_LENGTH) else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(length.as_bytes());
    text.trim()
        .parse()
        .map(Some)
        .map_err(|_| failure::of_length(&text))
}

type Slot = Arc<Mutex<Option<BodyError>>>;

/// The body of a request to an app.
#[derive(Default)]
pub(crate) struct Outgoing {
    body: Body,
    /// Where its error is left for the one who waits for the answer.
    broken: Option<Slot>,
}

impl Outgoing {
    fn new(body: Body, declared: Option<u64>) -> (Self, Option<Slot>) {
        if body.as_full().is_some() {
            return (Self { body, broken: None }, None);
        }
        let body = match declared {
            // `0` says nothing: a stream that is known to be empty is no stream.
            Some(declared) if declared > 0 => Body::stream(Declared::new(body, declared)),
            _ => body,
        };
        let slot = Slot::default();
        (
            Self {
                body,
                broken: Some(Arc::clone(&slot)),
            },
            Some(slot),
        )
    }
}

impl http_body::Body for Outgoing {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let polled = std::pin::Pin::new(&mut this.body).poll_frame(cx);
        match (polled, &this.broken) {
            (std::task::Poll::Ready(Some(Err(error))), Some(slot)) => {
                *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                let broke = BodyError::Protocol("the body of the request broke".to_owned());
                std::task::Poll::Ready(Some(Err(broke)))
            }
            (polled, _) => polled,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests;
