//! Measures calls where they happen: the observer that fills the families of doors and of invocations.

use std::fmt;
use std::sync::Arc;

use invoke_core::End;
use invoke_core::attempts::Named;
use invoke_core::error::{InvokeError, code};
use invoke_core::observe::{Api, Call, Exchange, Gate, Observe, Rpc, Ticket};
use invoke_core::trace::TraceContext;

use super::errors::ErrorCodes;
use super::family::Family;
use super::grpc::{self, GrpcServer};
use super::http::{self, HttpServer};
use super::in_flight::InFlight;
use super::invocation::{self, Invocations};
use super::paths::PathLabels;
use super::settings::MetricsSettings;

/// Measures calls. Cloning shares the counters.
#[derive(Clone)]
pub struct CallMetrics(Arc<Inner>);

struct Inner {
    http: HttpServer,
    grpc: GrpcServer,
    invocations: Invocations,
    errors: Option<ErrorCodes>,
    /// Where there are families of our own: how many requests each API has.
    in_flight: Option<InFlight>,
    has_exemplars: bool,
}

/// What is counted for a target.
#[derive(Clone, Debug)]
pub struct TargetMeters {
    /// Invocations are counted for the app, however callers name it.
    invoked: Arc<invocation::Target>,
    /// Proxied calls are counted for what callers say, as in Dapr.
    proxied: Arc<invocation::Target>,
}

/// A call that is measured.
pub struct CallTicket {
    of: CallMetrics,
    kind: Kind,
    /// The API whose request counts as in flight.
    at: Option<Api>,
    /// Its span, if that is recorded and wanted as an exemplar. In a box, since hardly any call has one.
    span: Option<Box<TraceContext>>,
}

enum Kind {
    /// Nothing more of it is of interest.
    Done,
    Http(http::Measured),
    Grpc(grpc::Measured),
    Attempt(invocation::Attempt),
    Received(invocation::Received),
}

impl CallMetrics {
    /// No calls yet.
    pub fn new(settings: &MetricsSettings, paths: &Arc<PathLabels>) -> Self {
        Self(Arc::new(Inner {
            http: HttpServer::new(settings, Arc::clone(paths)),
            grpc: GrpcServer::new(settings),
            invocations: Invocations::new(settings),
            errors: settings.records_error_codes.then(|| ErrorCodes::new(settings)),
            in_flight: settings.has_own.then(|| InFlight::new(&settings.app_id)),
            has_exemplars: settings.has_exemplars,
        }))
    }

    /// The families as they are now.
    pub fn families(&self) -> Vec<Family> {
        let inner = &self.0;
        let mut families = inner.http.families();
        families.extend(inner.grpc.families());
        families.extend(inner.invocations.families());
        families.extend(inner.errors.iter().flat_map(ErrorCodes::families));
        families.extend(inner.in_flight.iter().map(InFlight::family));
        families
    }
}

impl fmt::Debug for CallMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CallMetrics")
    }
}

impl Observe for CallMetrics {
    type Ticket = Option<CallTicket>;
    type Meters = TargetMeters;

    fn meters(&self, target: Named<'_>, text: &str) -> TargetMeters {
        // Families of our own name the app in both cases.
        let app = match target {
            Named::Peer(app) => app.id.as_str(),
            _ => text,
        };
        let named = |name| Arc::new(self.0.invocations.target(name, app));
        let proxied = named(text);
        let invoked = match target {
            Named::Peer(app) if app.id.as_str() != text => named(app.id.as_str()),
            _ => Arc::clone(&proxied),
        };
        TargetMeters { invoked, proxied }
    }

