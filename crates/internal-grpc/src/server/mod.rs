//! The callee's end: takes calls of other sidecars in.

mod events;
mod refusals;
mod request;

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use grpc_wire::{CallHead, GrpcStatus, MESSAGE_HEAD, trailers_only};
use http::header;
use http::uri::PathAndQuery;
use http::{Method, Request, Response};
use invoke_codec::metadata;
use invoke_core::observe::{self, Exchange, OpenExchange, Rpc};
use invoke_core::ports::Receive;
use invoke_core::trace::TraceContext;
use invoke_core::{
    Body, Caller, Delivery, End, Fault, Invocation, Observe, Proxied, ProxiedHead, Reply, error::code,
};
use reflection::Reflection;
use transport::server::{Handler, RequestBody};
use transport::tls::PeerIdentity;

use crate::codec::{begin_message, encode_response, encode_response_stream, finish_message};
use crate::frames::{Frames, first_frame};
use crate::limit::{MessageLimit, Telling};
use crate::unseen;
use crate::{CALL_LOCAL, CALL_LOCAL_STREAM, SERVICE};

/// The limits of the server.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The longest message, in bytes; also how long the answer to a unary call may be.
    pub max_message: usize,
    /// Whether apps are told the trace context of the hop.
    pub tracing: bool,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            max_message: 4 * 1024 * 1024,
            tracing: true,
        }
    }
}

/// Takes calls of other sidecars in and passes them to what implements [`Receive`].
#[derive(Debug)]
pub struct Server<R, O = ()> {
    inbound: Arc<R>,
    /// Told of unary calls. What streams is seen behind [`Receive`], as calls and not as RPCs.
    observer: Arc<O>,
    config: ServerConfig,
    telling: Telling,
    /// Shared: a server is cloned for each call, and to clone the service is to allocate.
    reflection: Arc<Reflection>,
}

impl<R, O> Clone for Server<R, O> {
    fn clone(&self) -> Self {
        Self {
            inbound: Arc::clone(&self.inbound),
            observer: Arc::clone(&self.observer),
            config: self.config.clone(),
            telling: self.telling.clone(),
            reflection: Arc::clone(&self.reflection),
        }
    }
}

impl<R: Receive> Server<R> {
    /// A server on top of the inbound side. Nobody is told of calls.
    pub fn new(inbound: Arc<R>, config: ServerConfig, reflection: Reflection) -> Self {
        Self::observed(inbound, Arc::new(()), config, reflection)
    }
}

impl<R: Receive, O: Observe> Server<R, O> {
    /// The same, with somebody who is told of calls.
    pub fn observed(inbound: Arc<R>, observer: Arc<O>, config: ServerConfig, reflection: Reflection) -> Self {
        Self {
            inbound,
            observer,
            telling: Telling::new(config.max_message),
            config,
            reflection: Arc::new(reflection),
        }
    }

    /// Passes a call on that is none of ours.
    async fn proxy(&self, request: Request<RequestBody>) -> Response<Answer> {
        let head = match CallHead::of_relayed(&request) {
            Ok(head) => head,
            Err(refusal) => return refusal.to_response(),
        };
        let (mut parts, body) = request.into_parts();
        let is_asked = unseen::is_asked(&mut parts.headers);
        match self.pass_on(parts, body, &head).await {
            Ok(mut answer) => {
                if is_asked {
                    // An app saw the call, whatever it says.
                    unseen::take(answer.headers_mut());
                }
                answer.map(|body| Answer(Kind::Relayed(body)))
            }
            Err(failed) => {
                let mut response = trailers_only(&failed.status, head.content_type);
                if is_asked && failed.is_unseen {
                    unseen::put(response.headers_mut());
                }
                response
            }
        }
    }

    async fn pass_on(
        &self,
        parts: http::request::Parts,
        body: RequestBody,
        head: &CallHead,
    ) -> Result<Response<Body>, Failed> {
        let caller = caller_of(&parts.extensions);
        let mut headers = metadata::of_proxied(parts.headers)
            .map_err(|error| GrpcStatus::new(code::INTERNAL, error.to_string()))?;
        // What the caller says of itself counts for nothing once its certificate has told who it is.
        caller.replace_claims(&mut headers);
        let target = metadata::peer_target(&headers)
            .ok_or_else(|| refusals::no_target(parts.uri.path(), self.config.tracing))?;
        let target = String::from_utf8_lossy(target.as_bytes()).into_owned();
        let call = Proxied {
            head: ProxiedHead {
                path: parts
                    .uri
                    .into_parts()
                    .path_and_query
                    .unwrap_or(PathAndQuery::from_static("/")),
                trace: self.config.tracing.then(|| metadata::context_of(&headers)),
                headers,
                deadline: head.deadline,
                trail: None,
            },
            body: Body::take_in(body).await,
        };
        let answer = self.inbound.receive_proxied(&caller, &target, call).await;
        answer.map_err(|error| Failed {
            is_unseen: error.fault == Fault::App && error.seen == Delivery::No,
            status: refusals::proxied(error),
        })
    }

