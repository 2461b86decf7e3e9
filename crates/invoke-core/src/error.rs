//! Why an invocation failed, along three axes: whose fault it is, whether the call was seen, and what Dapr
//! calls it.
//!
//! Moving an attempt to another endpoint asks only whether the call was seen; a retry policy asks whose fault
//! it is and for the status; the doors print the cause.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use thiserror::Error;

use crate::body::{BodyError, BoxError};
use crate::id::TargetError;
use crate::method::{MethodError, MethodPath};
use crate::verb::Verb;

/// Whose fault a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The caller asked for something that cannot be.
    Caller,
    /// This sidecar or its configuration.
    Us,
    /// The other sidecar, or the way to it.
    Peer,
    /// The app, or the way to it.
    App,
}

/// Whether the other side may have begun to act on the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Delivery {
    /// Certainly not: it may be sent elsewhere without harm.
    No,
    /// Nobody can tell.
    Maybe,
    /// It has.
    Yes,
}

/// A detail of a gRPC status: a packed protobuf message that is passed on unread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusDetail {
    /// The type URL.
    pub type_url: String,
    /// The packed message.
    pub value: Bytes,
}

/// A gRPC status other than OK; printed as Go prints it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RpcStatus {
    /// The code, also beyond the sixteen that gRPC defines.
    pub code: i32,
    /// The message.
    pub message: String,
    /// The details.
    pub details: Vec<StatusDetail>,
}

/// gRPC status codes, by their names in the gRPC documentation.
pub mod code {
    /// Not an error.
    pub const OK: i32 = 0;
    /// The call was cancelled, typically by the caller.
    pub const CANCELLED: i32 = 1;
    /// Unknown error.
    pub const UNKNOWN: i32 = 2;
    /// The caller gave an invalid argument.
    pub const INVALID_ARGUMENT: i32 = 3;
    /// The deadline passed.
    pub const DEADLINE_EXCEEDED: i32 = 4;
    /// The caller may not do this.
    pub const PERMISSION_DENIED: i32 = 7;
    /// Some limit was reached.
    pub const RESOURCE_EXHAUSTED: i32 = 8;
    /// The call is not possible as things are.
    pub const FAILED_PRECONDITION: i32 = 9;
    /// The method is not there.
    pub const UNIMPLEMENTED: i32 = 12;
    /// Internal error.
    pub const INTERNAL: i32 = 13;
    /// The service cannot be reached at the moment.
    pub const UNAVAILABLE: i32 = 14;
    /// The caller did not prove who it is.
    pub const UNAUTHENTICATED: i32 = 16;
}

impl RpcStatus {
    /// A status without details.
    pub fn new(code: i32, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            details: Vec::new(),
        }
    }
}

impl fmt::Display for RpcStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "rpc error: code = {} desc = {}",
            CodeName(self.code),
            self.message
        )
    }
}

impl std::error::Error for RpcStatus {}

/// The name that Go gives a gRPC status code, `Code(20)` where it has none.
#[derive(Clone, Copy, Debug)]
pub struct CodeName(pub i32);

impl fmt::Display for CodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 17] = [
            "OK",
            "Canceled",
            "Unknown",
            "InvalidArgument",
            "DeadlineExceeded",
            "NotFound",
            "AlreadyExists",
            "PermissionDenied",
            "ResourceExhausted",
            "FailedPrecondition",
            "Aborted",
            "OutOfRange",
            "Unimplemented",
            "Internal",
            "Unavailable",
            "DataLoss",
            "Unauthenticated",
        ];
        match usize::try_from(self.0).ok().and_then(|code| NAMES.get(code)) {
            Some(name) => f.write_str(name),
            // Go prints the code as an unsigned number.
            None => write!(f, "Code({})", self.0 as u32),
        }
    }
}

/// The error of a resolver, shared by all who waited for the same answer.
#[derive(Clone, Debug, Error)]
#[error("{0}")]
pub struct ResolveError(Arc<str>);

impl ResolveError {
    /// Wraps the resolver's text, which callers see as it is.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }
}

