//! The caller's end: gives calls to other sidecars.

mod errors;
mod link;
mod old;
mod reply;

use std::pin::pin;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::BytesMut;
use grpc_wire::{Encoding, GrpcStatus, MESSAGE_HEAD, Relay, RelayedRequest, format_timeout};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{Request, Response, Uri};
use http_body_util::Either;
use invoke_core::balance::Endpoint;
use invoke_core::headers::TRACEPARENT;
use invoke_core::trace::TraceContext;
use invoke_core::{
    AppRef, Body, Cause, Delivery, Fault, Head, InvokeError, Peers, ProxiedHead, Reply, RpcStatus, Unseen,
    error::code,
};
use lifecycle::Tasks;
use transport::client::{CountedBody, Destination, H2Pool, H2PoolConfig, Purged};

use crate::codec::{EncodeError, begin_message, encode_request, encode_request_stream, finish_message};
use crate::frames::{ErrorSlot, Frames, first_frame};
use crate::limit::{MessageLimit, Telling};
use crate::unseen;
use crate::{CALL_LOCAL, CALL_LOCAL_STREAM};

use self::old::Again;

const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const GRPC_TRACE_BIN: HeaderName = HeaderName::from_static("grpc-trace-bin");

/// The limits of the client.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// The longest message that is accepted, in bytes.
    pub max_message: usize,
    /// The connections. With TLS, the identity that its configuration is asked for is `/ns/<namespace>/<app id>`.
    pub pool: H2PoolConfig,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            max_message: 4 * 1024 * 1024,
            pool: H2PoolConfig::default(),
        }
    }
}

/// What goes out on a connection: messages that are made here, or those of a proxied call.
type Outgoing = Either<Frames, RelayedRequest<Body>>;

/// Gives calls to other sidecars over pooled connections. Cloning shares them.
#[derive(Clone)]
pub struct Client {
    pool: Arc<H2Pool>,
    max_message: usize,
    telling: Telling,
    /// Whether peers must prove who they are.
    is_secured: bool,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("max_message", &self.max_message)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// A client without connections; calls make them. `tasks` owns the connections.
    pub fn new(config: ClientConfig, tasks: Tasks) -> Self {
        Self {
            is_secured: config.pool.tls.is_some(),
            pool: Arc::new(H2Pool::new(config.pool, tasks)),
            max_message: config.max_message,
            telling: Telling::new(config.max_message),
        }
    }

    pub(crate) fn purge(&self, max_idle: Duration) -> Vec<Purged> {
        self.pool.purge(max_idle)
    }

    async fn stream(
        &self,
        destination: &Destination,
        endpoint: &Endpoint,
        head: &Head,
        until: Option<Instant>,
        body: Body,
    ) -> Result<Reply, InvokeError> {
        let mut first = BytesMut::with_capacity(first_frame(512, &body));
        begin_message(&mut first);
        encode_request_stream(head, &mut first).map_err(unmarshallable)?;
        let (frames, slot) = Frames::of_client(first, body, MessageLimit::of(endpoint));
        let request = self.request(CALL_LOCAL_STREAM, head, until, frames);
        let reply = async {
            let answer = self
                .pool
                .send_to(destination, request)
                .await
                .map_err(errors::transport)?;
            let limit = MessageLimit::told(answer.headers());
            let is_unseen = unseen::is_said(answer.headers());
            let answer = checked(answer)?;
            endpoint.set_longest_message(Some(limit.bytes()));
            let mut reply = reply::of_stream(answer, self.max_message).await?;
            reply.is_unseen = is_unseen;
            Ok(reply)
        };
        reply.await.map_err(|error| own_body_error(slot, error))
    }

