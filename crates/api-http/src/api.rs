//! The handler of the API port.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api_core::baggage::{self, BAGGAGE};
use api_core::{ApiLists, ApiToken, Metadata};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use invoke_core::headers::{self, TRACEPARENT, TRACESTATE};
use invoke_core::observe::{self, Entry, Exchange, Gate, OpenExchange, Traced};
use invoke_core::pipeline::{Entered, Pipeline};
use invoke_core::trace::{self, TraceContext};
use invoke_core::{Body, BoxError, Invoke, Observe};
use lifecycle::{ShutdownRequest, ShutdownRequests};
use transport::server::{Handler, RawQuery, RequestBody};

use crate::access::Access;
use crate::cors::Cors;
use crate::errors::{self, ApiError};
use crate::health::Health;
use crate::invocation::{self, ObservedCall};
use crate::limit::Limited;
use crate::respond;
use crate::routes::{self, Route};
use crate::target::query_unescape;

/// A longer state is not given back.
const LONGEST_STATE: usize = 512;
const FORCE_SHUTDOWN: &str = "dapr-force-shutdown";

/// How the API is set up.
#[derive(Debug)]
pub struct ApiSettings {
    /// The longest request body, in bytes; `None` for any length.
    pub max_body: Option<u64>,
    /// What apps must show.
    pub token: Option<ApiToken>,
    /// Which APIs there are.
    pub apis: ApiLists,
    /// Which origins may call.
    pub cors: Option<Cors>,
    /// Whether trace contexts are read and given back.
    pub tracing: bool,
    /// What every request goes through before its route is taken (`spec.httpPipeline`).
    pub pipeline: Option<Arc<dyn Pipeline>>,
    /// In which header a caller says how many milliseconds it waits, if it may.
    pub deadline_header: Option<HeaderName>,
}

/// The HTTP API. Cloning shares it.
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
    health: Health,
    shutdown: ShutdownRequests,
}

impl<I: Invoke, O: Observe> Api<I, O> {
    /// Puts the API together.
    pub fn new(
        invoke: Arc<I>,
        observer: Arc<O>,
        settings: ApiSettings,
        metadata: Arc<Metadata>,
        health: Health,
        shutdown: ShutdownRequests,
    ) -> Self {
        Self(Arc::new(Inner {
            invoke,
            observer,
            access: Access::new(&settings.apis),
            settings,
            metadata,
            health,
            shutdown,
        }))
    }

    /// The answer, and where the caller was turned away, if it was.
    async fn answer(
        &self,
        mut request: Request<RequestBody>,
        peer: Option<SocketAddr>,
        open: &mut OpenExchange<O::Ticket>,
    ) -> (Response<Body>, Option<Gate>) {
        let inner = &*self.0;
        // Shares the text, which the route borrows while the request goes on.
        let uri = request.uri().clone();
        let routing = routes::routing_path(uri.path());
        let route = routes::route(request.method(), &routing, &inner.access);
        // Dapr's order, which callers can see: trace and baggage, then CORS, then the token, then middleware. A preflight
        // has no token, because browsers send none with it (Fetch, "CORS-preflight fetch").
        let is_traced = inner.settings.tracing && !request.uri().path().contains("/healthz");
        let mut added = AnswerHeaders::default();
        if is_traced {
            headers::leave_one_trace(request.headers_mut());
            let parent = parent_of(&request);
            if parent.is_some() {
                let state = request.headers().get(TRACESTATE);
                added.state = state.filter(|state| trace::is_state(state.as_bytes())).cloned();
            }
            match baggage::check(request.headers()) {
                Ok(baggage) => added.baggage = baggage,
                Err(cause) => {
                    let text = format!("invalid baggage header: {cause}");
                    return (errors::plain(StatusCode::BAD_REQUEST, &text), Some(Gate::Outer));
                }
            }
            let span = open.trace(traced(&request, parent, added.state.as_ref(), peer));
            added.trace = Some(span.or(parent).unwrap_or_default());
        }
        if let Some(cors) = &inner.settings.cors {
            if let Some(preflight) = cors.preflight(&request) {
                return (added.put(preflight), Some(Gate::Inner));
            }
            added.is_cors = true;
            added.origin = cors.of_request(&request);
        }
        if let Some(token) = &inner.settings.token {
            // Probes of Kubernetes have no token. It is taken out of the request all the same: apps must not see it.
            let is_exempt = matches!(route, Route::Healthz | Route::OutboundHealthz);
            if token.admits(request.headers_mut()).is_err() && !is_exempt {
                let refused = errors::plain(StatusCode::UNAUTHORIZED, "invalid api token");
                return (added.put(refused), Some(Gate::Inner));
            }
        }
        let Some(pipeline) = &inner.settings.pipeline else {
            let answer = self.dispatch(route, request, added.trace, open).await;
            return (added.put(self.told(answer)), None);
        };
        // In a box: nobody else needs room for it.
        let through = self.through(&**pipeline, route, (request, peer), added.trace, open);
        let (answer, gate) = Box::pin(through).await;
        (added.put(answer), gate)
    }