/// Why access control denies a call, printed as Dapr prints it.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Denied {
    /// The policy says so.
    #[error("access control policy has denied access to id: {id} operation: {operation} verb: {verb}")]
    Policy {
        /// The SPIFFE id of the caller, empty when it has none.
        id: Box<str>,
        /// The normalised method.
        operation: MethodPath,
        /// The verb; [`Verb::NONE`] where verbs mean nothing.
        verb: Verb,
    },
    /// The caller has an identity, but not of the form that Dapr gives.
    #[error("malformed SPIFFE ID: {0}")]
    Malformed(Box<str>),
}

/// What happened, printed as Dapr prints it after `err: `.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Cause {
    /// The target names nothing.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The method path is refused.
    #[error("rpc error: code = InvalidArgument desc = invalid method: {0}")]
    Method(#[from] MethodError),
    /// No name resolver could be set up.
    #[error("name resolver not initialized")]
    NoResolver,
    /// The resolver does not know the app, or could not find out.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// The app calls itself, but this sidecar has no app port.
    #[error("cannot invoke local endpoint: app channel not initialized")]
    NoLocalApp,
    /// Another sidecar calls, but this one has no app port.
    #[error("app channel is not initialized")]
    NoApp,
    /// The access control policy denies the call.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The other sidecar, or gRPC on the way to it, answered with a status.
    #[error(transparent)]
    Rpc(#[from] RpcStatus),
    /// The other sidecar could not be reached although it was tried again.
    #[error("failed to invoke target {app} after {retries} retries. Error: {last}")]
    Exhausted {
        /// The id of the target app, without its namespace.
        app: String,
        /// How many attempts followed the first.
        retries: u32,
        /// The failure of the last attempt.
        #[source]
        last: Box<Cause>,
    },
    /// The other sidecar knows only unary calls, and the body cannot be sent again.
    #[error(
        "target app '{0}' is running a version of Dapr that does not support streaming-based service invocation"
    )]
    OldPeer(String),
    /// A gRPC caller gave no verb for an HTTP app.
    #[error("rpc error: code = InvalidArgument desc = missing HTTP extension field")]
    MissingVerb,
    /// The verb cannot be sent to an HTTP app.
    #[error("rpc error: code = InvalidArgument desc = invalid HTTP verb")]
    InvalidVerb,
    /// The health checks found the app unhealthy.
    #[error("rpc error: code = Internal desc = app is not in a healthy state")]
    Unhealthy,
    /// The way to the app failed; the text is what Go's HTTP client prints.
    #[error("{text}")]
    App {
        /// What callers see.
        text: String,
        /// The transport's own error.
        #[source]
        source: Option<BoxError>,
    },
    /// A circuit breaker lets no call through.
    #[error("circuit breaker is open")]
    BreakerOpen,
    /// A circuit breaker lets a few calls through, and this one is beyond them.
    #[error("too many requests")]
    BreakerFull,
    /// A proxied call that may be tried again had more than one message.
    #[error("cannot use resiliency policies with retries on streaming RPCs")]
    NotUnary,
    /// The caller asked for events, but the app answered with something else.
    #[error("no response received from stream")]
    NoEventStream,
    /// The body of the call broke, or is too large.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// The caller went away.
    #[error("context canceled")]
    Cancelled,
    /// The caller's deadline passed.
    #[error("context deadline exceeded")]
    DeadlineExceeded,
}

/// A failed invocation. `Display` gives the text that Dapr puts after `err: `.
#[derive(Debug, Error)]
#[error("{cause}")]
pub struct InvokeError {
    /// Whose fault it is.
    pub fault: Fault,
    /// Whether the other side may have begun to act on the call.
    pub seen: Delivery,
    /// Whether the other side is there and only has enough to do: no reason to take it for dead.
    pub is_refusal: bool,
    /// What happened.
    #[source]
    pub cause: Cause,
}

impl InvokeError {
    /// A failure before anything left this sidecar.
    pub fn unsent(fault: Fault, cause: impl Into<Cause>) -> Self {
        Self::new(fault, Delivery::No, cause)
    }

    /// A failure along all three axes.
    pub fn new(fault: Fault, seen: Delivery, cause: impl Into<Cause>) -> Self {
        Self {
            fault,
            seen,
            is_refusal: false,
            cause: cause.into(),
        }
    }

    /// The same from another side that is there and only has enough to do.
    #[must_use]
    pub fn refused(mut self, is_refusal: bool) -> Self {
        self.is_refusal = is_refusal;
        self
    }

