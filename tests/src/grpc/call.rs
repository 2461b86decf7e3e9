//! One call that an app takes in.

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response};
use tokio::sync::mpsc;

use super::app::Control;
use super::{Message, Reader, framed, put, send_all};

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// In good order.
    HalfClosed,
    /// By a reset with this code.
    Reset(u32),
    /// With its connection.
    Gone,
}

/// A call as the app sees it. Dropping it without a status resets its stream.
#[derive(Debug)]
pub struct GrpcCall {
    /// Path and headers.
    pub head: Parts,
    reader: Reader,
    end: Option<End>,
    answer: SendResponse<Bytes>,
    sending: Option<SendStream<Bytes>>,
    control: mpsc::UnboundedSender<Control>,
}

impl GrpcCall {
    pub(super) fn new(
        request: http::Request<h2::RecvStream>,
        answer: SendResponse<Bytes>,
        control: mpsc::UnboundedSender<Control>,
    ) -> Self {
        let (head, body) = request.into_parts();
        Self {
            head,
            reader: Reader::new(body),
            end: None,
            answer,
            sending: None,
            control,
        }
    }

    /// The path.
    pub fn path(&self) -> &str {
        self.head.uri.path()
    }

    /// A header as text, empty when there is none.
    pub fn header(&self, name: &str) -> &str {
        let value = self.head.headers.get(name);
        value.and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The next message; `None` at the end of the request, however it came.
    pub async fn message(&mut self) -> Option<Message> {
        if self.end.is_some() {
            return None;
        }
        match self.reader.next().await {
            Ok(Some(message)) => return Some(message),
            Ok(None) => self.end = Some(End::HalfClosed),
            Err(error) => {
                let reason = error.reason().filter(|_| error.is_reset());
                self.end = Some(reason.map_or(End::Gone, |reason| End::Reset(reason.into())));
            }
        }
        None
    }

    /// All messages to the end of the request, and how it ended.
    pub async fn messages(&mut self) -> (Vec<Message>, End) {
        let mut messages = Vec::new();
        while let Some(message) = self.message().await {
            messages.push(message);
        }
        (messages, self.end.unwrap_or(End::Gone))
    }

    /// Waits until the caller breaks the call off; the code of the reset.
    pub async fn cancelled(&mut self) -> End {
        let reset = match &mut self.sending {
            Some(sending) => std::future::poll_fn(|cx| sending.poll_reset(cx)).await,
            None => std::future::poll_fn(|cx| self.answer.poll_reset(cx)).await,
        };
        reset.map_or(End::Gone, |reason| End::Reset(reason.into()))
    }

    /// Sends the head of the answer.
    pub fn begin(&mut self, metadata: &[(&str, &str)]) {
        let mut response = head();
        put(response.headers_mut(), metadata);
        self.begin_with(response);
    }

    /// The same, with a head that the test made.
    pub fn begin_with(&mut self, response: Response<()>) {
        self.sending = self.answer.send_response(response, false).ok();
    }

    /// Sends a message, after a head of its own when there was none; `false` when the stream is over.
    pub async fn send(&mut self, data: &[u8]) -> bool {
        self.send_bytes(framed(0, data)).await
    }

    /// Sends bytes that need not be a message; `false` when the stream is over.
    pub async fn send_bytes(&mut self, bytes: Bytes) -> bool {
        if self.sending.is_none() {
            self.begin(&[]);
        }
        match &mut self.sending {
            Some(sending) => send_all(sending, bytes).await.is_ok(),
            None => false,
        }
    }

    /// Ends the answer with a status in the trailers.
    pub fn finish(&mut self, code: i32, message: &str, trailers: &[(&str, &str)]) {
        if self.sending.is_none() {
            self.begin(&[]);
        }
        let trailers = status(code, message, trailers);
        if let Some(sending) = &mut self.sending {
            let _ = sending.send_trailers(trailers);
        }
    }

    /// Answers with a head that has the status.
    pub fn refuse(&mut self, code: i32, message: &str, metadata: &[(&str, &str)]) {
        let mut response = head();
        response.headers_mut().extend(status(code, message, metadata));
        let _ = self.answer.send_response(response, true);
    }

    /// Breaks the stream off.
    pub fn reset(&mut self, code: u32) {
        let reason = Reason::from(code);
        match &mut self.sending {
            Some(sending) => sending.send_reset(reason),
            None => self.answer.send_reset(reason),
        }
    }

    /// Says on the connection that no more calls are taken; those that were go on.
    pub fn go_away(&self) {
        let _ = self.control.send(Control::GoAway);
    }

    /// Cuts the connection, as an app that dies does; nothing of the call is ended before.
    pub async fn cut(&self) {
        let _ = self.control.send(Control::Cut);
        std::future::pending::<()>().await;
    }
}

fn head() -> Response<()> {
    let mut response = Response::new(());
    put(response.headers_mut(), &[("content-type", "application/grpc")]);
    response
}

/// A status; the message is written as it is when it is ASCII.
fn status(code: i32, message: &str, more: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("grpc-status", HeaderValue::from(code));
    if !message.is_empty() {
        put(&mut headers, &[("grpc-message", message)]);
    }
    put(&mut headers, more);
    headers
}
