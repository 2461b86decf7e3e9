//! Why a body broke.

use thiserror::Error;

/// Any error, as the transports hand them over.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The error of a body that did not come to its end.
///
/// The transport's own error stays in the chain of sources: a server answers a failed body with the reset code
/// that it finds there.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BodyError {
    /// The body is larger than `--max-body-size` allows.
    #[error("stream too large")]
    TooLarge,
    /// The connection or stream that carried the body broke.
    #[error("{0}")]
    Transport(#[source] BoxError),
    /// Its end did not come in time.
    #[error("context deadline exceeded")]
    DeadlineExceeded,
    /// The other sidecar ended the stream with an error after its first message.
    #[error("error receiving message: {0}")]
    Receive(#[source] BoxError),
    /// The messages of the other sidecar break the protocol, in Dapr's words.
    #[error("{0}")]
    Protocol(String),
    /// Another attempt of the call sends the body by now.
    #[error("another attempt sends the body")]
    Superseded,
    /// Some of the body was sent by an earlier attempt, and not kept.
    #[error("the body cannot be sent again")]
    Lost,
    /// The body is shorter or longer than its declared length.
    #[error("http: ContentLength={declared} with Body length {actual}")]
    Length {
        /// What the sender declared, in bytes.
        declared: u64,
        /// What came, in bytes.
        actual: u64,
    },
}

impl BodyError {
    /// Wraps the error of a transport; one that is a `BodyError` already stays as it is.
    pub fn transport(error: impl Into<BoxError>) -> Self {
        match error.into().downcast::<Self>() {
            Ok(already) => *already,
            Err(other) => Self::Transport(other),
        }
    }
}