    /// Whether a peer was to get the call and certainly did not: it may be sent elsewhere without harm.
    pub fn is_unseen_by_peer(&self) -> bool {
        self.seen == Delivery::No && self.fault == Fault::Peer
    }

    /// The gRPC code of the failure, if it is a gRPC status.
    pub fn rpc_code(&self) -> Option<i32> {
        match &self.cause {
            Cause::Rpc(status) => Some(status.code),
            Cause::Method(_) | Cause::MissingVerb | Cause::InvalidVerb => Some(code::INVALID_ARGUMENT),
            Cause::Unhealthy => Some(code::INTERNAL),
            Cause::Denied(_) => Some(code::PERMISSION_DENIED),
            _ => None,
        }
    }
}

impl InvokeError {
    /// What the caller of a proxied call is told: the status itself where there is one, the bare text otherwise.
    pub fn into_proxied_status(self) -> RpcStatus {
        let text = self.to_string();
        match self.cause {
            Cause::Rpc(status) => status,
            Cause::Method(method) => {
                RpcStatus::new(code::INVALID_ARGUMENT, format!("invalid method: {method}"))
            }
            Cause::Denied(_) => RpcStatus::new(code::PERMISSION_DENIED, text),
            Cause::NoApp => RpcStatus::new(code::UNAVAILABLE, text),
            Cause::DeadlineExceeded => RpcStatus::new(code::DEADLINE_EXCEEDED, text),
            Cause::Cancelled => RpcStatus::new(code::CANCELLED, text),
            Cause::NotUnary => RpcStatus::new(code::FAILED_PRECONDITION, text),
            _ => RpcStatus::new(code::UNKNOWN, text),
        }
    }
}

impl InvokeError {
    /// What another sidecar is told whose call failed here.
    pub fn received_status(&self) -> RpcStatus {
        let text = self.to_string();
        match &self.cause {
            Cause::NoApp => RpcStatus::new(code::INTERNAL, text),
            Cause::Denied(_) => RpcStatus::new(code::PERMISSION_DENIED, text),
            Cause::Method(method) => {
                RpcStatus::new(code::INVALID_ARGUMENT, format!("invalid method: {method}"))
            }
            _ => RpcStatus::new(code::INTERNAL, format!("error invoking app channel: {text}")),
        }
    }

    /// What the caller of a proxied call is told, without giving the failure away: its text.
    pub fn proxied_text(&self) -> String {
        match &self.cause {
            Cause::Rpc(status) => status.message.clone(),
            Cause::Method(method) => format!("invalid method: {method}"),
            _ => self.to_string(),
        }
    }
}

impl From<TargetError> for InvokeError {
    fn from(error: TargetError) -> Self {
        Self::unsent(Fault::Caller, error)
    }
}

impl From<MethodError> for InvokeError {
    fn from(error: MethodError) -> Self {
        Self::unsent(Fault::Caller, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        let refused = RpcStatus::new(14, "connection error");
        let cases: Vec<(Cause, &str)> = vec![
            (TargetError::Empty.into(), "app id is empty"),
            (
                crate::MethodPath::parse("a#b").unwrap_err().into(),
                "rpc error: code = InvalidArgument desc = invalid method: \
                 method contains forbidden character: \"a#b\"",
            ),
            (
                RpcStatus::new(20, "odd").into(),
                "rpc error: code = Code(20) desc = odd",
            ),
            (
                Cause::Exhausted {
                    app: "b".into(),
                    retries: 3,
                    last: Box::new(refused.into()),
                },
                "failed to invoke target b after 3 retries. \
                 Error: rpc error: code = Unavailable desc = connection error",
            ),
            (BodyError::TooLarge.into(), "stream too large"),
            (
                Denied::Policy {
                    id: "spiffe://public/ns/default/c".into(),
                    operation: MethodPath::parse("a//B").unwrap(),
                    verb: Verb::GET,
                }
                .into(),
                "access control policy has denied access to id: spiffe://public/ns/default/c operation: a/B verb: GET",
            ),
            (
                Denied::Malformed("spiffe://public/x".into()).into(),
                "malformed SPIFFE ID: spiffe://public/x",
            ),
        ];
        for (cause, wanted) in cases {
            assert_eq!(cause.to_string(), wanted);
        }
    }
}
