//! The handler of the gRPC API.

use std::sync::Arc;
use std::time::Instant;

use api_core::{ApiToken, Metadata, baggage};
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response};
use invoke_codec::metadata as grpc_metadata;
use invoke_core::error::code;
use invoke_core::trace::TraceContext;
use invoke_core::{Invoke, Origin};
use lifecycle::{ShutdownRequest, ShutdownRequests};
use transport::grpc::{CallHead, GrpcStatus, MessageReader, Refusal, trailers_only};
use transport::server::{Handler, RequestBody};

use crate::answer::{Answer, Message};
use crate::invoke::{self, Context, Failed};
use crate::observer::{Call, Observer};
use crate::{metadata, out_of_scope, status};

const SERVICE: &str = "/dapr.proto.runtime.v1.Dapr/";
const FORCE_SHUTDOWN: &str = "dapr-force-shutdown";
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// How the API is set up.
#[derive(Debug)]
pub struct ApiSettings {
    /// The longest message in either direction, in bytes.
    pub max_message: usize,
    /// What apps must show.
    pub token: Option<ApiToken>,
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
    metadata: Arc<Metadata>,
    shutdown: ShutdownRequests,
}

impl<I: Invoke, O: Observer> Api<I, O> {
    /// Puts the API together.
    pub fn new(
        invoke: Arc<I>,
        observer: Arc<O>,
        settings: ApiSettings,
        metadata: Arc<Metadata>,
        shutdown: ShutdownRequests,
    ) -> Self {
        Self(Arc::new(Inner {
            invoke,
            observer,
            settings,
            metadata,
            shutdown,
        }))
    }

    async fn answer(&self, mut request: Request<RequestBody>) -> Response<Answer> {
        let head = match CallHead::of(&request) {
            Ok(head) => head,
            Err(refusal) => return refusal.to_response(),
        };
        let metadata = std::mem::take(request.headers_mut());
        let mut metadata = match grpc_metadata::from_grpc(metadata) {
            Ok(metadata) => metadata,
            Err(error) => return Refusal::bad_metadata(error.to_string()).to_response(),
        };
        if let Some(token) = &self.0.settings.token
            && let Err(error) = token.admits(&mut metadata)
        {
            return trailers_only(&status::of_token(error), head.content_type);
        }
        let echoed = match baggage::check(&metadata) {
            Ok(baggage) => baggage.filter(|_| self.0.settings.tracing),
            Err(cause) if self.0.settings.tracing => {
                let text = format!("invalid baggage header: {cause}");
                return trailers_only(&GrpcStatus::new(code::INVALID_ARGUMENT, text), head.content_type);
            }
            Err(_) => None,
        };
        let content_type = head.content_type.clone();
        let mut response = match self.dispatch(request, metadata, &head).await {
            Ok(message) => message.into_response(content_type),
            Err(failed) => fail(*failed, content_type),
        };
        if let Some(baggage) = echoed {
            response.headers_mut().insert(baggage::BAGGAGE, baggage);
        }
        response
    }

    async fn dispatch(
        &self,
        request: Request<RequestBody>,
        metadata: HeaderMap,
        head: &CallHead,
    ) -> Result<Message, Box<Failed>> {
        let inner = &*self.0;
        let (parts, body) = request.into_parts();
        let Some(method) = parts.uri.path().strip_prefix(SERVICE) else {
            return Err(status::unknown(parts.uri.path()).into());
        };
        let max = inner.settings.max_message;
        match method {
            "InvokeService" => {
                let trace = inner.settings.tracing.then(|| trace_of(&metadata));
                let context = Context {
                    authority: authority(&parts.uri),
                    headers: metadata,
                    trace,
                    deadline: head.deadline,
                    max_message: max,
                };
                let call = async {
                    let message = read(body, head, max).await?;
                    invoke::handle(&*inner.invoke, &message, context).await
                };
                within(head.deadline, call).await
            }
            "GetMetadata" => {
                read(body, head, max).await?;
                Ok(metadata::get(&inner.metadata))
            }
            "SetMetadata" => {
                let message = read(body, head, max).await?;
                Ok(metadata::set(&inner.metadata, &message)?)
            }
            "Shutdown" => {
                read(body, head, max).await?;
                self.shut_down(&metadata);
                Ok(Message::of(&[]))
            }
            method if out_of_scope::has(method) => {
                let message = read(body, head, max).await?;
                Ok(out_of_scope::answer(method, &message, inner.metadata.app_id())?)
            }
            _ => Err(status::unknown(parts.uri.path()).into()),
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

/// The one message of a unary call.
async fn read(body: RequestBody, head: &CallHead, max: usize) -> Result<Bytes, GrpcStatus> {
    let mut messages = MessageReader::new(body, max);
    match messages.next().await {
        None => Err(GrpcStatus::new(
            code::INTERNAL,
            "grpc: the message of the call is missing",
        )),
        Some(Ok((is_compressed, message))) => head.encoding.decode(is_compressed, message, max),
        Some(Err(error @ transport::grpc::MessageError::TooLarge { .. })) => {
            Err(GrpcStatus::new(code::RESOURCE_EXHAUSTED, error.to_string()))
        }
        Some(Err(error)) => Err(GrpcStatus::new(code::INTERNAL, error.to_string())),
    }
}

fn authority(uri: &http::Uri) -> Option<HeaderValue> {
    let authority = uri.authority()?.as_str();
    HeaderValue::from_str(authority).ok()
}

/// The caller's trace context, zeros without one.
fn trace_of(metadata: &HeaderMap) -> TraceContext {
    grpc_metadata::trace_of(metadata, Origin::Grpc, None)
        .or_else(|| grpc_metadata::trace_of(metadata, Origin::Http, None))
        .unwrap_or_default()
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

impl<I: Invoke, O: Observer> Handler for Api<I, O> {
    type Body = Answer;

    async fn call(&self, request: Request<RequestBody>) -> Response<Answer> {
        let observer = &self.0.observer;
        if !observer.wants_calls() {
            return self.answer(request).await;
        }
        let begun = Instant::now();
        let method = request.uri().path().to_owned();
        let user_agent = request.headers().get(header::USER_AGENT).cloned();
        let response = self.answer(request).await;
        observer.finished(Call {
            method,
            user_agent,
            code: code_of(&response),
            duration: begun.elapsed(),
        });
        response
    }
}

/// The status code, from the head or from the trailers.
fn code_of(response: &Response<Answer>) -> i32 {
    let in_head = response.headers().get(GRPC_STATUS);
    let status = in_head.or_else(|| response.body().trailer(&GRPC_STATUS));
    status
        .and_then(|status| status.to_str().ok())
        .and_then(|status| status.parse().ok())
        .unwrap_or(code::UNKNOWN)
}

#[cfg(test)]
mod tests;
