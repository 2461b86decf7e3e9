//! Answers to callers that want server-sent events.
//!
//! Peers read such an answer differently: its first message has the headers and the status 0 in place of the
//! app's 2xx, and every later one has an empty `response` beside its piece.

use bytes::BytesMut;
use grpc_wire::GrpcStatus;
use invoke_core::{Cause, Delivery, Fault, InvokeError, Reply, WireStatus};

use super::refusals;
use crate::codec::{begin_message, encode_response_stream};
use crate::frames::Frames;
use crate::limit::MessageLimit;

/// Turns a 2xx answer of an HTTP app into a stream of events. Any other answer passes as it is: it tells the caller to
/// log in, or to come later. Only 404, and whatever a gRPC app says, is an error, by the text of which callers of Dapr
/// know it.
pub(super) fn answer(mut reply: Reply, limit: MessageLimit) -> Result<Frames, GrpcStatus> {
    if reply.status.code == 404 || !reply.status.is_http() {
        return Err(refusals::status(&InvokeError::new(
            Fault::App,
            Delivery::Yes,
            Cause::NoEventStream,
        )));
    }
    if !(200..300).contains(&reply.status.code) {
        return super::stream(reply, limit);
    }
    let body = std::mem::take(&mut reply.body);
    // The casing of the headers goes by the status: write them before it is replaced.
    let mut message = BytesMut::with_capacity(256);
    begin_message(&mut message);
    let event_head = Reply {
        status: WireStatus::default(),
        ..reply
    };
    encode_response_stream(&event_head, false, &mut message)
        .map_err(|error| refusals::unmarshallable(&error))?;
    Ok(Frames::of_server(message, body, limit, true))
}