    /// The answer of the middleware, or that to what the middleware makes of the request. The route stays the one of the
    /// path that came, as in Dapr: of a path that was rewritten only an invocation reads its target.
    async fn through(
        &self,
        pipeline: &dyn Pipeline,
        route: Route<'_>,
        (request, peer): (Request<RequestBody>, Option<SocketAddr>),
        trace: Option<TraceContext>,
        open: &mut OpenExchange<O::Ticket>,
    ) -> (Response<Body>, Option<Gate>) {
        match pipeline.enter(request.map(Body::stream), peer).await {
            Entered::Answered(answer) => (respond::named(answer), Some(Gate::Inner)),
            Entered::Passed(request, leave) => {
                let answer = self.dispatch(route, request, trace, open).await;
                (leave.apply(self.told(answer)).await, None)
            }
        }
    }

    /// The answer, or what is told in place of it.
    fn told(&self, answer: Result<Response<Body>, ApiError>) -> Response<Body> {
        answer.unwrap_or_else(|error| {
            self.0.observer.error_code(error.code);
            error.into_response()
        })
    }

    async fn dispatch<B>(
        &self,
        route: Route<'_>,
        request: Request<B>,
        trace: Option<TraceContext>,
        open: &mut OpenExchange<O::Ticket>,
    ) -> Result<Response<Body>, ApiError>
    where
        B: http_body::Body<Data = bytes::Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
    {
        let inner = &*self.0;
        let max_body = inner.settings.max_body.unwrap_or(u64::MAX);
        match route {
            Route::Invocation => {
                let seen = ObservedCall {
                    observer: &*inner.observer,
                    open,
                };
                let deadline = match &inner.settings.deadline_header {
                    Some(name) => deadline_in(request.headers(), name)?,
                    None => None,
                };
                invocation::handle(&*inner.invoke, seen, max_body, request, trace, deadline).await
            }
            Route::Healthz => inner
                .health
                .healthz(inner.metadata.app_id(), request.uri().query()),
            Route::OutboundHealthz => inner.health.outbound(),
            Route::Metadata => Ok(show(&inner.metadata)),
            Route::SetMetadata(key) => {
                let key = unescaped_key(key)?;
                let value = collect(request.into_body(), max_body).await?;
                set_metadata(&inner.metadata, &key, &value)
            }
            Route::Shutdown => Ok(self.shut_down(&request)),
            Route::OtherMethod(methods) => Ok(errors::wrong_method(&methods)),
            Route::Nothing => Ok(errors::not_found()),
            Route::OutOfScope(call) => {
                // Dapr parses some of these requests before it looks for the component: a bad body is told first.
                let body = if call.reads_body() {
                    collect(request.into_body(), max_body).await?
                } else {
                    bytes::Bytes::new()
                };
                let metadata = &inner.metadata;
                let mut error = call.answer(metadata.app_id(), metadata.namespace(), &body);
                error.message.extend(metadata.why_not(&call.name()));
                Err(error)
            }
        }
    }

    fn shut_down<B>(&self, request: &Request<B>) -> Response<Body> {
        let force = request.headers().get(FORCE_SHUTDOWN);
        let is_forced = force.is_some_and(|force| force.as_bytes().eq_ignore_ascii_case(b"true"));
        let request = if is_forced {
            ShutdownRequest::Force
        } else {
            ShutdownRequest::Graceful
        };
        self.0.shutdown.send(request);
        errors::empty(StatusCode::NO_CONTENT)
    }
}

/// The key of a `PUT /v1.0/metadata/{key}`.
pub(crate) fn unescaped_key(key: &str) -> Result<Vec<u8>, ApiError> {
    query_unescape(key.as_bytes()).ok_or_else(|| {
        let text =
            format!("failed to unescape request parameter \"key\". Error: invalid URL escape in {key:?}");
        ApiError::new(StatusCode::BAD_REQUEST, errors::MALFORMED_REQUEST, text)
    })
}

