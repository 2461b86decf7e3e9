//! The handler of the gRPC API.

use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use api_core::{ApiLists, ApiToken, Metadata, baggage};
use bytes::Bytes;
use grpc_wire::{CallHead, GrpcStatus, MessageReader, Refusal, trailers_only};
use http::header::{self, HeaderMap, HeaderValue};
use http::uri::PathAndQuery;
use http::{Request, Response};
use invoke_codec::metadata as grpc_metadata;
use invoke_core::error::code;
use invoke_core::headers::DAPR_APP_ID;
use invoke_core::observe::{self, Entry, Exchange, Gate, OpenExchange, Rpc, Traced};
use invoke_core::trace::TraceContext;
use invoke_core::{Body, End, Invoke, Observe, Proxied, ProxiedHead, Ticket};
use lifecycle::{ShutdownRequest, ShutdownRequests};
use reflection::Reflection;
use transport::server::{Handler, RequestBody};

use crate::access::Access;
use crate::answer::{Answer, Message};
use crate::invoke::{self, Context, Failed};
use crate::{metadata, out_of_scope, proxy, status};

const SERVICE: &str = "/dapr.proto.runtime.v1.Dapr/";
const INVOKE: &str = "InvokeService";
const TRACEPARENT: header::HeaderName = header::HeaderName::from_static("traceparent");
/// The services of this API, as reflection names them.
pub const SERVICES: &[&str] = &["dapr.proto.runtime.v1.Dapr"];
const FORCE_SHUTDOWN: &str = "dapr-force-shutdown";
/// The workflow engine's own service, which Dapr serves beside its API.
const WORKFLOWS: &str = "/TaskHubSidecarService/";

/// How the API is set up.
#[derive(Debug)]
pub struct ApiSettings {
    /// The longest message in either direction, in bytes.
    pub max_message: usize,
    /// What apps must show.
    pub token: Option<ApiToken>,
    /// Which APIs there are.
    pub apis: ApiLists,
    /// Whether trace contexts are read and given back.
    pub tracing: bool,
}

/// The gRPC API. Cloning shares it.
pub struct Api<I, O>(Arc<Inner<I, O>>);

impl<I, O> Clone for Api<I, O> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

struct Inner<I, O> {
    invoke: Arc<I>,
    observer: Arc<O>,
    settings: ApiSettings,
    access: Access,
    metadata: Arc<Metadata>,
    shutdown: ShutdownRequests,
    reflection: Reflection,
}

impl<I: Invoke, O: Observe> Api<I, O> {
    /// Puts the API together.
    pub fn new(
        invoke: Arc<I>,
        observer: Arc<O>,
        settings: ApiSettings,
        metadata: Arc<Metadata>,
        shutdown: ShutdownRequests,
        reflection: Reflection,
    ) -> Self {
        Self(Arc::new(Inner {
            invoke,
            observer,
            access: Access::new(&settings.apis),
            settings,
            metadata,
            shutdown,
            reflection,
        }))
    }

    async fn answer(
        &self,
        request: Request<RequestBody>,
        open: &mut OpenExchange<O::Ticket>,
    ) -> Response<Answer> {
        // What is not there is not there for those without a token either.
        if !self.0.access.has(request.uri().path()) {
            open.turned_away(Gate::Outer);
            return match CallHead::of(&request) {
                Ok(head) => trailers_only(&status::not_available(), head.content_type),
                Err(refusal) => refusal.to_response(),
            };
        }
        let answer = match Route::of(request.uri().path()) {
            Route::Own => self.own(request, open).await,
            Route::Reflection => self.reflect(request).await,
            Route::Proxied => self.proxied(request, open).await,
        };
        answer.unwrap_or_else(|response| {
            open.turned_away(Gate::Outer);
            response
        })
    }

