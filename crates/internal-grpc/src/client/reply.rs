//! The answer of another sidecar.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use grpc_wire::{GrpcStatus, MessageError, MessageReader};
use http::Response;
use http_body::{Frame, SizeHint};
use invoke_core::{Body, BodyError, Cause, Delivery, Fault, InvokeError, Reply, RpcStatus, error::code};
use transport::client::CountedBody;

use super::errors;
use crate::codec::{DecodeError, Payload, decode_response, decode_response_stream};

type Reader = MessageReader<CountedBody>;

/// Reads the first message of a stream; the rest becomes the body.
pub(super) async fn of_stream(answer: Response<CountedBody>, max: usize) -> Result<Reply, InvokeError> {
    let mut reader = MessageReader::new(answer.into_body(), max);
    let message = first_message(&mut reader).await?;
    let decoded = decode_response_stream(&message).map_err(undecodable)?;
    let Some(mut reply) = decoded.reply else {
        let text = "response does not contain the required fields in the leading chunk";
        return Err(InvokeError::new(
            Fault::Peer,
            Delivery::Yes,
            BodyError::Protocol(text.to_owned()),
        ));
    };
    let mut pieces = NumberedPieces {
        reader,
        first: None,
        seq: 0,
        ended: false,
    };
    if let Some(payload) = decoded.payload {
        let first = pieces
            .numbered(payload)
            .map_err(|error| InvokeError::new(Fault::Peer, Delivery::Yes, error))?;
        pieces.first = (!first.is_empty()).then_some(first);
    }
    // A body that did not begin with its head was streamed.
    reply.body = if pieces.first.is_some() {
        Body::take_in(pieces).await
    } else {
        Body::take_in_stream(pieces).await
    };
    Ok(reply)
}

/// Reads a unary answer.
pub(super) async fn of_unary(answer: Response<CountedBody>, max: usize) -> Result<Reply, InvokeError> {
    let mut reader = MessageReader::new(answer.into_body(), max);
    let message = first_message(&mut reader).await?;
    let decoded = decode_response(&message).map_err(undecodable)?;
    // The status stands behind the message, so the stream is read to its end.
    if let Some(Err(error)) = reader.next().await {
        return Err(unreadable(&error));
    }
    end_of(&mut reader).map_err(errors::status)?;
    let Some(mut reply) = decoded.reply else {
        let text = "response does not contain the required fields in the leading chunk";
        return Err(InvokeError::new(
            Fault::Peer,
            Delivery::Yes,
            BodyError::Protocol(text.to_owned()),
        ));
    };
    reply.body = Body::full(decoded.data);
    Ok(reply)
}

async fn first_message(reader: &mut Reader) -> Result<Bytes, InvokeError> {
    match reader.next().await {
        Some(Ok((false, message))) => Ok(message),
        Some(Ok((true, _))) => {
            let text = "grpc: compressed flag set with identity or empty encoding";
            Err(errors::status(GrpcStatus::new(code::INTERNAL, text)))
        }
        Some(Err(error)) => Err(unreadable(&error)),
        None => {
            end_of(reader).map_err(errors::status)?;
            // The stream ended well, but said nothing.
            Err(InvokeError::new(
                Fault::Peer,
                Delivery::Yes,
                Cause::App {
                    text: "EOF".to_owned(),
                    source: None,
                },
            ))
        }
    }
}

/// The status at the end of a stream: OK, or what it was instead. An end without a status is an error: the
/// peer broke off.
fn end_of(reader: &mut Reader) -> Result<(), GrpcStatus> {
    match reader.take_trailers().as_ref().and_then(GrpcStatus::from_headers) {
        Some(status) if status.code == code::OK => Ok(()),
        Some(status) => Err(status),
        None => Err(GrpcStatus::new(
            code::INTERNAL,
            "server closed the stream without sending trailers",
        )),
    }
}

fn unreadable(error: &MessageError) -> InvokeError {
    errors::status(status_of(error))
}

fn status_of(error: &MessageError) -> GrpcStatus {
    match error {
        MessageError::TooLarge { .. } => GrpcStatus::new(code::RESOURCE_EXHAUSTED, error.to_string()),
        MessageError::Body(body) => GrpcStatus::of_broken_answer(&**body),
        _ => GrpcStatus::new(code::INTERNAL, error.to_string()),
    }
}

fn undecodable(error: DecodeError) -> InvokeError {
    errors::status(GrpcStatus::new(code::INTERNAL, error.to_string()))
}

/// The body of a reply: numbered pieces, then a status.
struct NumberedPieces {
    reader: Reader,
    first: Option<Bytes>,
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

    fn piece(&mut self, next: Result<(bool, Bytes), MessageError>) -> Result<Bytes, BodyError> {
        let (_, message) = next.map_err(|error| broken(errors::rpc(status_of(&error))))?;
        let decoded = decode_response_stream(&message)
            .map_err(|error| broken(RpcStatus::new(code::INTERNAL, error.to_string())))?;
        if decoded.has_head {
            return Err(BodyError::Protocol(
                "response metadata found in non-leading chunk".to_owned(),
            ));
        }
        match decoded.payload {
            Some(payload) => self.numbered(payload),
            None => Ok(Bytes::new()),
        }
    }

    fn end(&mut self) -> Result<(), BodyError> {
        self.ended = true;
        end_of(&mut self.reader).map_err(|status| broken(errors::rpc(status)))
    }
}

fn broken(status: RpcStatus) -> BodyError {
    BodyError::Receive(status.into())
}

impl http_body::Body for NumberedPieces {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if let Some(first) = this.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        while !this.ended {
            let next = match ready!(this.reader.poll_next(cx)) {
                None => {
                    let end = this.end();
                    return Poll::Ready(end.err().map(Err));
                }
                Some(next) => this.piece(next),
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
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.ended && self.first.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::new()
    }
}