/// The metadata as an answer.
pub(crate) fn show(metadata: &Metadata) -> Response<Body> {
    let mut response = Response::new(Body::full(metadata.to_json()));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// Sets a value of the metadata.
pub(crate) fn set_metadata(
    metadata: &Metadata,
    key: &[u8],
    value: &[u8],
) -> Result<Response<Body>, ApiError> {
    let (key, value) = (String::from_utf8_lossy(key), String::from_utf8_lossy(value));
    metadata
        .set(&key, &value)
        .map_err(|text| ApiError::new(StatusCode::BAD_REQUEST, errors::MALFORMED_REQUEST, text))?;
    Ok(errors::empty(StatusCode::NO_CONTENT))
}

/// The whole body of a request to the sidecar itself.
pub(crate) async fn collect<B>(body: B, max: u64) -> Result<bytes::Bytes, ApiError>
where
    B: http_body::Body<Data = bytes::Bytes, Error: Into<BoxError>> + Unpin,
{
    let unreadable = |error: invoke_core::BodyError| {
        let text = format!("failed to read request body: {error}");
        ApiError::new(StatusCode::BAD_REQUEST, errors::BODY_READ, text)
    };
    let body = Limited::new(body, max).map_err(unreadable)?;
    Ok(body.collect().await.map_err(unreadable)?.to_bytes())
}

/// When the caller stops waiting, as it says by a header in whole milliseconds.
fn deadline_in(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Instant>, ApiError> {
    let Some(value) = headers.get(name) else {
        return Ok(None);
    };
    let millis: Option<u32> = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    let millis = millis.ok_or_else(|| {
        let text = format!("header {name}: {value:?} is no number of milliseconds");
        ApiError::new(StatusCode::BAD_REQUEST, errors::MALFORMED_REQUEST, text)
    })?;
    Ok(Instant::now().checked_add(Duration::from_millis(millis.into())))
}

fn parent_of<B>(request: &Request<B>) -> Option<TraceContext> {
    let parent = request.headers().get(TRACEPARENT)?.to_str().ok()?;
    TraceContext::from_traceparent(parent)
}

/// The call as those see it who trace.
fn traced<'a, B>(
    request: &'a Request<B>,
    parent: Option<TraceContext>,
    state: Option<&'a HeaderValue>,
    peer: Option<SocketAddr>,
) -> Traced<'a> {
    let raw = request.extensions().get::<RawQuery>();
    let raw = raw.and_then(|RawQuery(query)| std::str::from_utf8(query).ok());
    Traced {
        entry: Entry::Http {
            method: request.method(),
            path: request.uri().path(),
            query: raw.or_else(|| request.uri().query()),
            peer,
        },
        parent,
        state,
        headers: Some(request.headers()),
        deadline: None,
    }
}

/// What an answer carries besides what the route made.
#[derive(Default)]
struct AnswerHeaders {
    trace: Option<TraceContext>,
    /// What came with the caller's trace context.
    state: Option<HeaderValue>,
    baggage: Option<HeaderValue>,
    /// Whether cross-origin requests are looked at.
    is_cors: bool,
    /// The origin that may read the answer.
    origin: Option<HeaderValue>,
}

impl AnswerHeaders {
    fn put(self, mut response: Response<Body>) -> Response<Body> {
        let headers = response.headers_mut();
        if let Some(trace) = self.trace
            && !headers.contains_key(TRACEPARENT)
            && let Ok(parent) = HeaderValue::from_bytes(&trace.to_traceparent())
        {
            headers.insert(TRACEPARENT, parent);
            if let Some(state) = self.state.filter(|state| state.len() <= LONGEST_STATE) {
                headers.insert(TRACESTATE, state);
            }
        }
        if let Some(baggage) = self.baggage {
            headers.append(BAGGAGE, baggage);
        }
        if self.is_cors {
            Cors::mark(headers, self.origin);
        }
        response
    }
}

/// A request at a port, for those who see calls.
pub(crate) fn door<B>(api: observe::Api, request: &Request<B>) -> Exchange<'_> {
    Exchange::Door(observe::Request {
        api,
        method: request.method(),
        path: request.uri().path(),
        user_agent: request.headers().get(header::USER_AGENT),
        content_length: request.headers().get(header::CONTENT_LENGTH),
    })
}

impl<I: Invoke, O: Observe> Handler for Api<I, O> {
    type Body = Body;

    fn takes_upgrade(&self, headers: &HeaderMap) -> bool {
        // What comes with an upgrade is kept here, and whoever has no token is to leave nothing.
        let token = self.0.settings.token.as_ref();
        token.is_none_or(|token| token.is_shown(headers).is_ok())
    }

    async fn call(&self, request: Request<RequestBody>) -> Response<Body> {
        self.call_of(request, None).await
    }

    async fn call_of(&self, request: Request<RequestBody>, peer: Option<SocketAddr>) -> Response<Body> {
        let door = door(observe::Api::Http, &request);
        let mut open = OpenExchange::new(self.0.observer.begin(door, None));
        let (response, gate) = self.answer(request, peer, &mut open).await;
        if let Some(gate) = gate {
            open.turned_away(gate);
        }
        open.status(i32::from(response.status().as_u16()));
        response.map(|body| open.follow(body))
    }
}

#[cfg(test)]
mod tests;