    /// A method of this API. The error is for a caller that is turned away.
    async fn own(
        &self,
        mut request: Request<RequestBody>,
        open: &mut OpenExchange<O::Ticket>,
    ) -> Result<Response<Answer>, Response<Answer>> {
        let head = match CallHead::of(&request) {
            Ok(head) => head,
            Err(refusal) => return Err(refusal.to_response()),
        };
        let metadata = std::mem::take(request.headers_mut());
        let mut metadata = match grpc_metadata::from_grpc(metadata) {
            Ok(metadata) => metadata,
            Err(error) => return Err(Refusal::bad_metadata(error.to_string()).to_response()),
        };
        let echoed = match self.admit(&mut metadata) {
            Ok(echoed) => echoed,
            Err(status) => return Err(trailers_only(&status, head.content_type)),
        };
        let content_type = head.content_type.clone();
        let trace = self.trace(request.uri().path(), &metadata, head.deadline, open);
        let told = told_trace(request.uri().path(), trace);
        let call = Call {
            metadata,
            trace,
            head: &head,
        };
        let response = match self.dispatch(request, call, open).await {
            Ok(mut message) => {
                message.headers.extend(told);
                message.into_response(content_type)
            }
            Err(mut failed) => {
                failed.headers.extend(told);
                fail(*failed, content_type)
            }
        };
        Ok(with_baggage(response, echoed))
    }

    /// What this sidecar emits for a call: its own span, or what the caller sent. `None` when tracing is off.
    fn trace(
        &self,
        path: &str,
        metadata: &HeaderMap,
        deadline: Option<Instant>,
        open: &mut OpenExchange<O::Ticket>,
    ) -> Option<TraceContext> {
        if !self.0.settings.tracing {
            return None;
        }
        let parent = grpc_metadata::context_of(metadata);
        let span = open.trace(Traced {
            entry: Entry::Grpc { method: path },
            parent: Some(parent),
            state: None,
            headers: Some(metadata),
            deadline,
        });
        Some(span.unwrap_or(parent))
    }

    /// A question about the services of this API.
    async fn reflect(&self, mut request: Request<RequestBody>) -> Result<Response<Answer>, Response<Answer>> {
        let head = match CallHead::of(&request) {
            Ok(head) => head,
            Err(refusal) => return Err(refusal.to_response()),
        };
        if let Err(status) = self.admit(request.headers_mut()) {
            return Err(trailers_only(&status, head.content_type));
        }
        Ok(self.0.reflection.call(request).await.map(Answer::relayed))
    }

    /// A method of an app's own service.
    async fn proxied(
        &self,
        request: Request<RequestBody>,
        open: &mut OpenExchange<O::Ticket>,
    ) -> Result<Response<Answer>, Response<Answer>> {
        let head = match CallHead::of_relayed(&request) {
            Ok(head) => head,
            Err(refusal) => return Err(refusal.to_response()),
        };
        let (mut parts, body) = request.into_parts();
        let mut headers = match grpc_metadata::of_proxied(std::mem::take(&mut parts.headers)) {
            Ok(headers) => headers,
            Err(error) => return Err(Refusal::bad_metadata(error.to_string()).to_response()),
        };
        let echoed = match self.admit(&mut headers) {
            Ok(echoed) => echoed,
            Err(status) => return Err(trailers_only(&status, head.content_type)),
        };
        if headers.contains_key(DAPR_APP_ID) {
            open.found(Rpc::Relayed {
                method: parts.uri.path(),
            });
        }
        let mut call = Proxied {
            head: ProxiedHead {
                path: parts
                    .uri
                    .into_parts()
                    .path_and_query
                    .unwrap_or(PathAndQuery::from_static("/")),
                trace: self
                    .0
                    .settings
                    .tracing
                    .then(|| grpc_metadata::context_of(&headers)),
                headers,
                deadline: head.deadline,
                trail: open.trail(),
            },
            body: Body::take_in(body).await,
        };
        let names_app = grpc_metadata::app_target(&call.head.headers).is_some();
        if self.0.settings.tracing
            && names_app
            && let Some(span) = open.trace(call.head.traced())
        {
            call.head.emit(span);
        }
        let response = match proxy::pass_on(&*self.0.invoke, call, self.0.settings.tracing).await {
            Ok(answer) => answer.map(Answer::relayed),
            Err(status) => trailers_only(&status, head.content_type),
        };
        Ok(with_baggage(response, echoed))
    }

