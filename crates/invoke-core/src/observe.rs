//! Seeing calls from inside: logs, metrics, spans and live views are observers.
//!
//! An observer is told when an exchange begins, and gives a [`Ticket`] that hears of its head and of its end. What it is
//! told is borrowed: nothing is made for an observer that does not want it. `()` is the observer that is not there, a
//! pair of observers is one observer, and a ticket that is `None` stands for an exchange that is of no interest.

use http::{HeaderValue, Method};

use crate::attempts::Named;
use crate::balance::Endpoint;
use crate::body::{Body, End};
use crate::id::AppRef;
use crate::inbound::Caller;
use crate::invocation::{Head, Origin};
use crate::proxied::ProxiedHead;

/// Told of every exchange, where it happens.
pub trait Observe: Send + Sync + 'static {
    /// Follows one exchange.
    type Ticket: Ticket;
    /// What it keeps for each target: handles of metrics, so that they are not looked up for each call.
    type Meters: Send + Sync + 'static;

    /// What it keeps for a target that was found.
    fn meters(&self, target: Named<'_>) -> Self::Meters;

    /// An exchange begins. Those with another app have what is kept for it.
    fn begin(&self, exchange: Exchange<'_>, meters: Option<&Self::Meters>) -> Self::Ticket;

    /// An answer of the HTTP API carries an error code of Dapr.
    fn error_code(&self, code: &'static str) {
        let _ = code;
    }
}

/// Follows one exchange. It hears its end in any case, also when its caller goes away.
pub trait Ticket: Send + 'static {
    /// Whether nobody listens.
    fn is_silent(&self) -> bool {
        false
    }

    /// A door turned the caller away before it looked at what it wants (a wrong token, a preflight).
    fn turned_away(&mut self) {}

    /// The status of the answer: of HTTP from 100 on, of gRPC below. That of a proxied call comes at its end.
    fn status(&mut self, status: i32) {
        let _ = status;
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
    /// An attempt of a call towards another sidecar.
    Attempt {
        /// The app.
        app: &'a AppRef,
        /// Which of its sidecars.
        endpoint: &'a Endpoint,
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

/// A request at an API.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Which API.
    pub api: Origin,
    /// The HTTP method.
    pub method: &'a Method,
    /// The path as it came, without the query.
    pub path: &'a str,
    /// What the caller calls itself.
    pub user_agent: Option<&'a HeaderValue>,
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

    fn meters(&self, _: Named<'_>) {}

    fn begin(&self, _: Exchange<'_>, _: Option<&()>) {}
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

    fn turned_away(&mut self) {
        if let Some(ticket) = self {
            ticket.turned_away();
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

    fn meters(&self, target: Named<'_>) -> Self::Meters {
        (self.0.meters(target), self.1.meters(target))
    }

    fn begin(&self, exchange: Exchange<'_>, meters: Option<&Self::Meters>) -> Self::Ticket {
        (
            self.0.begin(exchange, meters.map(|(first, _)| first)),
            self.1.begin(exchange, meters.map(|(_, second)| second)),
        )
    }

    fn error_code(&self, code: &'static str) {
        self.0.error_code(code);
        self.1.error_code(code);
    }
}

impl<A: Ticket, B: Ticket> Ticket for (A, B) {
    fn is_silent(&self) -> bool {
        self.0.is_silent() && self.1.is_silent()
    }

    fn turned_away(&mut self) {
        self.0.turned_away();
        self.1.turned_away();
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
    pub fn turned_away(&mut self) {
        if let Some(ticket) = &mut self.0 {
            ticket.turned_away();
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

    /// The exchange lasts as long as the body of its answer.
    #[must_use]
    pub fn follow(self, body: Body) -> Body {
        if self.is_silent() {
            return body;
        }
        body.on_end(move |end, bytes| self.end(end, bytes))
    }
}

impl<T: Ticket> Drop for OpenExchange<T> {
    fn drop(&mut self) {
        if let Some(ticket) = self.0.take() {
            ticket.end(End::Dropped, 0);
        }
    }
}
