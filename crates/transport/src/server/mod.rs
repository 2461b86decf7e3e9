//! Servers: one handler on one listener, with limits and a drain.

mod body;
mod ended;
mod framing;
mod grpc;
mod handshake;
mod http;
mod http1;
mod preface;
mod reason;
mod rewound;
mod upgrade;
mod vetting;

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;

use ::http::{Request, Response};
use bytes::Bytes;
use lifecycle::Shutdown;

pub use body::RequestBody;
pub use grpc::{GrpcServerConfig, serve_grpc};
#[cfg(feature = "fuzz")]
pub use http::serve_one;
pub use http::{H2Config, HttpServerConfig, serve_http};

use crate::BoxError;

/// What a server calls with every request.
///
/// The answer is never an error: to break a stream a handler returns a body that fails. When the client goes
/// away the future is dropped.
pub trait Handler: Clone + Send + Sync + 'static {
    /// The body of the answers.
    type Body: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static;

    /// Answers one request.
    fn call(&self, request: Request<RequestBody>) -> impl Future<Output = Response<Self::Body>> + Send;
}

/// A connection that can be told to finish.
trait Drain: Future<Output = Result<(), Self::Error>> {
    type Error: std::fmt::Display + Send;

    fn drain(self: std::pin::Pin<&mut Self>);
}

/// Drives a connection to its end: told to finish at the drain, dropped when waiting is over.
async fn drive<C: Drain>(connection: C, shutdown: Shutdown) {
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = shutdown.draining() => None,
    };
    let ended = if let Some(ended) = ended {
        ended
    } else {
        connection.as_mut().drain();
        tokio::select! {
            ended = connection.as_mut() => ended,
            () = shutdown.forced() => return,
        }
    };
    if let Err(error) = ended {
        tracing::trace!(target: "dapr.runtime", "connection ended: {error}");
    }
}

/// The future of an infallible hyper service.
type Answer<B> = Result<Response<B>, Infallible>;

#[cfg(test)]
mod tests;
