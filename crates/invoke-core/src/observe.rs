//! Seeing calls from inside: logs, metrics, spans and live views are observers.
//!
//! An observer is told when an exchange begins, and gives a [`Ticket`] that hears of its head and of its end. What it is
//! told is borrowed: nothing is made for an observer that does not want it. `()` is the observer that is not there, a
//! pair of observers is one observer, and a ticket that is `None` stands for an exchange that is of no interest.

mod relayed;
mod traced;
mod trail;

pub(crate) use relayed::{GRPC_STATUS, status_in};
pub use traced::{Entry, Traced};
pub use trail::{LastAttempt, Trail};

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, Response};

use crate::attempts::Named;
use crate::balance::Endpoint;
use crate::body::{Body, End};
use crate::error::InvokeError;
use crate::inbound::Caller;
use crate::invocation::Head;
use crate::method::MethodPath;
use crate::proxied::ProxiedHead;
use crate::reply::Reply;
use crate::trace::TraceContext;

/// Told of every exchange, where it happens.
pub trait Observe: Send + Sync + 'static {
    /// Follows one exchange.
    type Ticket: Ticket;
    /// What it keeps for each target: handles of metrics, so that they are not looked up for each call.
    type Meters: Send + Sync + 'static;

    /// What it keeps for a target that was found, and that callers call by `text`.
    fn meters(&self, target: Named<'_>, text: &str) -> Self::Meters;

    /// An exchange begins. An attempt has what is kept for its target.
    fn begin(&self, exchange: Exchange<'_>, meters: Option<&Self::Meters>) -> Self::Ticket;

    /// An answer of an API carries an error code of Dapr.
    fn error_code(&self, code: &str) {
        let _ = code;
    }
}

/// Follows one exchange. It hears its end in any case, also when its caller goes away.
pub trait Ticket: Send + Unpin + 'static {
    /// Whether nobody listens.
    fn is_silent(&self) -> bool {
        false
    }

    /// A door turned the caller away before it looked at what it wants.
    fn turned_away(&mut self, at: Gate) {
        let _ = at;
    }

    /// A door of gRPC has found out what the call is. Calls that it is not said of are none that Dapr measures.
    fn found(&mut self, call: Rpc<'_>) {
        let _ = call;
    }

    /// The exchange belongs to a trace or begins one. The answer is what this sidecar emits from here on; `None` leaves
    /// that to others.
    fn trace(&mut self, traced: Traced<'_>) -> Option<TraceContext> {
        let _ = traced;
        None
    }

    /// The exchange belongs to a trace that is recorded, with this span: of this sidecar, or of its caller where this
    /// sidecar makes none. Exchanges of which that cannot be said are not told of.
    fn recorded(&mut self, span: &TraceContext) {
        let _ = span;
    }

    /// A door has found out which app is called, in the words of the caller, and with which method.
    fn invokes(&mut self, target: &str, method: &MethodPath) {
        let _ = (target, method);
    }

    /// Where it wants to find what attempts leave behind, if it watches the whole call.
    fn trail(&self) -> Option<Arc<Trail>> {
        None
    }

    /// The other side has the call: a connection was there, or access control let it in.
    fn taken(&mut self) {}

    /// Where the status of gRPC stands that a call failed with: its message is there, too.
    fn reason(&mut self, status: &HeaderMap) {
        let _ = status;
    }

    /// The status of the answer: of HTTP from 100 on, of gRPC below. That of a proxied call comes at its end.
    fn status(&mut self, status: i32) {
        let _ = status;
    }

    /// There is no answer.
    fn failed(&mut self, error: &InvokeError) {
        let _ = error;
    }

    /// The exchange is over; so many bytes of the answer's body were handed on.
    fn end(self, end: End<'_>, bytes: u64)
    where
        Self: Sized;
}

/// One call at one place.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Exchange<'a> {
    /// A request at an API of this sidecar.
    Door(Request<'a>),
    /// An attempt of a call towards another sidecar or an external endpoint, or of a proxied call of the app to itself.
    Attempt {
        /// The target.
        target: Named<'a>,
        /// Which of its sidecars, if it has some.
        endpoint: Option<&'a Endpoint>,
        /// The call.
        call: Call<'a>,
    },
    /// A call of another sidecar, before access control judges it.
    Received {
        /// Who calls.
        caller: &'a Caller,
        /// The call.
        call: Call<'a>,
    },
    /// A call of the app of this sidecar.
    App(Call<'a>),
}

/// An API of this sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// The HTTP API.
    Http,
    /// What of it is on the public port.
    Public,
    /// The gRPC API.
    Grpc,
    /// What other sidecars call.
    Internal,
}

/// Where a door turned a caller away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Before anything else: what there is was not for this caller (a method that is not there, metadata that cannot
    /// be read, a wrong token of the gRPC API).
    Outer,
    /// Before the route was taken: a preflight, a wrong token of the HTTP API.
    Inner,
}

