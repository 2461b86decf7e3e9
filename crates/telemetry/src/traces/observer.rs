//! The observer that makes spans.

use std::fmt;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::HeaderMap;
use http::header::HeaderName;
use invoke_core::attempts::Named;
use invoke_core::error::code;
use invoke_core::headers::{API_TOKEN, CALLEE_APP_ID, DAPR_APP_ID};
use invoke_core::observe::{Api, Entry, Exchange, Traced};
use invoke_core::trace::TraceContext;
use invoke_core::{End, InvokeError, MethodPath, Observe, Ticket};
use percent_encoding::percent_decode;

use super::export::Queue;
use super::sampler::Sampler;
use super::span::{Key, Kind, Span};

const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// Headers with this in front become attributes.
const DAPR: &str = "dapr-";

/// Makes a span of each call at a door of this sidecar. Cloning shares it.
#[derive(Clone)]
pub struct Traces(Arc<Inner>);

struct Inner {
    app_id: Box<str>,
    sampler: Sampler,
    /// How many attributes a span has at most.
    most_attributes: usize,
    queues: Vec<Queue>,
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Traces")
    }
}

impl Traces {
    pub(super) fn new(app_id: &str, sampler: Sampler, most_attributes: usize, queues: Vec<Queue>) -> Self {
        Self(Arc::new(Inner {
            app_id: app_id.into(),
            sampler,
            most_attributes,
            queues,
        }))
    }
}

impl Observe for Traces {
    type Ticket = Option<TraceTicket>;
    type Meters = ();

    fn meters(&self, _: Named<'_>, _: &str) {}

    fn begin(&self, exchange: Exchange<'_>, _: Option<&()>) -> Option<TraceTicket> {
        let is_traced = match exchange {
            Exchange::Door(request) => matches!(request.api, Api::Http | Api::Grpc),
            Exchange::Received { .. } => true,
            // An attempt is seen by the span of the sidecar that gets it, and the app makes its own.
            _ => false,
        };
        is_traced.then(|| TraceTicket {
            of: self.clone(),
            recording: None,
        })
    }
}

/// A call that may be recorded.
pub struct TraceTicket {
    of: Traces,
    /// Only where it is.
    recording: Option<Box<Recording>>,
}

/// Where the call came in decides what its end means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Http,
    Grpc,
    Received,
    Relayed,
}

struct Recording {
    span: Span,
    begun: Instant,
    form: Form,
    deadline: Option<Instant>,
    status: Option<i32>,
    reason: Option<String>,
    most_attributes: usize,
}

impl Recording {
    fn put(&mut self, key: impl Into<Key>, value: impl Into<String>) {
        let (key, value) = (key.into(), value.into());
        if value.is_empty() {
            return;
        }
        let attributes = &mut self.span.attributes;
        if attributes.len() >= self.most_attributes {
            self.span.dropped += 1;
        } else {
            attributes.push((key, value));
        }
    }

    /// What the caller wants to see. The token is never recorded, and which app is called is said by other attributes.
    fn put_headers(&mut self, headers: &HeaderMap) {
        for name in headers.keys().filter(|name| name.as_str().starts_with(DAPR)) {
            let is_hidden = *name == API_TOKEN
                || (self.form == Form::Http && *name == DAPR_APP_ID)
                || (self.form != Form::Http && name.as_str().ends_with("-bin"));
            if is_hidden {
                continue;
            }
            let mut values = headers.get_all(name).iter();
            let value = match self.form {
                Form::Http => values.next_back(),
                _ => values.next(),
            };
            if let Some(value) = value {
                let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                self.put(name.as_str().to_owned(), value);
            }
        }
    }

    fn invokes(&mut self, target: &str, method: &MethodPath) {
        self.span.name = format!("CallLocal/{target}/{method}");
        self.put("rpc.service", "ServiceInvocation");
        if self.form != Form::Received {
            self.put("net.peer.name", target);
        }
    }

    /// Who says no more than that it went away.
    fn is_gone(&self) -> String {
        let is_late = self.deadline.is_some_and(|deadline| deadline <= Instant::now());
        let text = if is_late {
            "context deadline exceeded"
        } else {
            "context canceled"
        };
        text.to_owned()
    }

    fn end(&mut self, end: &End<'_>) {
        let error = match (self.form, self.status) {
            (Form::Http, Some(status)) => {
                self.put("dapr.status_code", status.to_string());
                (status >= 400).then(|| format!("Code({status}): {}", phrase(status)))
            }
            // An app's answer is an answer, whatever it says.
            (Form::Received, Some(_)) => match end {
                End::Failed(error) => Some(error.to_string()),
                _ => None,
            },
            (_, Some(code::OK)) => None,
            (_, Some(code::CANCELLED)) => Some(self.reason.take().unwrap_or_else(|| self.is_gone())),
            (_, Some(_)) => Some(self.reason.take().unwrap_or_default()),
            (_, None) => Some(self.reason.take().unwrap_or_else(|| self.is_gone())),
        };
        self.span.error = error;
        self.span.end = self.span.start + self.begun.elapsed();
    }
}

/// The words of a status, as Go has them.
fn phrase(status: i32) -> &'static str {
    let status = u16::try_from(status).ok();
    let status = status.and_then(|status| http::StatusCode::from_u16(status).ok());
    match status.map(|status| status.as_u16()) {
        Some(413) => "Request Entity Too Large",
        Some(414) => "Request URI Too Long",
        Some(416) => "Requested Range Not Satisfiable",
        Some(418) => "I'm a teapot",
        _ => status
            .and_then(|status| status.canonical_reason())
            .unwrap_or("Unknown"),
    }
}

