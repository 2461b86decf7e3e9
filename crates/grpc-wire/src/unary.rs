//! A call with one message each way.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{self, HeaderName, HeaderValue};
use http::{Request, Response, Uri};
use http_body_util::Full;
use tokio::time::timeout;

use super::message::{MESSAGE_HEAD, MessageError, MessageHead, MessageReader};
use super::status::{GrpcStatus, status_of_http};
use super::timeout::format_timeout;
use transport::client::{CountedBody, H2Pool, PeerKey};

const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

const OK: i32 = 0;
const DEADLINE_EXCEEDED: i32 = 4;
const INTERNAL: i32 = 13;
const UNAVAILABLE: i32 = 14;

/// A call with one message each way; it can be made as often as one likes.
#[derive(Clone, Debug)]
pub struct Unary {
    /// The address and the method, `https://host:port/package.Service/Method`.
    pub uri: Uri,
    /// The encoded message.
    pub message: Bytes,
    /// How long the call may take; its connection is made before.
    pub timeout: Duration,
    /// The longest answer that is accepted, in bytes.
    pub max_answer: usize,
}

impl Unary {
    /// Makes the call; `metadata` goes along.
    ///
    /// # Errors
    /// The status that the server gave, or the one that says what went wrong: 14 (unavailable) when the call or its
    /// answer was lost on the way, 4 (deadline exceeded) when it took too long, 13 (internal) when the answer is
    /// not what it should be.
    pub async fn call(
        &self,
        pool: &H2Pool,
        peer: &PeerKey,
        metadata: &[(HeaderName, HeaderValue)],
    ) -> Result<Bytes, GrpcStatus> {
        self.call_packed(None, pool, peer, metadata).await
    }

    /// The same for a message that is packed already, in this encoding.
    ///
    /// # Errors
    /// The same.
    pub async fn call_packed(
        &self,
        encoding: Option<&'static str>,
        pool: &H2Pool,
        peer: &PeerKey,
        metadata: &[(HeaderName, HeaderValue)],
    ) -> Result<Bytes, GrpcStatus> {
        let attempt = async {
            let sent = pool.send(peer, self.request(encoding, metadata)).await;
            let answer = sent.map_err(|error| {
                GrpcStatus::new(UNAVAILABLE, format!("error reading from server: {error}"))
            })?;
            read(answer, self.max_answer).await
        };
        match timeout(self.timeout, attempt).await {
            Ok(answered) => answered,
            Err(_) => Err(GrpcStatus::new(DEADLINE_EXCEEDED, "context deadline exceeded")),
        }
    }

    fn request(
        &self,
        encoding: Option<&'static str>,
        metadata: &[(HeaderName, HeaderValue)],
    ) -> Request<Full<Bytes>> {
        let mut request = request(&self.uri, &self.message, encoding.is_some());
        let headers = request.headers_mut();
        if let Ok(limit) = HeaderValue::try_from(format_timeout(self.timeout)) {
            headers.insert(GRPC_TIMEOUT, limit);
        }
        if let Some(encoding) = encoding {
            headers.insert(GRPC_ENCODING, HeaderValue::from_static(encoding));
        }
        for (name, value) in metadata {
            headers.insert(name.clone(), value.clone());
        }
        request
    }
}

/// A call with this message.
pub(crate) fn request(uri: &Uri, message: &[u8], compressed: bool) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(framed(message, compressed)));
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = uri.clone();
    let headers = request.headers_mut();
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    request
}

/// The message behind its head.
fn framed(message: &[u8], compressed: bool) -> Bytes {
    let head = MessageHead {
        compressed,
        length: u32::try_from(message.len()).unwrap_or(u32::MAX),
    };
    let mut bytes = BytesMut::with_capacity(MESSAGE_HEAD + message.len());
    bytes.put_slice(&head.to_bytes());
    bytes.put_slice(message);
    bytes.freeze()
}

/// Whether the head of an answer is one behind which messages may come.
pub(crate) fn status_of_answer<B>(answer: &Response<B>) -> Result<(), GrpcStatus> {
    let head = GrpcStatus::from_headers(answer.headers());
    if let Some(status) = head.filter(|status| status.code != OK) {
        return Err(status);
    }
    if answer.status() != http::StatusCode::OK {
        let text = format!(
            "unexpected HTTP status code received from server: {}",
            answer.status()
        );
        return Err(GrpcStatus::new(status_of_http(answer.status()), text));
    }
    Ok(())
}

/// Reads an answer of one message.
async fn read(answer: Response<CountedBody>, max: usize) -> Result<Bytes, GrpcStatus> {
    let internal = |text: &str| GrpcStatus::new(INTERNAL, text);
    status_of_answer(&answer)?;
    let mut messages = MessageReader::new(answer.into_body(), max);
    let mut received = None;
    while let Some(message) = messages.next().await {
        match message {
            Ok((false, message)) if received.is_none() => received = Some(message),
            Ok((false, _)) => return Err(internal("more than one message was received")),
            Ok((true, _)) => return Err(internal("a compressed message was received")),
            Err(error @ (MessageError::TooLarge { .. } | MessageError::Flag(_))) => {
                return Err(internal(&error.to_string()));
            }
            Err(error) => return Err(GrpcStatus::new(UNAVAILABLE, error.to_string())),
        }
    }
    let status = messages
        .take_trailers()
        .as_ref()
        .and_then(GrpcStatus::from_headers);
    match (status, received) {
        (Some(status), _) if status.code != OK => Err(status),
        (Some(_), Some(answer)) => Ok(answer),
        (Some(_), None) => Err(internal("no message was received")),
        (None, _) => Err(internal("server closed the stream without sending trailers")),
    }
}
