//! The channel to a gRPC app.

mod answer;
mod outgoing;
mod takes;

use std::borrow::Cow;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use grpc_wire::{Encoding, GrpcStatus, MESSAGE_HEAD, MessageHead, Relay, RelayedAnswer, format_timeout};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, Request, Response, Uri};
use http_body_util::BodyExt;
use invoke_codec::message::{RequestLens, put_request};
use invoke_codec::metadata;
use invoke_core::body::Replay;
use invoke_core::trace::TraceContext;
use invoke_core::{
    AppChannel, Body, BodyError, Cause, Delivery, Fault, Head, InvokeError, Origin, ProxiedHead, Reply, Verb,
    error::code, headers,
};
use lifecycle::Tasks;
use transport::client::{ClientError, ErrorKind, H2Origin, Reuse};
use transport::tls::OriginTls;

use self::outgoing::{Message, Outgoing};
use self::takes::Takes;
use crate::failure;
use crate::watched::{GrpcCall, Watched};

const ON_INVOKE: &str = "/dapr.proto.runtime.v1.AppCallback/OnInvoke";
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// A body up to this length is joined with the head of its message: one frame instead of two.
const JOINED: usize = 8 * 1024;

/// Where a gRPC app is and how it is called.
#[derive(Clone)]
pub struct GrpcSettings {
    /// `host:port`; an IPv6 address stands in brackets.
    pub address: String,
    /// How connections are secured; `None` for clear text.
    pub tls: Option<OriginTls>,
    /// What the app knows its sidecar by (`APP_API_TOKEN`).
    pub token: Option<HeaderValue>,
    /// The longest message in either direction, in bytes.
    pub max_message: usize,
    /// For how long connections are used again.
    pub reuse: Reuse,
}

impl fmt::Debug for GrpcSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrpcSettings")
            .field("address", &self.address)
            .field("max_message", &self.max_message)
            .finish_non_exhaustive()
    }
}

/// Calls one gRPC app. Cloning shares the connections.
///
/// An invocation becomes a call of `AppCallback/OnInvoke`; a proxied call goes to the app as it is. A second
/// connection is made only when the first one carries as many calls as it may.
#[derive(Clone)]
pub struct GrpcChannel(Arc<Inner>, Watched);

struct Inner {
    settings: GrpcSettings,
    origin: H2Origin,
    takes: Takes,
}

impl fmt::Debug for GrpcChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("GrpcChannel").field(&self.0.settings).finish()
    }
}

impl GrpcChannel {
    /// A channel without connections; calls make them. `tasks` owns the connections.
    pub fn new(settings: GrpcSettings, tasks: Tasks) -> Self {
        let reuse = settings.reuse.clone();
        let origin = H2Origin::reusing(&settings.address, settings.tls.as_ref(), reuse, tasks);
        let inner = Inner {
            settings,
            origin,
            takes: Takes::default(),
        };
        Self(Arc::new(inner), Watched::default())
    }

    /// Invocations are told; proxied calls are not, since Dapr does not measure them here.
    #[must_use]
    pub fn watched(self, watched: Watched) -> Self {
        Self(self.0, watched)
    }

    /// For how long connections are used again.
    pub(crate) fn reuse(&self) -> &Reuse {
        &self.0.settings.reuse
    }

    /// Calls a method with an empty message, and tells how that ended.
    pub(crate) async fn ping(&self, path: &'static str) -> GrpcStatus {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        let empty = BytesMut::from(&[0; MESSAGE_HEAD][..]);
        let message = Outgoing::message(Message::new(empty, Vec::new(), true));
        let request = post(PathAndQuery::from_static(path), headers, message);
        match self.0.origin.send(request).await {
            Ok(response) => {
                let (reply, _) = answer::read(response, self.0.settings.max_message).await;
                GrpcStatus::new(reply.status.code, reply.status.message)
            }
            Err(error) => GrpcStatus::of_failure(&error),
        }
    }

    /// Metadata that the app gets besides what the caller sent.
    fn complete(&self, headers: &mut HeaderMap, deadline: Option<Instant>) {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        if let Some(token) = &self.0.settings.token {
            headers.insert(headers::API_TOKEN, token.clone());
        }
        if let Some(deadline) = deadline {
            let left = deadline.saturating_duration_since(Instant::now());
            if let Ok(timeout) = HeaderValue::try_from(format_timeout(left)) {
                headers.insert(GRPC_TIMEOUT, timeout);
            }
        }
    }

    /// The message of an invocation. One that cannot be sent is answered as if the app had refused it.
    async fn message(&self, head: &Head, body: Body) -> Result<Result<Message, GrpcStatus>, InvokeError> {
        let max = self.0.settings.max_message;
        let Some(pieces) = collect(body, max).await? else {
            return Ok(Err(too_large(max)));
        };
        let length = pieces.iter().map(Bytes::len).sum();
        let lens = match RequestLens::of(head, length) {
            Ok(lens) => lens,
            Err(error) => return Ok(Err(GrpcStatus::new(code::INTERNAL, error.to_string()))),
        };
        if lens.message > max {
            return Ok(Err(too_large(max)));
        }
        let joined = if length <= JOINED { length } else { 0 };
        let mut out = BytesMut::with_capacity(MESSAGE_HEAD + lens.message - length + joined);
        let message = MessageHead {
            compressed: false,
            length: lens.message as u32,
        };
        out.extend_from_slice(&message.to_bytes());
        put_request(&mut out, head, &lens);
        Ok(Ok(Message::new(out, pieces, joined > 0)))
    }
}

