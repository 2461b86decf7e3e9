//! The client's end of a connection.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

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
use crate::pump::{Piece, Pump, poll_piece, poll_send, send_piece};
use crate::resend::ResendBuffer;
use crate::state::{Role, Shared, Ticket};
use crate::stream::Key;

/// Begins a connection. Nothing is sent before the [`Connection`] is polled; calls may be sent before the peer has
/// said anything.
pub fn connect<IO>(io: IO, config: Config) -> (Sender, Connection<IO>)
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let shared = Shared::new(Role::Client, config);
    let connection = Connection {
        driver: Driver::new(io, Arc::clone(&shared)),
    };
    (Sender::new(shared), connection)
}

/// The connection itself. It is to be polled by a task of its own, and ends when the last [`Sender`] is gone and the
/// last call is over, or when it breaks.
#[derive(Debug)]
pub struct Connection<IO> {
    driver: Driver<IO>,
}

#[cfg(test)]
impl<IO> Connection<IO> {
    pub(crate) fn shared(&self) -> Arc<Shared> {
        self.driver.shared()
    }
}

impl<IO> Future for Connection<IO>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.driver.poll(cx, |_, _| {})
    }
}

/// A request that is to be sent, and stays with the caller until it is answered.
#[derive(Debug)]
pub struct Call<B> {
    head: Request<()>,
    body: Option<B>,
    /// What was asked of the body already.
    first: Option<Piece>,
    /// The body said beforehand that it is empty.
    is_bare: bool,
    /// It went out, and may have been seen.
    is_sent: bool,
    /// Nothing is left to be sent.
    is_over: bool,
    /// What of the body went out.
    kept: ResendBuffer,
}

impl<B> Call<B> {
    /// A request. Its URI is absolute, or the connection has an [origin](Config::origin).
    pub fn new(request: Request<B>) -> Self {
        let (parts, body) = request.into_parts();
        Self {
            head: Request::from_parts(parts, ()),
            body: Some(body),
            first: None,
            is_bare: false,
            is_sent: false,
            is_over: false,
            kept: ResendBuffer::default(),
        }
    }

    /// Whether it may be sent on another connection: nothing of it went out, or the peer certainly did nothing with
    /// what did, and all of that is still here.
    pub fn is_unsent(&self) -> bool {
        !self.is_sent
    }
}

/// A call whose head went out. Dropping it cancels the call.
#[derive(Debug)]
pub struct Opened {
    stream: StreamRef,
}

impl Opened {
    /// Waits for the head of the answer; what is left of the request's body then goes on by itself. Dropping the
    /// future cancels the call. `call` is the one that was opened.
    ///
    /// Needs a Tokio runtime.
    pub async fn answer<B>(self, call: &mut Call<B>) -> Result<Response<RecvBody>, Error>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        let stream = self.stream;
        let head = poll_fn(|cx| {
            if !call.is_over
                && let Some(body) = &mut call.body
            {
                match poll_send(body, &stream, Some(&mut call.kept), cx) {
                    Poll::Ready(Err(error @ Error::Body(_))) => {
                        stream.wake();
                        return Poll::Ready(Err(error));
                    }
                    // If the stream broke, its other half tells.
                    Poll::Ready(_) => call.is_over = true,
                    Poll::Pending => {}
                }
            }
            stream.with(|state, key| state.poll_head(key, cx))
        });
        match head.await {
            Ok(head) => {
                let rest = call.body.take().filter(|_| !call.is_over);
                if let Some(rest) = rest {
                    tokio::spawn(Pump::new(rest, stream.clone()));
                }
                call.kept = ResendBuffer::default();
                Ok(head.map(|()| RecvBody::new(stream)))
            }
            Err(error) => {
                call.is_sent = !(error.is_unseen() && call.kept.is_whole());
                Err(error)
            }
        }
    }
}

/// Sends calls on a connection.
#[derive(Debug)]
pub struct Sender {
    shared: Arc<Shared>,
}

impl Sender {
    fn new(shared: Arc<Shared>) -> Self {
        shared.lock().senders += 1;
        Self { shared }
    }

    /// Whether the connection takes no more calls.
    pub fn is_closed(&self) -> bool {
        self.shared.is_closed()
    }

    /// Whether the peer has shown that it speaks HTTP/2.
    pub fn is_greeted(&self) -> bool {
        self.shared.is_greeted()
    }

    /// How many calls the peer takes at once on this connection; any number as long as it has not said so.
    pub fn max_streams(&self) -> usize {
        self.shared.max_streams()
    }

    /// Whether further calls should go to another connection, because streams that do not move are in their way here:
    /// they hold much, or have used up the window of the connection, which the peer does not give back for `patience`.
    pub fn is_clogged(&self, patience: Duration) -> bool {
        self.shared.is_clogged(patience)
    }

    /// Sends a call and waits for the head of its answer: [`Self::open`], then [`Opened::answer`].
    ///
    /// Needs a Tokio runtime.
    pub async fn send<B>(&self, call: &mut Call<B>) -> Result<Response<RecvBody>, Error>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        self.open(call).await?.answer(call).await
    }

    /// Waits until the peer takes one more call, and sends the head with what is there of the body. A call that came
    /// back [unsent](Call::is_unsent) is sent once more as far as it went out. Dropping the future leaves the call
    /// unsent.
    pub async fn open<B>(&self, call: &mut Call<B>) -> Result<Opened, Error>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: Into<BoxError>,
    {
        let mut turn = Turn {
            shared: &self.shared,
            ticket: None,
        };
        let key = poll_fn(|cx| self.poll_start(call, &mut turn.ticket, cx)).await?;
        let stream = StreamRef::new(Arc::clone(&self.shared), key);
        Ok(Opened { stream })
    }

    /// Opens a stream, and sends the head with what is there of the body.
    ///
    /// Only a body that says beforehand that it is empty ends with the head; one that turns out to be empty ends with
    /// data. The requests of gRPC must end so, and some servers wait for ever if they do not.
    fn poll_start<B>(
        &self,
        call: &mut Call<B>,
        ticket: &mut Ticket,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Key, Error>>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: Into<BoxError>,
    {
        if call.first.is_none()
            && call.kept.is_empty()
            && let Some(body) = &mut call.body
        {
            if body.is_end_stream() {
                call.is_bare = true;
            } else if let Poll::Ready(piece) = poll_piece(body, cx) {
                call.first = Some(piece?);
            }
        }
        self.shared.with(|state| {
            ready!(state.poll_open(ticket, cx))?;
            let key = state.send_request(&call.head, call.is_bare);
            (call.is_sent, call.is_over) = (true, call.is_bare);
            let again = call.kept.take();
            for piece in again.into_iter().chain(call.first.take()) {
                call.is_over |= send_piece(state, key, piece, Some(&mut call.kept));
            }
            Poll::Ready(Ok(key))
        })
    }
}

/// A place in the line of those that wait until the peer takes one more call.
struct Turn<'a> {
    shared: &'a Shared,
    ticket: Ticket,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.ticket.is_some() {
            self.shared.lock().give_up(self.ticket);
        }
    }
}

impl Clone for Sender {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.shared))
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.shared.with(|state| {
            state.senders -= 1;
            if state.is_done() {
                state.wants_turn();
            }
        });
    }
}