    fn begin(&self, exchange: Exchange<'_>, meters: Option<&TargetMeters>) -> Option<CallTicket> {
        let inner = &self.0;
        let (mut at, mut span) = (None, None);
        let kind = match exchange {
            Exchange::Door(request) => {
                // A call of another sidecar has no door unless it is old; it counts where it is received.
                if let Some(in_flight) = inner.in_flight.as_ref().filter(|_| request.api != Api::Internal) {
                    in_flight.begin(request.api);
                    at = Some(request.api);
                }
                match request.api {
                    Api::Http | Api::Public => Kind::Http(inner.http.begin(request)),
                    Api::Grpc | Api::Internal => Kind::Grpc(grpc::Measured::begin()),
                }
            }
            Exchange::Attempt { call, .. } => {
                let (target, emitted) = match call {
                    Call::Invoked(head) => (&meters?.invoked, head.trace),
                    Call::Proxied(head) => (&meters?.proxied, head.trace),
                };
                if inner.has_exemplars {
                    span = emitted.filter(TraceContext::is_recorded).map(Box::new);
                }
                Kind::Attempt(inner.invocations.attempt(target, call))
            }
            Exchange::Received { call, .. } => {
                let received = inner.invocations.received(call).map(Kind::Received);
                if let Some(in_flight) = &inner.in_flight {
                    in_flight.begin(Api::Internal);
                    at = Some(Api::Internal);
                    received.unwrap_or(Kind::Done)
                } else {
                    received?
                }
            }
            // Whoever calls the app measures that.
            _ => return None,
        };
        Some(CallTicket {
            of: self.clone(),
            kind,
            at,
            span,
        })
    }

    fn error_code(&self, code: &str) {
        if let Some(errors) = &self.0.errors {
            errors.count(code);
        }
    }
}

impl CallTicket {
    /// The request is no longer in flight.
    fn left(&mut self) {
        if let (Some(api), Some(in_flight)) = (self.at.take(), &self.of.0.in_flight) {
            in_flight.end(api);
        }
    }
}

impl Ticket for CallTicket {
    fn is_silent(&self) -> bool {
        matches!(self.kind, Kind::Done)
    }

    fn turned_away(&mut self, at: Gate) {
        if at == Gate::Outer {
            self.left();
            self.kind = Kind::Done;
        }
    }

    fn found(&mut self, call: Rpc<'_>) {
        let Kind::Grpc(measured) = &mut self.kind else {
            return;
        };
        match call {
            Rpc::Unary { method, message } => self.of.0.grpc.unary(measured, method, message),
            Rpc::Relayed { method } => self.of.0.grpc.relayed(measured, method),
        }
    }

    fn recorded(&mut self, span: &TraceContext) {
        // A call of another sidecar has no latency of its own here.
        if self.of.0.has_exemplars && matches!(self.kind, Kind::Http(_) | Kind::Grpc(_)) {
            self.span = Some(Box::new(*span));
        }
    }

    fn taken(&mut self) {
        if let Kind::Received(received) = &mut self.kind {
            self.of.0.invocations.let_in(received);
        }
    }

    fn status(&mut self, status: i32) {
        let invocations = &self.of.0.invocations;
        let span = self.span.as_deref();
        let is_done = match &mut self.kind {
            Kind::Done => true,
            Kind::Http(request) => {
                request.status(status);
                false
            }
            Kind::Grpc(call) => {
                call.status(status);
                false
            }
            Kind::Attempt(attempt) => invocations.status(attempt, status, span),
            Kind::Received(received) => {
                invocations.returned(received, status);
                true
            }
        };
        if is_done {
            self.kind = Kind::Done;
            self.left();
        }
    }

    fn failed(&mut self, error: &InvokeError) {
        let invocations = &self.of.0.invocations;
        match &mut self.kind {
            Kind::Attempt(attempt) => invocations.failed(attempt, error),
            Kind::Received(received) => {
                invocations.returned(received, code::INTERNAL);
                self.kind = Kind::Done;
                self.left();
            }
            _ => {}
        }
    }

    fn end(mut self, _: End<'_>, bytes: u64) {
        self.left();
        let (inner, span) = (&self.of.0, self.span.as_deref());
        match &mut self.kind {
            Kind::Done => {}
            Kind::Http(request) => inner.http.end(request, bytes, span),
            Kind::Grpc(call) => inner.grpc.end(call, bytes, span),
            Kind::Attempt(attempt) => inner.invocations.end(attempt, span),
            // Its caller went away.
            Kind::Received(received) => inner.invocations.returned(received, code::CANCELLED),
        }
    }
}

#[cfg(test)]
mod tests;
