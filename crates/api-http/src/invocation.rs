//! A request that is an invocation.

use std::borrow::Cow;
use std::time::Instant;

use http::header;
use http::{Method, Request, Response};
use invoke_core::observe::OpenExchange;
use invoke_core::{
    Body, Cause, End, Fault, Head, Invocation, Invoke, InvokeError, MethodPath, Observe, Origin, Verb,
    trace::TraceContext,
};
use percent_encoding::percent_decode_str;
use tokio::time::timeout_at;
use transport::server::RawQuery;

use crate::errors::{ApiError, DIRECT_INVOKE};
use crate::limit::Limited;
use crate::respond::{self, RequestTraits};
use crate::target::{self, NamedTarget};

/// Those who see the call.
pub(crate) struct ObservedCall<'a, O: Observe> {
    pub(crate) observer: &'a O,
    pub(crate) open: &'a mut OpenExchange<O::Ticket>,
}

/// Carries an invocation out.
pub(crate) async fn handle<I, O, B>(
    invoke: &I,
    seen: ObservedCall<'_, O>,
    max_body: u64,
    request: Request<B>,
    trace: Option<TraceContext>,
    deadline: Option<Instant>,
) -> Result<Response<Body>, ApiError>
where
    I: Invoke,
    O: Observe,
    B: http_body::Body<Data = bytes::Bytes> + Send + Unpin + 'static,
    B::Error: Into<invoke_core::BoxError>,
{
    let (parts, body) = request.into_parts();
    let path = Cow::from(percent_decode_str(parts.uri.path()));
    let NamedTarget {
        target,
        method,
        by_header,
    } = target::find(&parts.headers, &path).ok_or_else(ApiError::no_target)?;
    let failed = |error: &InvokeError| ApiError::of_invocation(&target, error);
    let method = MethodPath::parse(method).map_err(|error| failed(&error.into()))?;
    seen.open.invokes(&target, &method);
    let mut head = Head::new(method, Origin::Http);
    head.verb = Some(Verb::from_http(&parts.method));
    head.query = match parts.extensions.get::<RawQuery>() {
        Some(RawQuery(raw)) => raw.clone(),
        None => bytes::Bytes::copy_from_slice(parts.uri.query().unwrap_or_default().as_bytes()),
    };
    head.headers = parts.headers;
    // It names this sidecar; apps are told theirs.
    head.headers.remove(header::HOST);
    if by_header {
        head.headers.remove(invoke_core::headers::DAPR_APP_ID);
    }
    head.content_type = head.headers.get(header::CONTENT_TYPE).cloned();
    head.trace = trace;
    head.deadline = deadline;
    head.trail = seen.open.trail();
    // A caller that declares no length may be waiting for the first piece of the answer before it sends the next one.
    let is_streaming = body.size_hint().exact().is_none() && !body.is_end_stream();
    let is_connect = parts.method == Method::CONNECT;
    let asked = RequestTraits {
        is_streaming,
        wants_events: head.wants_events(),
        is_head: parts.method == Method::HEAD,
        version: parts.version,
    };
    let broken = |error| failed(&InvokeError::new(Fault::Caller, invoke_core::Delivery::No, error));
    let body = Limited::new(body, max_body).map_err(broken)?;
    let body = Body::receive(body).await.map_err(broken)?;
    let call = Invocation { head, body };
    // Made where it is awaited: a future that has a name is kept twice, and copied.
    let reply = match deadline {
        None => invoke.invoke(&target, call).await,
        // Rare: a call must not carry room for a timer.
        Some(deadline) => Box::pin(timeout_at(deadline.into(), invoke.invoke(&target, call)))
            .await
            .unwrap_or_else(|_| {
                let late = Cause::DeadlineExceeded;
                Err(InvokeError::new(
                    Fault::Caller,
                    invoke_core::Delivery::Maybe,
                    late,
                ))
            }),
    };
    let mut reply = reply.map_err(|error| failed(&error))?;
    if let Some(deadline) = deadline {
        // It is the end of the call, body and all.
        reply.body = reply.body.until(deadline.into());
    }
    let is_of_http = reply.status.is_http();
    let answer = respond::answer(reply, asked).await?.map(told_when_broken);
    // What a gRPC app says is an answer to Dapr, whatever its status.
    if is_of_http && !is_streaming && !(200..400).contains(&answer.status().as_u16()) {
        seen.observer.error_code(DIRECT_INVOKE);
    }
    if is_connect && answer.status().is_success() {
        // It would open a tunnel and have no body (RFC 9110, section 9.3.6), whatever the app answered.
        return Err(failed(&InvokeError::new(
            Fault::Caller,
            invoke_core::Delivery::Yes,
            Cause::InvalidVerb,
        )));
    }
    Ok(answer)
}

/// An answer whose head was sent can tell its caller no more than that it is broken. The log tells why, as in Dapr.
fn told_when_broken(body: Body) -> Body {
    if body.as_full().is_some() {
        return body;
    }
    body.on_end(|end, _| {
        if let End::Failed(error) = end {
            tracing::warn!(target: "dapr.runtime.http", "HTTP service invocation failed to complete with error: {error}");
        }
    })
}
