//! The server's end of a connection.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Duration, Sleep, sleep};

use crate::BoxError;
use crate::body::RecvBody;
use crate::config::Config;
use crate::driver::Driver;
use crate::error::{Error, Side};
use crate::handle::StreamRef;
use crate::pump::Pump;
use crate::state::{Lingering, Role, Shared, State};

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
    /// The same for a connection that began as HTTP/1.1, after the answer that switched protocols: `request` is the one
    /// that asked for it, without its body, and becomes the first call. `settings` is what stood in its
    /// `HTTP2-Settings`, decoded (RFC 7540, section 3.2).
    ///
    /// Fails if these settings are none.
    pub fn upgraded(mut self, settings: &[u8], request: Request<()>) -> Result<Self, Error> {
        let key = self.shared.lock().begin_upgraded(settings);
        let key = key.map_err(|reason| Error::GoAway { reason, by: Side::Us })?;
        self.driver.begin_with(key, request);
        Ok(self)
    }

    /// Whether there were no calls when the connection was polled last.
    pub fn is_idle(&self) -> bool {
        self.driver.is_idle()
    }

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
                is_head: head.method() == Method::HEAD,
                answer: Answer::Awaited(Box::into_pin(Box::write(
                    Box::new_uninit(),
                    service(head.map(|()| body)),
                ))),
                stream: Some(stream),
            });
        })
    }
}

/// One call: what the service does, then the sending of the answer.
struct Answering<F, B> {
    answer: Answer<F, B>,
    is_head: bool,
    stream: Option<StreamRef>,
}

enum Answer<F, B> {
    /// In a box from the start: the runtime moves a task several times before it runs, and writes over all of its
    /// room when it has. The room is there before the future is: compilers then make it in its place, while
    /// `Box::pin` copies all of it, although hardly any of it has been written.
    Awaited(Pin<Box<F>>),
    Sent(Pump<B>),
    Done(Rest),
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
        loop {
            let next = match &mut this.answer {
                Answer::Awaited(future) => match future.as_mut().poll(cx) {
                    Poll::Ready(response) => this.begin(response),
                    Poll::Pending => return this.poll_given_up(cx),
                },
                Answer::Sent(pump) => match ready!(pump.poll(cx)) {
                    Ok(()) => Rest::of(pump.stream()).map(Answer::Done),
                    Err(_) => None,
                },
                Answer::Done(rest) => return rest.poll(cx),
            };
            match next {
                Some(next) => this.answer = next,
                None => return Poll::Ready(()),
            }
        }
    }
}

impl<F, B> Answering<F, B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    /// Sends the head. What is left to do comes back.
    fn begin(&mut self, response: Response<B>) -> Option<Answer<F, B>> {
        let stream = self.stream.take()?;
        let (parts, body) = response.into_parts();
        let head = Response::from_parts(parts, ());
        let is_end = self.is_head || has_no_content(head.status()) || body.is_end_stream();
        stream.quietly(|state, key| state.send_response(key, &head, is_end));
        if !is_end {
            return Some(Answer::Sent(Pump::new(body, stream)));
        }
        let rest = Rest::of(&stream);
        stream.wake();
        rest.map(Answer::Done)
    }

    /// Ready when the client gave the call up.
    fn poll_given_up(&self, cx: &Context<'_>) -> Poll<()> {
        let Some(stream) = &self.stream else {
            return Poll::Ready(());
        };
        match stream.quietly(|state, key| state.poll_capacity(key, cx)) {
            Poll::Ready(Err(_)) => Poll::Ready(()),
            _ => Poll::Pending,
        }
    }
}

/// Whether answers with a status have no content, whatever their method (RFC 9110, sections 15.3.5 and 15.4.5).
fn has_no_content(status: StatusCode) -> bool {
    matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// What is left of a request that was answered before it ended.
struct Rest {
    stream: StreamRef,
    /// How long nobody has read it.
    limit: Option<Pin<Box<Sleep>>>,
}

impl Rest {
    /// None if there is nothing to wait for.
    fn of(stream: &StreamRef) -> Option<Self> {
        let lingers = stream.quietly(State::begin_lingering);
        lingers.then(|| Self {
            stream: stream.clone(),
            limit: None,
        })
    }

    /// Ready when the request is to be let go, whether it has ended or not.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.stream.with(|state, key| state.lingers(key, cx)) {
            Lingering::Over => Poll::Ready(()),
            Lingering::Read => Poll::Pending,
            Lingering::Unread => {
                let stream = &self.stream;
                let limit = self.limit.get_or_insert_with(|| {
                    let linger = stream.quietly(|state, _| state.config.linger);
                    Box::pin(sleep(linger.map_or(Duration::ZERO, |linger| linger.time)))
                });
                limit.as_mut().poll(cx)
            }
        }
    }
}