    async fn answer(&self, request: Request<RequestBody>, head: &CallHead) -> Result<Answered, Failed> {
        let (parts, body) = request.into_parts();
        let hop = Hop {
            body,
            head,
            trace: self.config.tracing.then(|| metadata::context_of(&parts.headers)),
            caller: Caller {
                is_unary: parts.uri.path() == CALL_LOCAL,
                ..caller_of(&parts.extensions)
            },
            limit: MessageLimit::told(&parts.headers),
        };
        // Pinned here: to hand such a large future on would be to copy it.
        let call = pin!(async {
            match parts.uri.path() {
                CALL_LOCAL_STREAM => self.call_local_stream(hop).await,
                CALL_LOCAL => Box::pin(self.call_local(hop)).await,
                other => Err(refusals::unknown(other).into()),
            }
        });
        match head.deadline {
            None => call.await,
            Some(deadline) => tokio::time::timeout_at(deadline.into(), call)
                .await
                .unwrap_or_else(|_| {
                    let late = GrpcStatus::new(code::DEADLINE_EXCEEDED, "context deadline exceeded");
                    Err(late.into())
                }),
        }
    }

    async fn call_local_stream(&self, hop: Hop<'_>) -> Result<Answered, Failed> {
        // Asked before a message is read: whoever calls a sidecar without an app is told at once.
        self.inbound.has_app().map_err(|error| refusals::status(&error))?;
        let max = self.config.max_message;
        let mut call = request::of_stream(hop.body, hop.head.encoding, max).await?;
        call.head.deadline = hop.head.deadline;
        call.head.trace = hop.trace;
        let wants_events = call.head.origin == invoke_core::Origin::Http && call.head.wants_events();
        let reply = self.receive(&hop.caller, call).await?;
        let is_unseen = reply.is_unseen;
        let frames = if wants_events {
            events::answer(reply, hop.limit)?
        } else {
            stream(reply, hop.limit)?
        };
        Ok(Answered { frames, is_unseen })
    }

    /// A unary call, of a sidecar that knows no other. It is observed here, where its messages are.
    async fn call_local(&self, hop: Hop<'_>) -> Result<Answered, Failed> {
        let door = Exchange::Door(observe::Request {
            api: observe::Api::Internal,
            method: &Method::POST,
            path: CALL_LOCAL,
            user_agent: None,
            content_length: None,
        });
        let mut open = OpenExchange::new(self.observer.begin(door, None));
        let answer = self.answer_unary(hop, &mut open).await;
        let (status, bytes) = match &answer {
            Ok((_, length)) => (code::OK, *length as u64),
            Err(failed) => (failed.status.code, 0),
        };
        open.status(status);
        open.end(End::Whole, bytes);
        answer.map(|(answered, _)| answered)
    }

    /// The answer, and how long its message is.
    async fn answer_unary(
        &self,
        hop: Hop<'_>,
        open: &mut OpenExchange<O::Ticket>,
    ) -> Result<(Answered, usize), Failed> {
        self.inbound.has_app().map_err(|error| refusals::status(&error))?;
        let max = self.config.max_message;
        let (mut call, length) = request::of_unary(hop.body, hop.head.encoding, max).await?;
        open.found(Rpc::Unary {
            method: CALL_LOCAL,
            message: length as u64,
        });
        call.head.deadline = hop.head.deadline;
        call.head.trace = hop.trace;
        let mut reply = self.receive(&hop.caller, call).await?;
        let data = request::collect(std::mem::take(&mut reply.body), max).await?;
        let mut message = BytesMut::with_capacity(256 + data.len());
        begin_message(&mut message);
        encode_response(&reply, &data, &mut message).map_err(|error| refusals::unmarshallable(&error))?;
        finish_message(&mut message, 0, 0);
        let length = message.len() - MESSAGE_HEAD;
        let answered = Answered {
            frames: Frames::of_server(message, Body::empty(), hop.limit, false),
            is_unseen: reply.is_unseen,
        };
        Ok((answered, length))
    }