    /// The same call in one message, for peers that do not know streams.
    async fn unary(
        &self,
        destination: &Destination,
        head: &Head,
        until: Option<Instant>,
        body: Body,
    ) -> Result<Reply, InvokeError> {
        let max = self.max_message;
        let data = old::collect(body, max).await?;
        let mut message = BytesMut::with_capacity(512 + data.len());
        begin_message(&mut message);
        encode_request(head, &data, &mut message).map_err(unmarshallable)?;
        old::within(message.len() - MESSAGE_HEAD, max)?;
        finish_message(&mut message, 0, 0);
        let (frames, _) = Frames::of_client(message, Body::empty(), MessageLimit::UNTOLD);
        let request = self.request(CALL_LOCAL, head, until, frames);
        let answer = self
            .pool
            .send_to(destination, request)
            .await
            .map_err(errors::transport)?;
        reply::of_unary(checked(answer)?, max).await
    }

    /// Calls a peer that may be so old that it does not know streams. Only then is the call there a second time.
    async fn stream_or_unary(
        &self,
        app: &AppRef,
        endpoint: &Endpoint,
        head: &Head,
        until: Option<Instant>,
        mut body: Body,
    ) -> Result<Reply, InvokeError> {
        let link = self.link(app, endpoint);
        let again = Again::of(&mut body, endpoint);
        match self.stream(&link, endpoint, head, until, body).await {
            Err(error) if error.rpc_code() == Some(code::UNIMPLEMENTED) => {}
            other => {
                again.let_go();
                return other;
            }
        }
        // The next call must find out anew whether the peer takes streams: it may be a new sidecar at the same
        // address.
        endpoint.set_longest_message(None);
        let Some(body) = again.body() else {
            return Err(old::refused(app));
        };
        old::warn(app);
        // Rare, and large: a call must not carry room for it.
        Box::pin(self.unary(&link, head, until, body)).await
    }

    fn request(
        &self,
        path: &'static str,
        head: &Head,
        until: Option<Instant>,
        frames: Frames,
    ) -> Request<Outgoing> {
        let path = PathAndQuery::from_static(path);
        let mut headers = hop_headers(head, until);
        self.telling.put(&mut headers);
        post(path, headers, Either::Left(frames))
    }
}

impl Peers for Client {
    async fn invoke(
        &self,
        app: &AppRef,
        endpoint: &Endpoint,
        head: &Head,
        until: Option<Instant>,
        body: Body,
    ) -> Result<Reply, InvokeError> {
        // Pinned here: to hand such a large future on would be to copy it.
        let call = pin!(self.stream_or_unary(app, endpoint, head, until, body));
        let Some(deadline) = head.deadline else {
            return call.await;
        };
        let late = InvokeError::new(Fault::Caller, Delivery::Maybe, Cause::DeadlineExceeded);
        match tokio::time::timeout_at(deadline.into(), call).await {
            Err(_) => Err(late),
            // The same time ran out at the other side, which was first to tell.
            Ok(Err(error)) if is_late(&error) && Instant::now() >= deadline => Err(late),
            Ok(done) => done,
        }
    }

    async fn proxy(
        &self,
        app: &AppRef,
        endpoint: &Endpoint,
        head: &ProxiedHead,
        until: Option<Instant>,
        body: Body,
    ) -> Result<Response<Body>, InvokeError> {
        let link = self.link(app, endpoint);
        let (relay, mut body) = Relay::new(body, self.max_message, head.deadline);
        let mut headers = proxied_headers(head, until);
        unseen::ask(&mut headers);
        // Every sidecar takes gzip, but those of Dapr take nothing else.
        if let Some(encoding @ Encoding::Deflate) = Encoding::packed(&headers) {
            Encoding::remove(&mut headers);
            body = body.unpacking(encoding);
        }
        let request = post(head.path.clone(), headers, Either::Right(body));
        // Pinned here: to hand such a large future on would be to copy it.
        let answer = relay.answer(pin!(self.pool.send_to(&link, request))).await;
        let mut answer = answer.map_err(errors::relayed)?.map(Body::stream);
        // Only a head that is all of the answer can say that there was no app.
        if unseen::take(answer.headers_mut()) && GrpcStatus::from_headers(answer.headers()).is_some() {
            answer.extensions_mut().insert(Unseen);
        }
        Ok(answer)
    }
}