impl AppChannel for GrpcChannel {
    async fn invoke(&self, head: Cow<'_, Head>, body: Body) -> Result<Reply, InvokeError> {
        if head.origin == Origin::Http && head.verb == Some(Verb::CONNECT) {
            // HTTP has no room for the body of an answer to it.
            return Err(InvokeError::unsent(Fault::Caller, Cause::InvalidVerb));
        }
        let message = match self.message(&head, body).await? {
            Ok(message) => message,
            Err(status) => return Ok(answer::of_status(&status)),
        };
        let (deadline, span) = (head.deadline, head.trace.filter(TraceContext::is_recorded));
        let mut headers = metadata::for_app(&mut head.into_owned());
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        self.complete(&mut headers, deadline);
        let path = PathAndQuery::from_static(ON_INVOKE);
        let (begun, sent) = (Instant::now(), message.length());
        let request = post(path.clone(), headers.clone(), Outgoing::message(message.clone()));
        let mut answered = self.0.origin.send(request).await;
        if matches!(&answered, Err(error) if was_given_back(error)) {
            let request = post(path, headers, Outgoing::message(message));
            answered = self.0.origin.send(request).await;
        }
        let (reply, received) = match answered {
            Ok(response) => {
                self.0.takes.learn(response.headers(), false);
                answer::read(response, self.0.settings.max_message).await
            }
            Err(error) => {
                let mut reply = answer::of_status(&GrpcStatus::of_failure(&error));
                reply.is_unseen = error.seen() == transport::client::Delivery::No;
                (reply, 0)
            }
        };
        if let Some(observer) = self.1.observer() {
            observer.grpc_answered(GrpcCall {
                method: ON_INVOKE,
                status: reply.status.code,
                sent: sent as u64,
                received: received as u64,
                latency: begun.elapsed(),
                span: span.as_ref(),
            });
        }
        Ok(reply)
    }

    async fn proxy(&self, head: Cow<'_, ProxiedHead>, body: Body) -> Result<Response<Body>, InvokeError> {
        let mut head = head.into_owned();
        let mut headers = std::mem::take(&mut head.headers);
        for name in [headers::DAPR_APP_ID, headers::API_TOKEN] {
            headers.remove(name);
        }
        if let Some(trace) = head.trace.filter(|trace| trace.trace_id != [0; 16]) {
            metadata::put_trace_unless_sent(&mut headers, trace);
        }
        self.complete(&mut headers, head.deadline);
        let packed = Encoding::packed(&headers);
        let replay = Replay::new(body, 0);
        let mut is_again = false;
        loop {
            let (relay, mut body) = Relay::new(replay.attempt(), self.0.settings.max_message, head.deadline);
            let mut sent = headers.clone();
            let unpacked = packed.filter(|encoding| !self.0.takes.has(*encoding));
            if let Some(encoding) = unpacked {
                Encoding::remove(&mut sent);
                body = body.unpacking(encoding);
            }
            let request = post(head.path.clone(), sent, Outgoing::relayed(body));
            // Pinned here: to hand such a large future on would be to copy it.
            match relay.answer(pin!(self.0.origin.send(request))).await {
                Ok(answer) => {
                    replay.commit();
                    self.0
                        .takes
                        .learn(answer.headers(), packed.is_some() && unpacked.is_none());
                    let answer = RelayedAnswer::unpacked_for(&headers, answer);
                    return Ok(answer.map(Body::stream));
                }
                // The app went away as the call came, and never saw it.
                Err(failure) if !is_again && failure.was_given_back() && replay.is_possible() => {
                    is_again = true;
                }
                Err(failure) => return Err(failure::of_relay(failure)),
            }
        }
    }
}

fn post(path: PathAndQuery, headers: HeaderMap, body: Outgoing) -> Request<Outgoing> {
    let mut request = Request::new(body);
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from(path);
    *request.headers_mut() = headers;
    request
}

/// Whether a connection that was there gave a call back: the app refused it, or went away without having taken it.
fn was_given_back(error: &ClientError) -> bool {
    let is_given_back = !matches!(error.kind(), ErrorKind::Connect | ErrorKind::Busy);
    error.seen() == transport::client::Delivery::No && is_given_back
}

/// The body in the pieces in which it came; `None` for one of more than `max` bytes, which is not read to its end.
async fn collect(mut body: Body, max: usize) -> Result<Option<Vec<Bytes>>, InvokeError> {
    if let Some(data) = body.take_full() {
        return Ok((data.len() <= max).then(|| vec![data]));
    }
    let (mut pieces, mut length) = (Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        let broken = |error: BodyError| InvokeError::new(Fault::Caller, Delivery::No, error);
        let Ok(data) = frame.map_err(broken)?.into_data() else {
            continue;
        };
        length += data.len();
        if length > max {
            return Ok(None);
        }
        pieces.push(data);
    }
    Ok(Some(pieces))
}

fn too_large(max: usize) -> GrpcStatus {
    let text = format!("trying to send message larger than max ({max})");
    GrpcStatus::new(code::RESOURCE_EXHAUSTED, text)
}

#[cfg(test)]
mod tests;