    /// Checks what every call must show; the baggage is given back.
    fn admit(&self, metadata: &mut HeaderMap) -> Result<Option<HeaderValue>, GrpcStatus> {
        let settings = &self.0.settings;
        if let Some(token) = &settings.token {
            token.admits(metadata).map_err(status::of_token)?;
        }
        match baggage::check(metadata) {
            Ok(baggage) => Ok(baggage.filter(|_| settings.tracing)),
            Err(cause) if settings.tracing => {
                let text = format!("invalid baggage header: {cause}");
                Err(GrpcStatus::new(code::INVALID_ARGUMENT, text))
            }
            Err(_) => Ok(None),
        }
    }

    async fn dispatch(
        &self,
        request: Request<RequestBody>,
        call: Call<'_>,
        open: &mut OpenExchange<O::Ticket>,
    ) -> Result<Message, Box<Failed>> {
        let inner = &*self.0;
        let Call {
            metadata,
            trace,
            head,
        } = call;
        let (parts, body) = request.into_parts();
        let path = parts.uri.path();
        if path.starts_with(WORKFLOWS) {
            return Err(status::not_implemented().into());
        }
        let Some(method) = path.strip_prefix(SERVICE) else {
            return Err(status::malformed(path).into());
        };
        let max = inner.settings.max_message;
        match method {
            INVOKE => {
                let context = Context {
                    authority: authority(&parts.uri),
                    headers: metadata,
                    trace,
                    deadline: head.deadline,
                    max_message: max,
                };
                // Pinned here: to hand such a large future on would be to copy it.
                let call = pin!(async {
                    let message = read(body, head, max, ObservedCall { path, open }).await?;
                    invoke::handle(&*inner.invoke, &message, context, open).await
                });
                within(head.deadline, call).await
            }
            "GetMetadata" => {
                read(body, head, max, ObservedCall { path, open }).await?;
                Ok(metadata::get(&inner.metadata))
            }
            "SetMetadata" => {
                let message = read(body, head, max, ObservedCall { path, open }).await?;
                Ok(metadata::set(&inner.metadata, &message)?)
            }
            "Shutdown" => {
                read(body, head, max, ObservedCall { path, open }).await?;
                self.shut_down(&metadata);
                Ok(Message::of(&[]))
            }
            method if out_of_scope::has(method) => {
                let message = if out_of_scope::is_stream(method) {
                    one_message(body, head, max).await?
                } else {
                    read(body, head, max, ObservedCall { path, open }).await?
                };
                let why_not = inner.metadata.why_not(&out_of_scope::name(&message));
                let asked = out_of_scope::SidecarFacts {
                    app_id: inner.metadata.app_id(),
                    namespace: inner.metadata.namespace(),
                    why_not: why_not.as_deref().unwrap_or_default(),
                };
                Ok(out_of_scope::answer(method, &message, asked)?)
            }
            _ => Err(status::malformed(path).into()),
        }
    }

    fn shut_down(&self, metadata: &HeaderMap) {
        let is_forced = metadata
            .get_all(FORCE_SHUTDOWN)
            .iter()
            .any(|force| force.as_bytes().eq_ignore_ascii_case(b"true"));
        self.0.shutdown.send(if is_forced {
            ShutdownRequest::Force
        } else {
            ShutdownRequest::Graceful
        });
    }
}

/// A call whose caller stops waiting at some time.
async fn within<T>(
    deadline: Option<Instant>,
    call: impl Future<Output = Result<T, Box<Failed>>>,
) -> Result<T, Box<Failed>> {
    match deadline {
        None => call.await,
        Some(deadline) => tokio::time::timeout_at(deadline.into(), call)
            .await
            .unwrap_or_else(|_| {
                let text = "context deadline exceeded";
                Err(GrpcStatus::new(code::DEADLINE_EXCEEDED, text).into())
            }),
    }
}

/// A unary call, for those who see calls.
struct ObservedCall<'a, T: Ticket> {
    path: &'a str,
    open: &'a mut OpenExchange<T>,
}

/// The one message of a unary call, which is measured from here on.
async fn read<T: Ticket>(
    body: RequestBody,
    head: &CallHead,
    max: usize,
    seen: ObservedCall<'_, T>,
) -> Result<Bytes, GrpcStatus> {
    let message = one_message(body, head, max).await?;
    seen.open.found(Rpc::Unary {
        method: seen.path,
        message: message.len() as u64,
    });
    Ok(message)
}

