//! A call with one message to the server, and as many back as the server likes.

use bytes::Bytes;
use http::Uri;

use super::message::{MessageError, MessageReader};
use super::status::GrpcStatus;
use super::unary::{request, status_of_answer};
use transport::client::{CountedBody, H2Pool, PeerKey};

const INTERNAL: i32 = 13;
const UNAVAILABLE: i32 = 14;

/// A call whose answer is a stream of messages, for as long as there is something to tell.
#[derive(Clone, Debug)]
pub struct ServerStream {
    /// The address and the method, `https://host:port/package.Service/Method`.
    pub uri: Uri,
    /// The encoded message.
    pub message: Bytes,
    /// The longest message that is accepted, in bytes.
    pub max_message: usize,
}

impl ServerStream {
    /// Makes the call and waits for the head of the answer, which many servers send only together with the first message.
    /// There is no time limit: the pool notices when the server is gone.
    ///
    /// # Errors
    /// The status that the server gave, or 14 (unavailable) when the call was lost on the way.
    pub async fn open(&self, pool: &H2Pool, peer: &PeerKey) -> Result<Messages, GrpcStatus> {
        let sent = pool.send(peer, request(&self.uri, &self.message, false)).await;
        let answer = sent
            .map_err(|error| GrpcStatus::new(UNAVAILABLE, format!("error reading from server: {error}")))?;
        status_of_answer(&answer)?;
        Ok(Messages(MessageReader::new(answer.into_body(), self.max_message)))
    }
}

/// The messages of the answer. Dropping them cancels the call.
#[derive(Debug)]
pub struct Messages(MessageReader<CountedBody>);

impl Messages {
    /// The next message; `None` when the server ended the stream and all was well.
    ///
    /// # Errors
    /// The status that the server ended the stream with, or the one that says what went wrong. Nothing comes after it.
    pub async fn next(&mut self) -> Result<Option<Bytes>, GrpcStatus> {
        match self.0.next().await {
            Some(Ok((false, message))) => Ok(Some(message)),
            Some(Ok((true, _))) => Err(GrpcStatus::new(INTERNAL, "a compressed message was received")),
            Some(Err(error @ (MessageError::TooLarge { .. } | MessageError::Flag(_)))) => {
                Err(GrpcStatus::new(INTERNAL, error.to_string()))
            }
            Some(Err(error)) => Err(GrpcStatus::new(UNAVAILABLE, error.to_string())),
            None => match self.0.take_trailers().as_ref().and_then(GrpcStatus::from_headers) {
                Some(status) if status.code != 0 => Err(status),
                Some(_) => Ok(None),
                None => {
                    let text = "server closed the stream without sending trailers";
                    Err(GrpcStatus::new(INTERNAL, text))
                }
            },
        }
    }
}