impl Inner {
    fn record(&self, traced: &Traced<'_>, context: TraceContext) -> Box<Recording> {
        let (form, kind, name) = match traced.entry {
            Entry::Http { path, .. } => (Form::Http, Kind::Client, decoded(path)),
            Entry::Grpc { method } => (Form::Grpc, Kind::Client, method.to_owned()),
            Entry::Received { .. } => (Form::Received, Kind::Server, String::new()),
            Entry::Relayed { method } => (Form::Relayed, self.relayed(traced.headers), method.to_owned()),
        };
        let parent = traced
            .parent
            .filter(TraceContext::is_valid)
            .map_or([0; 8], |parent| parent.span_id);
        let state = traced
            .state
            .and_then(|state| state.to_str().ok())
            .unwrap_or_default();
        let now = SystemTime::now();
        let mut recording = Box::new(Recording {
            span: Span {
                context,
                parent,
                state: state.to_owned(),
                name,
                kind,
                start: now,
                end: now,
                attributes: Vec::with_capacity(10),
                dropped: 0,
                error: None,
            },
            begun: Instant::now(),
            form,
            deadline: traced.deadline,
            status: None,
            reason: None,
            most_attributes: self.most_attributes,
        });
        match traced.entry {
            Entry::Http {
                method,
                path,
                query,
                peer,
            } => {
                let api = format!("{method} {}", recording.span.name);
                recording.put("dapr.protocol", "http");
                recording.put("dapr.api", api);
                recording.put("http.request.method", method.as_str());
                recording.put(
                    "url.full",
                    match query {
                        Some(query) => format!("{path}?{query}"),
                        None => path.to_owned(),
                    },
                );
                if let Some(peer) = peer {
                    // Dapr's names for the address of the caller.
                    recording.put("server.address", peer.ip().to_canonical().to_string());
                    recording.put("server.port", peer.port().to_string());
                }
            }
            Entry::Grpc { method } => {
                recording.put("dapr.protocol", "grpc");
                recording.put("dapr.api", method);
            }
            Entry::Received { is_unary, method } => {
                recording.invokes(&self.app_id, method);
                recording.put("dapr.invoke_method", method.to_string());
                recording.put("dapr.protocol", "grpc");
                let api = if is_unary { "CallLocal" } else { "CallLocalStream" };
                recording.put(
                    "dapr.api",
                    format!("/dapr.proto.internals.v1.ServiceInvocation/{api}"),
                );
            }
            Entry::Relayed { .. } => {}
        }
        if let Some(headers) = traced.headers {
            recording.put_headers(headers);
        }
        recording
    }

    /// A call that is passed on ends here, or goes on to another sidecar.
    fn relayed(&self, headers: Option<&HeaderMap>) -> Kind {
        let target =
            headers.and_then(|headers| headers.get(CALLEE_APP_ID).or_else(|| headers.get(DAPR_APP_ID)));
        if target.is_some_and(|target| target.as_bytes() == self.app_id.as_bytes()) {
            Kind::Server
        } else {
            Kind::Client
        }
    }
}

fn decoded(path: &str) -> String {
    percent_decode(path.as_bytes()).decode_utf8_lossy().into_owned()
}

/// Ids of zeros mean something else.
fn random_id<const N: usize>(random: impl Fn() -> [u8; N]) -> [u8; N] {
    loop {
        let id = random();
        if id != [0; N] {
            return id;
        }
    }
}

impl Ticket for TraceTicket {
    fn is_silent(&self) -> bool {
        self.recording.is_none()
    }

    fn trace(&mut self, traced: Traced<'_>) -> Option<TraceContext> {
        let inner = &*self.of.0;
        let parent = traced.parent.unwrap_or_default();
        let trace_id = if parent.trace_id == [0; 16] {
            random_id(|| fastrand::u128(..).to_ne_bytes())
        } else {
            parent.trace_id
        };
        let is_sampled = inner.sampler.samples(&parent, &trace_id);
        let context = TraceContext {
            trace_id,
            span_id: random_id(|| fastrand::u64(..).to_ne_bytes()),
            flags: (parent.flags & !1) | u8::from(is_sampled),
        };
        self.recording = (is_sampled && !inner.queues.is_empty()).then(|| inner.record(&traced, context));
        Some(context)
    }

    fn invokes(&mut self, target: &str, method: &MethodPath) {
        if let Some(recording) = &mut self.recording {
            recording.invokes(target, method);
        }
    }

    fn reason(&mut self, status: &HeaderMap) {
        if let Some(recording) = &mut self.recording
            && let Some(message) = status.get(GRPC_MESSAGE)
        {
            let message = percent_decode(message.as_bytes()).decode_utf8_lossy();
            recording.reason = Some(message.into_owned());
        }
    }

    fn status(&mut self, status: i32) {
        if let Some(recording) = &mut self.recording {
            recording.status = Some(status);
        }
    }

    fn failed(&mut self, error: &InvokeError) {
        if let Some(recording) = &mut self.recording {
            recording.reason = Some(match recording.form {
                Form::Relayed => error.proxied_text(),
                _ => error.received_status().message,
            });
        }
    }

    fn end(self, end: End<'_>, _: u64) {
        let Some(mut recording) = self.recording else {
            return;
        };
        recording.end(&end);
        let span = Arc::new(recording.span);
        for queue in &self.of.0.queues {
            queue.push(&span);
        }
    }
}