async fn one_message(body: RequestBody, head: &CallHead, max: usize) -> Result<Bytes, GrpcStatus> {
    let mut messages = MessageReader::new(body, max);
    match messages.next().await {
        None => Err(GrpcStatus::new(
            code::INTERNAL,
            "grpc: the message of the call is missing",
        )),
        Some(Ok((is_compressed, message))) => head.encoding.decode(is_compressed, message, max),
        Some(Err(error @ grpc_wire::MessageError::TooLarge { .. })) => {
            Err(GrpcStatus::new(code::RESOURCE_EXHAUSTED, error.to_string()))
        }
        Some(Err(error)) => Err(GrpcStatus::new(code::INTERNAL, error.to_string())),
    }
}

fn authority(uri: &http::Uri) -> Option<HeaderValue> {
    let authority = uri.authority()?.as_str();
    HeaderValue::from_str(authority).ok()
}

/// A call of a method of this API, without its message.
struct Call<'a> {
    metadata: HeaderMap,
    /// What this sidecar emits.
    trace: Option<TraceContext>,
    head: &'a CallHead,
}

/// The trace context that the head of an answer has; an invocation has its own.
fn told_trace(path: &str, trace: Option<TraceContext>) -> HeaderMap {
    let mut told = HeaderMap::new();
    let is_invocation = path.strip_prefix(SERVICE).is_none_or(|method| method == INVOKE);
    if trace.is_some() && !is_invocation {
        grpc_metadata::put_trace(&mut told, trace);
        told.remove(TRACEPARENT);
    }
    told
}

/// The answer to a call that failed. Without metadata the status is in the head; with it in the trailers, as
/// callers that tell headers from trailers expect.
fn fail(failed: Failed, content_type: HeaderValue) -> Response<Answer> {
    if failed.headers.is_empty() && failed.trailers.is_empty() {
        return trailers_only(&failed.status, content_type);
    }
    let mut trailers = failed.trailers;
    failed.status.write(&mut trailers);
    let mut response = Response::new(Answer::of_trailers(trailers));
    *response.headers_mut() = failed.headers;
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

impl<I: Invoke, O: Observe> Handler for Api<I, O> {
    type Body = Answer;

    async fn call(&self, request: Request<RequestBody>) -> Response<Answer> {
        let door = Exchange::Door(observe::Request {
            api: observe::Api::Grpc,
            method: request.method(),
            path: request.uri().path(),
            user_agent: request.headers().get(header::USER_AGENT),
            content_length: None,
        });
        let mut open = OpenExchange::new(self.0.observer.begin(door, None));
        let response = self.answer(request, &mut open).await;
        if open.is_silent() {
            return response;
        }
        let in_head = GrpcStatus::code_in(response.headers());
        if in_head.is_some_and(|code| code != code::OK) {
            open.reason(response.headers());
        }
        response.map(|answer| {
            answer.telling(in_head, move |code, trailers, bytes| {
                if let Some(trailers) = trailers
                    && code != Some(code::OK)
                {
                    open.reason(trailers);
                }
                open.status(code.unwrap_or(code::CANCELLED));
                open.end(if code.is_some() { End::Whole } else { End::Dropped }, bytes);
            })
        })
    }
}

/// Who answers a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    /// This API, if only with an error.
    Own,
    Reflection,
    /// An app.
    Proxied,
}

impl Route {
    fn of(path: &str) -> Self {
        match path.strip_prefix(SERVICE) {
            Some(INVOKE | "GetMetadata" | "SetMetadata" | "Shutdown") => Self::Own,
            Some(method) if out_of_scope::has(method) => Self::Own,
            _ if path.starts_with(WORKFLOWS) || !is_method(path) => Self::Own,
            _ if Reflection::serves(path) => Self::Reflection,
            _ => Self::Proxied,
        }
    }
}

/// Whether a path has the form of a full method: `/service/Method`.
fn is_method(path: &str) -> bool {
    path.strip_prefix('/').is_some_and(|path| path.contains('/'))
}

fn with_baggage(mut response: Response<Answer>, baggage: Option<HeaderValue>) -> Response<Answer> {
    if let Some(baggage) = baggage {
        response.headers_mut().insert(baggage::BAGGAGE, baggage);
    }
    response
}

#[cfg(test)]
mod tests;
