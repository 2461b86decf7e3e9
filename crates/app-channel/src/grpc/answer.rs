//! The answer of a gRPC app: a reply, whatever its status.

use bytes::Bytes;
use grpc_wire::{Encoding, GrpcStatus, MessageError, MessageReader};
use http::Response;
use http::header::HeaderMap;
use invoke_codec::message::read_response;
use invoke_codec::metadata::from_grpc;
use invoke_codec::status::read_status;
use invoke_core::{Body, Reply, Route, WireStatus, error::code};
use transport::client::CountedBody;

/// A reply that is a status and nothing else.
pub(super) fn of_status(status: &GrpcStatus) -> Reply {
    Reply::new(wire(status), Route::Local)
}

/// Reads the answer: its one message, and the status behind it. The number is the length of the message.
pub(super) async fn read(response: Response<CountedBody>, max: usize) -> (Reply, usize) {
    let (parts, body) = response.into_parts();
    if let Some(status) = GrpcStatus::from_headers(&parts.headers) {
        // All of it is in the head, which then has what else the trailers would have.
        let mut reply = of_status(&status);
        reply.trailers = metadata(parts.headers);
        return (reply, 0);
    }
    if let Some(status) = GrpcStatus::of_head(parts.status, &parts.headers) {
        return (of_status(&status), 0);
    }
    let message = match Encoding::of(&parts.headers) {
        Ok(encoding) => message(body, encoding, max).await,
        Err(status) => Err(status),
    };
    let (data, trailers, status) = match message {
        Ok(read) => read,
        Err(status) => (None, HeaderMap::new(), status),
    };
    let mut reply = of_status(&status);
    let mut length = 0;
    if status.code == code::OK {
        length = data.as_ref().map_or(0, Bytes::len);
        match read_response(&data.unwrap_or_default(), &mut reply) {
            Ok(data) => reply.body = Body::full(data),
            Err(error) => reply = of_status(&GrpcStatus::new(code::INTERNAL, error.to_string())),
        }
    }
    reply.headers = metadata(parts.headers);
    reply.trailers = metadata(trailers);
    (reply, length)
}

type Read = (Option<Bytes>, HeaderMap, GrpcStatus);

/// The message, the trailers, and the status in them.
async fn message(body: CountedBody, encoding: Encoding, max: usize) -> Result<Read, GrpcStatus> {
    let mut reader = MessageReader::new(body, max);
    let mut message = None;
    while let Some(next) = reader.next().await {
        let (is_compressed, next) = next.map_err(|error| unreadable(&error))?;
        if message.is_some() {
            let text = "cardinality violation: received more than one message of a unary call";
            return Err(GrpcStatus::new(code::INTERNAL, text));
        }
        message = Some(encoding.decode(is_compressed, next, max)?);
    }
    let trailers = reader.take_trailers().unwrap_or_default();
    let status = GrpcStatus::from_headers(&trailers).ok_or_else(|| {
        let text = "server closed the stream without sending trailers";
        GrpcStatus::new(code::INTERNAL, text)
    })?;
    if status.code == code::OK && message.is_none() {
        let text = "cardinality violation: received no response message from a unary call";
        return Err(GrpcStatus::new(code::INTERNAL, text));
    }
    Ok((message, trailers, status))
}

fn unreadable(error: &MessageError) -> GrpcStatus {
    match error {
        MessageError::TooLarge { .. } => GrpcStatus::new(code::RESOURCE_EXHAUSTED, error.to_string()),
        MessageError::Body(body) => GrpcStatus::of_broken_answer(&**body),
        _ => GrpcStatus::new(code::INTERNAL, error.to_string()),
    }
}

/// What an app sends besides its message. Binary values that are none are left out.
fn metadata(headers: HeaderMap) -> HeaderMap {
    from_grpc(headers).unwrap_or_default()
}

/// The status with its details.
fn wire(status: &GrpcStatus) -> WireStatus {
    let details = status
        .details
        .as_ref()
        .and_then(|details| read_status(details).ok());
    WireStatus {
        code: status.code,
        message: status.message.clone(),
        details: details.map(|status| status.details).unwrap_or_default(),
    }
}
