//! One call of the client.

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason, SendStream};
use http::response::Parts;

use super::{Answer, Message, Reader, framed, send_all};
use crate::PATIENCE;

/// A call that is under way. Dropping it cancels it.
#[derive(Debug)]
pub struct GrpcStream {
    answer: Option<ResponseFuture>,
    sending: SendStream<Bytes>,
    head: Option<Parts>,
    reader: Option<Reader>,
    broken: Option<String>,
}

impl GrpcStream {
    pub(super) fn new(answer: ResponseFuture, sending: SendStream<Bytes>) -> Self {
        Self {
            answer: Some(answer),
            sending,
            head: None,
            reader: None,
            broken: None,
        }
    }

    /// Sends a message.
    ///
    /// # Panics
    /// When the stream is over.
    pub async fn send(&mut self, data: &[u8]) {
        assert!(self.try_send(data).await, "the stream is over");
    }

    /// Sends a message; `false` when the stream is over.
    pub async fn try_send(&mut self, data: &[u8]) -> bool {
        self.send_bytes(framed(0, data)).await
    }

    /// Sends bytes that need not be a message; `false` when the stream is over.
    pub async fn send_bytes(&mut self, bytes: Bytes) -> bool {
        send_all(&mut self.sending, bytes).await.is_ok()
    }

    /// Says that no more comes.
    pub fn finish(&mut self) {
        let _ = self.sending.send_data(Bytes::new(), true);
    }

    /// Breaks the stream off.
    pub fn reset(&mut self, reason: Reason) {
        self.sending.send_reset(reason);
    }

    /// Waits for the head of the answer; `None` when the stream broke before.
    ///
    /// # Panics
    /// When it takes too long.
    pub async fn head(&mut self) -> Option<&Parts> {
        if let Some(answer) = self.answer.take() {
            match tokio::time::timeout(PATIENCE, answer)
                .await
                .expect("a head in time")
            {
                Ok(response) => {
                    let (parts, body) = response.into_parts();
                    self.head = Some(parts);
                    self.reader = Some(Reader::new(body));
                }
                Err(error) => self.broken = Some(shown(&error)),
            }
        }
        self.head.as_ref()
    }

    /// Waits for the next message; `None` at the end, however it came.
    ///
    /// # Panics
    /// When it takes too long.
    pub async fn message(&mut self) -> Option<Message> {
        self.head().await;
        let reader = self.reader.as_mut()?;
        let next = tokio::time::timeout(PATIENCE, reader.next()).await;
        match next.expect("a message in time") {
            Ok(message) => message,
            Err(error) => {
                self.broken = Some(shown(&error));
                None
            }
        }
    }

    /// Reads the rest of the answer.
    ///
    /// # Panics
    /// When it takes too long.
    pub async fn answer(mut self) -> Answer {
        let mut messages = Vec::new();
        while let Some(message) = self.message().await {
            messages.push(message);
        }
        let mut answer = Answer {
            messages,
            ..Answer::default()
        };
        if let Some(mut reader) = self.reader.take()
            && self.broken.is_none()
        {
            match reader.stream.trailers().await {
                Ok(trailers) => answer.trailers = trailers,
                Err(error) => self.broken = Some(shown(&error)),
            }
        }
        if let Some(head) = self.head.take() {
            answer.http = head.status;
            answer.head = head.headers;
        }
        answer.broken = self.broken.take();
        answer
    }
}

fn shown(error: &h2::Error) -> String {
    match error.reason() {
        Some(reason) if error.is_reset() => format!("reset {}", u32::from(reason)),
        Some(reason) if error.is_go_away() => format!("went away {}", u32::from(reason)),
        _ => error.to_string(),
    }
}
