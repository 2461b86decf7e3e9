//! Calls of the app and of external endpoints, told to whoever measures them.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use invoke_core::trace::TraceContext;
use invoke_core::{Body, Fault, Head, InvokeError, MethodPath, Reply, Verb};

/// An app that does not answer has, as Dapr counts it, answered with this status.
pub(crate) const NO_ANSWER: i32 = 500;

/// A call with HTTP.
#[derive(Clone, Copy, Debug)]
pub struct HttpCall<'a> {
    /// The HTTP method.
    pub method: &'a str,
    /// The method path, which need not be UTF-8.
    pub path: &'a [u8],
    /// The span that it belongs to, if its trace is recorded.
    pub span: Option<&'a TraceContext>,
}

/// A unary call with gRPC.
#[derive(Clone, Copy, Debug)]
pub struct GrpcCall<'a> {
    /// The full method.
    pub method: &'a str,
    /// The code of its status.
    pub status: i32,
    /// How long the message of the call is, in bytes.
    pub sent: u64,
    /// How long that of the answer is; 0 without one.
    pub received: u64,
    /// How long it took.
    pub latency: Duration,
    /// The span that it belongs to, if its trace is recorded.
    pub span: Option<&'a TraceContext>,
}

/// Is told of every call that the sidecar makes. It is called on the way of the call and must not wait.
pub trait Observer: Send + Sync + 'static {
    /// A call with HTTP begins; its body has so many bytes, as far as that is known.
    fn http_begun(&self, call: HttpCall<'_>, bytes: u64);
    /// The head of its answer is there, or there is none and will be none.
    fn http_answered(&self, call: HttpCall<'_>, status: i32, latency: Duration);
    /// The body of its answer had so many bytes.
    fn http_received(&self, bytes: u64);
    /// A call with gRPC is over.
    fn grpc_answered(&self, call: GrpcCall<'_>);
    /// The health of an HTTP app was probed.
    fn http_probed(&self, status: i32, latency: Duration);
    /// The health of a gRPC app was probed.
    fn grpc_probed(&self, status: i32, latency: Duration);
}

/// Whoever is told of calls, if anybody is.
#[derive(Clone, Default)]
pub struct Watched(Option<Arc<dyn Observer>>);

impl Watched {
    /// Calls are told.
    pub fn by(observer: Arc<dyn Observer>) -> Self {
        Self(Some(observer))
    }

    pub(crate) fn observer(&self) -> Option<&dyn Observer> {
        self.0.as_deref()
    }

    /// A call with HTTP begins.
    pub(crate) fn begin(&self, head: &Head, body: &Body) -> Watch {
        let Some(observer) = &self.0 else {
            return Watch(None);
        };
        // What has no verb is not sent.
        let Some(verb) = head.verb else { return Watch(None) };
        let open = OpenCall {
            observer: Arc::clone(observer),
            verb,
            path: head.method.clone(),
            span: head.trace.filter(TraceContext::is_recorded),
            begun: Instant::now(),
        };
        open.with_call(|call| {
            let length = http_body::Body::size_hint(body).exact().unwrap_or(0);
            observer.http_begun(call, length);
        });
        Watch(Some(open))
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watched").field(&self.0.is_some()).finish()
    }
}

/// A call with HTTP that is told.
pub(crate) struct Watch(Option<OpenCall>);

struct OpenCall {
    observer: Arc<dyn Observer>,
    verb: Verb,
    path: MethodPath,
    span: Option<TraceContext>,
    begun: Instant,
}

impl OpenCall {
    fn with_call(&self, tell: impl FnOnce(HttpCall<'_>)) {
        let method = self.verb.to_http();
        tell(HttpCall {
            method: method.as_ref().map_or("", http::Method::as_str),
            path: self.path.as_bytes(),
            span: self.span.as_ref(),
        });
    }
}

impl Watch {
    /// The call has an answer, or none. A caller that goes away before drops the watch, and nothing is told.
    pub(crate) fn end(self, reply: Result<Reply, InvokeError>) -> Result<Reply, InvokeError> {
        let Some(open) = self.0 else { return reply };
        let status = match &reply {
            Ok(reply) => reply.status.code,
            Err(error) if error.fault == Fault::Caller => return reply,
            Err(_) => NO_ANSWER,
        };
        let latency = open.begun.elapsed();
        open.with_call(|call| open.observer.http_answered(call, status, latency));
        let mut reply = reply.inspect_err(|_| open.observer.http_received(0))?;
        if let Some(length) = http_body::Body::size_hint(&reply.body).exact() {
            open.observer.http_received(length);
        } else {
            let observer = open.observer;
            reply.body = reply.body.on_end(move |_, bytes| observer.http_received(bytes));
        }
        Ok(reply)
    }
}