    async fn receive(&self, caller: &Caller, mut call: Invocation) -> Result<Reply, Failed> {
        caller.replace_claims(&mut call.head.headers);
        self.inbound.receive(caller, call).await.map_err(|error| Failed {
            is_unseen: error.fault == Fault::App && error.seen == Delivery::No,
            status: refusals::status(&error),
        })
    }
}

/// The answer to a call.
struct Answered {
    frames: Frames,
    /// It is no app's: nobody saw the call.
    is_unseen: bool,
}

/// What a call failed with.
struct Failed {
    status: GrpcStatus,
    /// Its app was to get the call, and nobody saw it.
    is_unseen: bool,
}

impl From<GrpcStatus> for Failed {
    fn from(status: GrpcStatus) -> Self {
        Self {
            status,
            is_unseen: false,
        }
    }
}

/// The head of the answer goes out at once; the body follows as it comes.
fn stream(mut reply: Reply, limit: MessageLimit) -> Result<Frames, GrpcStatus> {
    let body = std::mem::take(&mut reply.body);
    let mut message = BytesMut::with_capacity(first_frame(256, &body));
    begin_message(&mut message);
    encode_response_stream(&reply, true, &mut message).map_err(|error| refusals::unmarshallable(&error))?;
    Ok(Frames::of_server(message, body, limit, false))
}

/// What a call is besides its messages.
struct Hop<'a> {
    body: RequestBody,
    head: &'a CallHead,
    trace: Option<TraceContext>,
    caller: Caller,
    /// How long the messages of the answer may be.
    limit: MessageLimit,
}

/// Who calls, as far as the connection proved it.
fn caller_of(extensions: &http::Extensions) -> Caller {
    Caller {
        spiffe_id: extensions.get().map(|PeerIdentity(id)| Arc::clone(id)),
        is_unary: false,
    }
}

impl<R: Receive, O: Observe> Handler for Server<R, O> {
    type Body = Answer;

    async fn call(&self, request: Request<RequestBody>) -> Response<Answer> {
        let path = request.uri().path();
        if Reflection::serves(path) {
            let answer = Box::pin(self.reflection.call(request)).await;
            return answer.map(|body| Answer(Kind::Relayed(body)));
        }
        if !is_registered(path) {
            return self.proxy(request).await;
        }
        let head = match CallHead::of(&request) {
            Ok(head) => head,
            Err(refusal) => return refusal.to_response(),
        };
        let is_of_our_kind = MessageLimit::is_told(request.headers());
        let answered = self.answer(request, &head).await;
        let is_unseen = match &answered {
            Ok(answered) => answered.is_unseen,
            Err(failed) => failed.is_unseen,
        };
        let mut response = match answered {
            Ok(Answered { frames, .. }) => {
                let mut response = Response::new(Answer(Kind::Made(frames)));
                response
                    .headers_mut()
                    .insert(header::CONTENT_TYPE, head.content_type);
                self.telling.put(response.headers_mut());
                response
            }
            Err(failed) => trailers_only(&failed.status, head.content_type),
        };
        if is_unseen && is_of_our_kind {
            unseen::put(response.headers_mut());
        }
        response
    }
}

/// Whether a method is one of this server's, or looks like none: everything else is proxied.
fn is_registered(path: &str) -> bool {
    path.starts_with(SERVICE) || path.strip_prefix('/').is_none_or(|rest| !rest.contains('/'))
}

/// The body of an answer.
#[derive(Default)]
pub struct Answer(Kind);

impl From<bytes::Bytes> for Answer {
    /// A text for somebody who does not speak gRPC; the status is in the head.
    fn from(text: bytes::Bytes) -> Self {
        Self(Kind::Relayed(Body::full(text)))
    }
}

#[derive(Default)]
enum Kind {
    /// Nothing: the status is in the head.
    #[default]
    Empty,
    /// Messages and trailers that are made here.
    Made(Frames),
    /// What the app answered to a proxied call.
    Relayed(Body),
}

impl http_body::Body for Answer {
    type Data = bytes::Bytes;
    type Error = invoke_core::BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<bytes::Bytes>, invoke_core::BodyError>>> {
        match &mut self.0 {
            Kind::Empty => Poll::Ready(None),
            Kind::Made(frames) => Pin::new(frames).poll_frame(cx),
            Kind::Relayed(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Empty => true,
            Kind::Made(frames) => frames.is_end_stream(),
            Kind::Relayed(body) => body.is_end_stream(),
        }
    }
}
