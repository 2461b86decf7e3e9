//! Servers: one handler on one listener, with limits and a drain.

mod body;
mod date;
mod ended;
mod framing;
mod grpc;
mod h2c;
mod handshake;
mod http;
mod http1;
mod preface;
mod reason;
mod rewound;
mod scan;
mod unread;
mod upgrade;
mod vetting;
mod watch;

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::task::Poll;

use ::http::{HeaderMap, Request, Response};
use bytes::Bytes;
use http2::RecvBody;
use http2::server::Connection;
use lifecycle::Shutdown;
use tokio::io::{AsyncRead, AsyncWrite};

pub use body::RequestBody;
pub use grpc::{GrpcServerConfig, serve_grpc};
pub use h2c::H2Config;
#[cfg(feature = "fuzz")]
pub use http::serve_one;
pub use http::{HttpServerConfig, serve_http};
pub use http2::{Budget, RawQuery};
pub use unread::Http1Body;

use crate::BoxError;
use crate::descriptors::Member;

/// What a server calls with every request.
///
/// The answer is never an error: to break a stream a handler returns a body that fails. When the client goes
/// away the future is dropped.
pub trait Handler: Clone + Send + Sync + 'static {
    /// The body of the answers.
    type Body: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static;

    /// Whether a request that asks for HTTP/2 on its connection gets it. Else it is answered as any other, before its
    /// body is read.
    fn takes_upgrade(&self, _headers: &HeaderMap) -> bool {
        true
    }

    /// Answers one request.
    fn call(&self, request: Request<RequestBody>) -> impl Future<Output = Response<Self::Body>> + Send;

    /// The same, for a handler that wants to know who calls: the address of the client on a port that speaks HTTP,
    /// unless it came over a Unix socket.
    fn call_of(
        &self,
        request: Request<RequestBody>,
        _peer: Option<SocketAddr>,
    ) -> impl Future<Output = Response<Self::Body>> + Send {
        self.call(request)
    }
}

/// Drives a connection of HTTP/2 to its end: told to finish at the drain, when `withdrawn` is ready, or when its
/// descriptor is wanted and it has no call; dropped when waiting is over.
async fn drive<IO, S, F, B>(
    connection: Connection<IO, S>,
    mut member: Member,
    shutdown: Shutdown,
    withdrawn: impl Future<Output = ()>,
) where
    IO: AsyncRead + AsyncWrite + Unpin,
    S: Fn(Request<RecvBody>) -> F,
    F: Future<Output = Response<B>> + Send + 'static,
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    let mut connection = pin!(connection);
    let served = poll_fn(|cx| {
        if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
            return Poll::Ready(Some(ended));
        }
        member.set_idle(connection.is_idle());
        member.poll_unwanted(cx).map(|()| None)
    });
    let ended = tokio::select! {
        ended = served => ended,
        () = shutdown.draining() => None,
        () = withdrawn => None,
    };
    let ended = if let Some(ended) = ended {
        ended
    } else {
        connection.leave();
        tokio::select! {
            ended = connection => ended,
            () = shutdown.forced() => return,
        }
    };
    if let Err(error) = ended {
        tracing::trace!("connection ended: {error}");
    }
}

/// The future of an infallible hyper service.
type Answer<B> = Result<Response<B>, Infallible>;

#[cfg(test)]
mod tests;
