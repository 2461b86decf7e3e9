//! Middleware in front of an app or an endpoint (`spec.appHttpPipeline`).
//!
//! It sees the request as it is to be sent, and its answer is the app's answer.

use std::future::Future;

use http::header;
use http::{Request, Response, StatusCode, Uri};
use invoke_core::pipeline::{Entered, Leave, Pipeline};
use invoke_core::{InvokeError, Reply, Route, WireStatus, headers};

use crate::channel::Prepared;

/// Sends a request by `send`, unless the middleware answers it.
pub(crate) async fn through<F>(
    pipeline: &dyn Pipeline,
    prepared: Prepared,
    send: impl FnOnce(Prepared) -> F,
) -> Result<Reply, InvokeError>
where
    F: Future<Output = Result<Reply, InvokeError>>,
{
    let Prepared {
        method,
        target,
        raw,
        wants_length,
        headers,
        body,
        declared,
    } = prepared;
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = Uri::from(target.clone());
    *request.headers_mut() = headers;
    match pipeline.enter(request, None).await {
        Entered::Answered(answer) => Ok(reply_of(answer, None)),
        Entered::Passed(request, leave) => {
            let (parts, body) = request.into_parts();
            let changed = parts.uri.into_parts().path_and_query;
            let changed = changed.filter(|changed| *changed != target);
            let reply = send(Prepared {
                method: parts.method,
                // What was written is of the request that came.
                raw: raw.filter(|_| changed.is_none()),
                target: changed.unwrap_or(target),
                wants_length,
                headers: parts.headers,
                body,
                declared,
            })
            .await?;
            if leave.is_nothing() {
                return Ok(reply);
            }
            Ok(left(reply, leave).await)
        }
    }
}

/// The reply, with its status, headers and body as the middleware leaves them.
async fn left(mut reply: Reply, leave: Leave) -> Reply {
    let status = u16::try_from(reply.status.code).ok();
    let Some(status) = status.and_then(|code| StatusCode::from_u16(code).ok()) else {
        return reply;
    };
    let mut answer = Response::new(std::mem::take(&mut reply.body));
    *answer.status_mut() = status;
    *answer.headers_mut() = std::mem::take(&mut reply.headers);
    reply_of(leave.apply(answer).await, Some(reply))
}

/// An answer as a reply.
fn reply_of(answer: Response<invoke_core::Body>, of_app: Option<Reply>) -> Reply {
    let (parts, body) = answer.into_parts();
    let route = of_app.as_ref().map_or(Route::Local, |reply| reply.route);
    let mut reply = of_app.unwrap_or_else(|| Reply::new(WireStatus::default(), route));
    reply.status = WireStatus::http(parts.status);
    reply.headers = parts.headers;
    headers::remove_hop_by_hop(&mut reply.headers);
    let content_type = reply.headers.get(header::CONTENT_TYPE);
    reply.content_type = content_type.filter(|value| !value.is_empty()).cloned();
    reply.body = body;
    reply
}

#[cfg(test)]
mod tests;
