//! The server's end of a connection.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::BoxError;
use crate::body::RecvBody;
use crate::config::Config;
use crate::driver::Driver;
use crate::error::Error;
use crate::handle::StreamRef;
use crate::pump::Pump;
use crate::state::{Role, Shared};

/// Serves a connection: `service` is called with every request, and what it returns runs as a task of its own, which
/// is dropped when the client gives the call up or the connection ends.
///
/// Needs a Tokio runtime.
pub fn serve<IO, S>(io: IO, config: Config, service: S) -> Connection<IO, S>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let shared = Shared::new(Role::Server, config);
    Connection {
        driver: Driver::new(io, Arc::clone(&shared)),
        shared,
        service,
    }
}

/// A connection that is served. It ends with the client, or after [`Connection::leave`] with the last call.
#[derive(Debug)]
pub struct Connection<IO, S> {
    driver: Driver<IO>,
    shared: Arc<Shared>,
    service: S,
}

// The service is only called, never pinned.
impl<IO: Unpin, S> Unpin for Connection<IO, S> {}

impl<IO, S> Connection<IO, S> {
    /// Takes no more calls: the client is told, those that are there or on their way are answered, and then the
    /// connection ends.
    pub fn leave(&self) {
        self.shared.with(crate::state::State::leave);
    }
}

#[cfg(test)]
impl<IO, S> Connection<IO, S> {
    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }
}

impl<IO, S, F, B> Future for Connection<IO, S>
where
    IO: AsyncRead + AsyncWrite + Unpin,
    S: Fn(Request<RecvBody>) -> F,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let (shared, service) = (&this.shared, &this.service);
        this.driver.poll(cx, |key, head| {
            let stream = StreamRef::new(Arc::clone(shared), key);
            let body = RecvBody::new(stream.clone());
            tokio::spawn(Answering {
                answer: Answer::Awaited(Box::pin(service(head.map(|()| body)))),
                stream: Some(stream),
            });
        })
    }
}

/// One call: what the service does, then the sending of the answer.
struct Answering<F, B> {
    answer: Answer<F, B>,
    stream: Option<StreamRef>,
}

enum Answer<F, B> {
    /// In a box from the start: the runtime moves a task several times before it runs, and writes over all of its
    /// room when it has.
    Awaited(Pin<Box<F>>),
    Sent(Pump<B>),
}

// The body is never pinned in place.
impl<F, B> Unpin for Answering<F, B> {}

impl<F, B> Future for Answering<F, B>
where
    F: Future<Output = Response<B>>,
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let response = match &mut this.answer {
            Answer::Sent(pump) => return pump.poll(cx).map(drop),
            Answer::Awaited(future) => future.as_mut().poll(cx),
        };
        let Poll::Ready(response) = response else {
            return match &this.stream {
                None => Poll::Ready(()),
                // Only an error matters: the client gave the call up.
                Some(stream) => match stream.quietly(|state, key| state.poll_capacity(key, cx)) {
                    Poll::Ready(Err(_)) => Poll::Ready(()),
                    _ => Poll::Pending,
                },
            };
        };
        let Some(stream) = this.stream.take() else {
            return Poll::Ready(());
        };
        let (parts, body) = response.into_parts();
        let head = Response::from_parts(parts, ());
        let is_end = body.is_end_stream();
        stream.quietly(|state, key| state.send_response(key, &head, is_end));
        if is_end {
            stream.wake();
            return Poll::Ready(());
        }
        let mut pump = Pump::new(body, stream);
        let polled = pump.poll(cx).map(drop);
        this.answer = Answer::Sent(pump);
        polled
    }
}