/// What a call of a gRPC API is.
#[derive(Clone, Copy, Debug)]
pub enum Rpc<'a> {
    /// A method of the API with one message in each direction.
    Unary {
        /// The full method.
        method: &'a str,
        /// How long the message of the call is, in bytes.
        message: u64,
    },
    /// A call of an app that is passed on.
    Relayed {
        /// The full method.
        method: &'a str,
    },
}

/// A request at an API.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Which API.
    pub api: Api,
    /// The HTTP method.
    pub method: &'a Method,
    /// The path as it came, without the query.
    pub path: &'a str,
    /// What the caller calls itself.
    pub user_agent: Option<&'a HeaderValue>,
    /// How long the caller says that the body is.
    pub content_length: Option<&'a HeaderValue>,
}

/// A call on one of the two roads.
#[derive(Clone, Copy, Debug)]
pub enum Call<'a> {
    /// An invocation.
    Invoked(&'a Head),
    /// A gRPC call that is passed on as it is.
    Proxied(&'a ProxiedHead),
}

impl Observe for () {
    type Ticket = ();
    type Meters = ();

    fn meters(&self, _: Named<'_>, _: &str) {}

    fn begin(&self, _: Exchange<'_>, _: Option<&()>) {}
}

/// An observer that may not be there.
impl<O: Observe> Observe for Option<O> {
    type Ticket = Option<O::Ticket>;
    type Meters = Option<O::Meters>;

    fn meters(&self, target: Named<'_>, text: &str) -> Self::Meters {
        self.as_ref().map(|observer| observer.meters(target, text))
    }

    fn begin(&self, exchange: Exchange<'_>, meters: Option<&Self::Meters>) -> Self::Ticket {
        let meters = meters.and_then(Option::as_ref);
        self.as_ref().map(|observer| observer.begin(exchange, meters))
    }

    fn error_code(&self, code: &str) {
        if let Some(observer) = self {
            observer.error_code(code);
        }
    }
}

impl Ticket for () {
    fn is_silent(&self) -> bool {
        true
    }

    fn end(self, _: End<'_>, _: u64) {}
}

impl<T: Ticket> Ticket for Option<T> {
    fn is_silent(&self) -> bool {
        self.as_ref().is_none_or(Ticket::is_silent)
    }

    fn turned_away(&mut self, at: Gate) {
        if let Some(ticket) = self {
            ticket.turned_away(at);
        }
    }

    fn found(&mut self, call: Rpc<'_>) {
        if let Some(ticket) = self {
            ticket.found(call);
        }
    }

    fn trace(&mut self, traced: Traced<'_>) -> Option<TraceContext> {
        self.as_mut().and_then(|ticket| ticket.trace(traced))
    }

    fn recorded(&mut self, span: &TraceContext) {
        if let Some(ticket) = self {
            ticket.recorded(span);
        }
    }

    fn invokes(&mut self, target: &str, method: &MethodPath) {
        if let Some(ticket) = self {
            ticket.invokes(target, method);
        }
    }

    fn trail(&self) -> Option<Arc<Trail>> {
        self.as_ref()?.trail()
    }

    fn taken(&mut self) {
        if let Some(ticket) = self {
            ticket.taken();
        }
    }

    fn reason(&mut self, status: &HeaderMap) {
        if let Some(ticket) = self {
            ticket.reason(status);
        }
    }

    fn failed(&mut self, error: &InvokeError) {
        if let Some(ticket) = self {
            ticket.failed(error);
        }
    }

    fn status(&mut self, status: i32) {
        if let Some(ticket) = self {
            ticket.status(status);
        }
    }

    fn end(self, end: End<'_>, bytes: u64) {
        if let Some(ticket) = self {
            ticket.end(end, bytes);
        }
    }
}

impl<A: Observe, B: Observe> Observe for (A, B) {
    type Ticket = (A::Ticket, B::Ticket);
    type Meters = (A::Meters, B::Meters);

    fn meters(&self, target: Named<'_>, text: &str) -> Self::Meters {
        (self.0.meters(target, text), self.1.meters(target, text))
    }

    fn begin(&self, exchange: Exchange<'_>, meters: Option<&Self::Meters>) -> Self::Ticket {
        (
            self.0.begin(exchange, meters.map(|(first, _)| first)),
            self.1.begin(exchange, meters.map(|(_, second)| second)),
        )
    }

    fn error_code(&self, code: &str) {
        self.0.error_code(code);
        self.1.error_code(code);
    }
}

impl<A: Ticket, B: Ticket> Ticket for (A, B) {
    fn is_silent(&self) -> bool {
        self.0.is_silent() && self.1.is_silent()
    }

    fn turned_away(&mut self, at: Gate) {
        self.0.turned_away(at);
        self.1.turned_away(at);
    }

    fn found(&mut self, call: Rpc<'_>) {
        self.0.found(call);
        self.1.found(call);
    }

    fn trace(&mut self, traced: Traced<'_>) -> Option<TraceContext> {
        let (first, second) = (self.0.trace(traced), self.1.trace(traced));
        first.or(second)
    }

    fn recorded(&mut self, span: &TraceContext) {
        self.0.recorded(span);
        self.1.recorded(span);
    }

    fn invokes(&mut self, target: &str, method: &MethodPath) {
        self.0.invokes(target, method);
        self.1.invokes(target, method);
    }

    fn trail(&self) -> Option<Arc<Trail>> {
        self.0.trail().or_else(|| self.1.trail())
    }

    fn taken(&mut self) {
        self.0.taken();
        self.1.taken();
    }

    fn reason(&mut self, status: &HeaderMap) {
        self.0.reason(status);
        self.1.reason(status);
    }

    fn failed(&mut self, error: &InvokeError) {
        self.0.failed(error);
        self.1.failed(error);
    }

    fn status(&mut self, status: i32) {
        self.0.status(status);
        self.1.status(status);
    }

    fn end(self, end: End<'_>, bytes: u64) {
        self.0.end(end, bytes);
        self.1.end(end, bytes);
    }
}

/// A ticket whose exchange is open. When it is dropped, the exchange ends there.
#[derive(Debug)]
pub struct OpenExchange<T: Ticket>(Option<T>);

impl<T: Ticket> OpenExchange<T> {
    /// The exchange has begun.
    pub fn new(ticket: T) -> Self {
        Self(Some(ticket))
    }

    /// Whether nobody listens.
    pub fn is_silent(&self) -> bool {
        self.0.as_ref().is_none_or(Ticket::is_silent)
    }

    /// See [`Ticket::turned_away`].
    pub fn turned_away(&mut self, at: Gate) {
        if let Some(ticket) = &mut self.0 {
            ticket.turned_away(at);
        }
    }

    /// See [`Ticket::found`].
    pub fn found(&mut self, call: Rpc<'_>) {
        if let Some(ticket) = &mut self.0 {
            ticket.found(call);
        }
    }

    /// See [`Ticket::trace`]. If the trace is recorded, everybody is told by [`Ticket::recorded`]: who makes the span is
    /// one of several who watch the call.
    pub fn trace(&mut self, traced: Traced<'_>) -> Option<TraceContext> {
        let ticket = self.0.as_mut()?;
        let emitted = ticket.trace(traced);
        if let Some(span) = emitted.or(traced.parent).filter(TraceContext::is_recorded) {
            ticket.recorded(&span);
        }
        emitted
    }

    /// See [`Ticket::invokes`].
    pub fn invokes(&mut self, target: &str, method: &MethodPath) {
        if let Some(ticket) = &mut self.0 {
            ticket.invokes(target, method);
        }
    }

    /// See [`Ticket::trail`].
    pub fn trail(&self) -> Option<Arc<Trail>> {
        self.0.as_ref()?.trail()
    }

    /// See [`Ticket::reason`].
    pub fn reason(&mut self, status: &HeaderMap) {
        if let Some(ticket) = &mut self.0 {
            ticket.reason(status);
        }
    }

    /// See [`Ticket::taken`].
    pub fn taken(&mut self) {
        if let Some(ticket) = &mut self.0 {
            ticket.taken();
        }
    }

    /// See [`Ticket::failed`].
    pub fn failed(&mut self, error: &InvokeError) {
        if let Some(ticket) = &mut self.0 {
            ticket.failed(error);
        }
    }

    /// See [`Ticket::status`].
    pub fn status(&mut self, status: i32) {
        if let Some(ticket) = &mut self.0 {
            ticket.status(status);
        }
    }

    /// The exchange is over.
    pub fn end(mut self, end: End<'_>, bytes: u64) {
        if let Some(ticket) = self.0.take() {
            ticket.end(end, bytes);
        }
    }

    /// The exchange lasts as long as the body of its answer. A body that is at hand is as good as handed on: to follow
    /// it would be to allocate.
    #[must_use]
    pub fn follow(self, body: Body) -> Body {
        if self.is_silent() {
            return body;
        }
        if let Some(data) = body.as_full() {
            self.end(End::Whole, data.len() as u64);
            return body;
        }
        body.on_end(move |end, bytes| self.end(end, bytes))
    }

    /// What came of an invocation, which lasts as long as the body of its answer.
    pub(crate) fn replied(mut self, reply: Result<Reply, InvokeError>) -> Result<Reply, InvokeError> {
        match reply {
            Ok(mut reply) => {
                self.taken();
                self.status(reply.status.code);
                reply.body = self.follow(reply.body);
                Ok(reply)
            }
            Err(error) => {
                self.failed(&error);
                Err(error)
            }
        }
    }

    /// What came of a proxied call, whose status comes at the end of its answer.
    pub(crate) fn relayed(
        mut self,
        answer: Result<Response<Body>, InvokeError>,
    ) -> Result<Response<Body>, InvokeError> {
        match answer {
            Ok(answer) => {
                self.taken();
                if self.is_silent() {
                    return Ok(answer);
                }
                Ok(relayed::follow(self, answer))
            }
            Err(error) => {
                self.failed(&error);
                Err(error)
            }
        }
    }
}

impl<T: Ticket> Drop for OpenExchange<T> {
    fn drop(&mut self) {
        if let Some(ticket) = self.0.take() {
            ticket.end(End::Dropped, 0);
        }
    }
}