/// How the other side says that the time is over: with the status, or by breaking the call off.
fn is_late(error: &InvokeError) -> bool {
    matches!(error.rpc_code(), Some(code::DEADLINE_EXCEEDED | code::CANCELLED))
}

fn post(path: PathAndQuery, headers: HeaderMap, body: Outgoing) -> Request<Outgoing> {
    let mut request = Request::new(body);
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = Uri::from(path);
    *request.headers_mut() = headers;
    request
}

/// The metadata of the hop itself: trace context and deadline. The caller's own metadata is in the message.
fn hop_headers(head: &Head, until: Option<Instant>) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(6);
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    put_trace(&mut headers, head.trace);
    put_timeout(&mut headers, earlier(head.deadline, until));
    headers
}

/// The metadata of a proxied call on the next hop: the caller's own, the trace context where it sent none, and the
/// time that is left.
fn proxied_headers(head: &ProxiedHead, until: Option<Instant>) -> HeaderMap {
    let mut headers = head.headers.clone();
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    if !headers.contains_key(TRACEPARENT) && !headers.contains_key(GRPC_TRACE_BIN) {
        put_trace(&mut headers, head.trace);
    }
    // It takes the place of the caller's own `grpc-timeout`: some of that time is gone.
    put_timeout(&mut headers, earlier(head.deadline, until));
    headers
}

fn put_trace(headers: &mut HeaderMap, trace: Option<TraceContext>) {
    let Some(trace) = trace else { return };
    if let Ok(parent) = HeaderValue::from_bytes(&trace.to_traceparent()) {
        headers.insert(TRACEPARENT, parent);
    }
    if let Ok(binary) = HeaderValue::try_from(STANDARD_NO_PAD.encode(trace.to_binary())) {
        headers.insert(GRPC_TRACE_BIN, binary);
    }
}

/// When nobody waits any more: the caller, or the attempt.
fn earlier(caller: Option<Instant>, attempt: Option<Instant>) -> Option<Instant> {
    match (caller, attempt) {
        (Some(caller), Some(attempt)) => Some(caller.min(attempt)),
        (one, other) => one.or(other),
    }
}

fn put_timeout(headers: &mut HeaderMap, deadline: Option<Instant>) {
    if let Some(deadline) = deadline {
        let left = deadline.saturating_duration_since(Instant::now());
        if let Ok(timeout) = HeaderValue::try_from(format_timeout(left)) {
            headers.insert(GRPC_TIMEOUT, timeout);
        }
    }
}

/// An answer without messages ends here.
fn checked(answer: Response<CountedBody>) -> Result<Response<CountedBody>, InvokeError> {
    match GrpcStatus::from_headers(answer.headers()) {
        Some(status) if status.code != code::OK => {
            let is_unseen = unseen::is_said(answer.headers());
            Err(if is_unseen {
                errors::unseen(status)
            } else {
                errors::status(status)
            })
        }
        Some(_) => Ok(answer),
        None => match GrpcStatus::of_head(answer.status(), answer.headers()) {
            Some(status) => Err(errors::status(status)),
            None => Ok(answer),
        },
    }
}

fn unmarshallable(error: EncodeError) -> InvokeError {
    let text = format!(
        "error sending message: {}",
        RpcStatus::new(code::INTERNAL, error.to_string())
    );
    InvokeError::unsent(Fault::Caller, Cause::App { text, source: None })
}

/// When the body of the request broke, that is the failure, whatever the transport made of it.
fn own_body_error(slot: Option<ErrorSlot>, error: InvokeError) -> InvokeError {
    let broken = slot.and_then(|slot| slot.lock().unwrap_or_else(PoisonError::into_inner).take());
    match broken {
        Some(broken) => InvokeError::new(Fault::Caller, Delivery::Yes, broken),
        None => error,
    }
}

#[cfg(test)]
mod tests;
