//! The request of another sidecar.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use grpc_wire::{Encoding, GrpcStatus, MessageError, MessageReader};
use http_body::{Body as _, Frame, SizeHint};
use invoke_core::{Body, BodyError, Invocation, RpcStatus, error::code};
use transport::server::RequestBody;

use super::refusals;
use crate::codec::{Payload, RequestMessage, decode_request, decode_request_stream};

const LEADING: &str = "request does not contain the required fields in the leading chunk";

/// Reads the first message of a stream; the rest becomes the body.
pub(super) async fn of_stream(
    body: RequestBody,
    encoding: Encoding,
    max: usize,
) -> Result<Invocation, GrpcStatus> {
    let mut messages = Messages {
        reader: MessageReader::new(body, max),
        encoding,
        max,
    };
    let Some(message) = messages.next().await? else {
        return Err(refusals::incomplete(LEADING));
    };
    let decoded = decode_request_stream(&message).map_err(|error| refusals::undecodable(&error))?;
    let RequestMessage {
        version,
        head: Some(head),
        payload,
        ..
    } = decoded
    else {
        return Err(refusals::incomplete(LEADING));
    };
    if version != 1 {
        return Err(refusals::unsupported_version(version));
    }
    let mut pieces = NumberedPieces {
        messages,
        first: None,
        seq: 0,
        ended: false,
    };
    if let Some(payload) = payload {
        let first = pieces.numbered(payload);
        // A wrong number in the first message is the app's to see, as in any other.
        match first {
            Ok(first) if first.is_empty() => {}
            first => pieces.first = Some(first),
        }
    }
    // A body that did not begin with its head was streamed.
    let body = if pieces.first.is_some() {
        Body::take_in(pieces).await
    } else {
        Body::take_in_stream(pieces).await
    };
    Ok(Invocation { head, body })
}

/// Reads a unary request.
pub(super) async fn of_unary(
    body: RequestBody,
    encoding: Encoding,
    max: usize,
) -> Result<(Invocation, usize), GrpcStatus> {
    let mut messages = Messages {
        reader: MessageReader::new(body, max),
        encoding,
        max,
    };
    let Some(message) = messages.next().await? else {
        return Err(refusals::incomplete("field Message is nil"));
    };
    let length = message.len();
    let decoded = decode_request(&message).map_err(|error| refusals::undecodable(&error))?;
    let RequestMessage {
        version,
        head: Some(head),
        data,
        ..
    } = decoded
    else {
        return Err(refusals::incomplete("field Message is nil"));
    };
    if version != 1 {
        return Err(refusals::unsupported_version(version));
    }
    let call = Invocation {
        head,
        body: Body::full(data),
    };
    Ok((call, length))
}

/// The whole body of a reply, for a unary answer; no longer than a message may be.
pub(super) async fn collect(mut body: Body, max: usize) -> Result<Bytes, GrpcStatus> {
    if let Some(data) = body.take_full() {
        return within(data.len(), max).map(|()| data);
    }
    let mut collected = BytesMut::new();
    loop {
        let frame = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
        match frame {
            None => return Ok(collected.freeze()),
            Some(Err(error)) => return Err(GrpcStatus::new(code::UNKNOWN, error.to_string())),
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    within(collected.len() + data.len(), max)?;
                    collected.extend_from_slice(data);
                }
            }
        }
    }
}

fn within(length: usize, max: usize) -> Result<(), GrpcStatus> {
    if length <= max {
        return Ok(());
    }
    let text = format!("grpc: trying to send message larger than max ({length} vs. {max})");
    Err(GrpcStatus::new(code::RESOURCE_EXHAUSTED, text))
}

/// The messages of a stream, decompressed.
struct Messages {
    reader: MessageReader<RequestBody>,
    encoding: Encoding,
    max: usize,
}

impl Messages {
    async fn next(&mut self) -> Result<Option<Bytes>, GrpcStatus> {
        poll_fn(|cx| self.poll_next(cx)).await.transpose()
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, GrpcStatus>>> {
        let next = ready!(self.reader.poll_next(cx));
        Poll::Ready(next.map(|next| {
            let (is_compressed, message) = next.map_err(|error| status_of(&error))?;
            self.encoding.decode(is_compressed, message, self.max)
        }))
    }
}

fn status_of(error: &MessageError) -> GrpcStatus {
    let code = match error {
        MessageError::TooLarge { .. } => code::RESOURCE_EXHAUSTED,
        MessageError::Body(_) => code::CANCELLED,
        _ => code::INTERNAL,
    };
    match error {
        MessageError::Body(_) => GrpcStatus::new(code, "context canceled"),
        other => GrpcStatus::new(code, other.to_string()),
    }
}

/// The body of a call: numbered pieces until the caller's side of the stream ends.
struct NumberedPieces {
    messages: Messages,
    first: Option<Result<Bytes, BodyError>>,
    seq: u64,
    ended: bool,
}

impl NumberedPieces {
    fn numbered(&mut self, payload: Payload) -> Result<Bytes, BodyError> {
        if payload.seq != self.seq {
            return Err(BodyError::Protocol(format!(
                "invalid sequence number received: {} (expected: {})",
                payload.seq, self.seq
            )));
        }
        self.seq += 1;
        Ok(payload.data)
    }

    fn piece(&mut self, next: Result<Bytes, GrpcStatus>) -> Result<Bytes, BodyError> {
        let message = next.map_err(|status| receive(status.code, status.message))?;
        let decoded =
            decode_request_stream(&message).map_err(|error| receive(code::INTERNAL, error.to_string()))?;
        if decoded.has_request {
            return Err(BodyError::Protocol(
                "request metadata found in non-leading chunk".to_owned(),
            ));
        }
        match decoded.payload {
            Some(payload) => self.numbered(payload),
            None => Ok(Bytes::new()),
        }
    }
}

fn receive(code: i32, message: String) -> BodyError {
    BodyError::Receive(RpcStatus::new(code, message).into())
}

impl http_body::Body for NumberedPieces {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        while !this.is_end_stream() {
            let next = match this.first.take() {
                Some(first) => first,
                None => match ready!(this.messages.poll_next(cx)) {
                    None => break,
                    Some(next) => this.piece(next),
                },
            };
            match next {
                Ok(data) if data.is_empty() => {}
                Ok(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Err(error) => {
                    this.ended = true;
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
        this.ended = true;
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && (self.ended || self.messages.reader.is_at_end())
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::new()
    }
}
