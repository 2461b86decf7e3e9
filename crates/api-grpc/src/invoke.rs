//! `InvokeService`.

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use grpc_wire::GrpcStatus;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http_body_util::BodyExt;
use invoke_codec::message::{ResponseLens, put_response, read_request};
use invoke_codec::wire::{self, Embedded, Value, Whole};
use invoke_codec::{DecodeError, metadata};
use invoke_core::observe::OpenExchange;
use invoke_core::trace::TraceContext;
use invoke_core::{Body, Head, Invocation, Invoke, InvokeError, Origin, Reply, Ticket, error::code};

use crate::answer::{Message, begin};
use crate::{notices, status};

const HTTP_STATUS: HeaderName = HeaderName::from_static("dapr-http-status");
/// A body up to this length is joined with the head of its message: one frame instead of two.
const JOINED: usize = 8 * 1024;

/// What a call says besides its message.
pub(crate) struct Context {
    /// The caller's metadata, without what belongs to the connection.
    pub(crate) headers: HeaderMap,
    /// `:authority`.
    pub(crate) authority: Option<HeaderValue>,
    /// The trace context that this sidecar emits.
    pub(crate) trace: Option<TraceContext>,
    /// When the caller stops waiting.
    pub(crate) deadline: Option<Instant>,
    /// The longest answer, in bytes.
    pub(crate) max_message: usize,
}

/// A call that did not succeed: its status, and the metadata that came with it.
pub(crate) struct Failed {
    pub(crate) status: GrpcStatus,
    pub(crate) headers: HeaderMap,
    pub(crate) trailers: HeaderMap,
}

impl From<GrpcStatus> for Box<Failed> {
    fn from(status: GrpcStatus) -> Self {
        Box::new(Failed {
            status,
            headers: HeaderMap::new(),
            trailers: HeaderMap::new(),
        })
    }
}

/// Invokes what the message asks for.
pub(crate) async fn handle<I: Invoke, T: Ticket>(
    invoke: &I,
    message: &Bytes,
    context: Context,
    open: &mut OpenExchange<T>,
) -> Result<Message, Box<Failed>> {
    notices::invoke_service();
    let (target, mut head, data) = read(message)?;
    open.invokes(&target, &head.method);
    let trace = context.trace;
    head.headers = context.headers;
    head.authority = context.authority;
    head.trace = trace;
    head.trail = open.trail();
    head.deadline = context.deadline;
    let body = if data.is_empty() {
        Body::empty()
    } else {
        Body::full(data)
    };
    let call = invoke.invoke(&target, Invocation { head, body });
    let reply = call.await.map_err(|error| status::of_failure(&target, &error))?;
    answer(&target, reply, trace, context.max_message).await
}

/// The target, and the head and the body that its app is to get.
fn read(message: &Bytes) -> Result<(Box<str>, Head, Bytes), Box<Failed>> {
    let (mut target, mut request) = (Box::from(""), Embedded::default());
    let malformed = |error: DecodeError| GrpcStatus::new(code::INTERNAL, error.to_string());
    for field in wire::fields(message) {
        match field.map_err(malformed)? {
            (1, Value::Len(id)) => target = wire::text(&id).map_err(malformed)?.unwrap_or_default(),
            (3, Value::Len(bytes)) => request.add(bytes),
            _ => {}
        }
    }
    let request = match request.whole() {
        Some(request) => request,
        // The caller is first told what is wrong with the target.
        None if target.is_empty() => Whole::default(),
        None => return Err(status::no_message(&target).into()),
    };
    match read_request(&request, Origin::Grpc) {
        Ok((head, data)) => Ok((target, head, data)),
        Err(DecodeError::Method(error)) => Err(status::of_failure(&target, &error.into()).into()),
        Err(error) => Err(malformed(error).into()),
    }
}

async fn answer(
    target: &str,
    mut reply: Reply,
    trace: Option<TraceContext>,
    max: usize,
) -> Result<Message, Box<Failed>> {
    let origin = if reply.status.is_http() {
        Origin::Http
    } else {
        Origin::Grpc
    };
    let mut headers = metadata::with_trace(std::mem::take(&mut reply.headers), origin, trace);
    if reply.status.is_http() {
        notices::of_http_app();
        headers.insert(HTTP_STATUS, HeaderValue::from(reply.status.code));
    }
    // The trace context is in the trailers of gRPC apps, too.
    let trailers = if reply.status.is_http() {
        HeaderMap::new()
    } else {
        metadata::with_trace(std::mem::take(&mut reply.trailers), origin, trace)
    };
    let body = std::mem::take(&mut reply.body);
    let (pieces, length) = collect(target, body, max).await?;
    if let Some(status) = status::of_app(&reply.status, &status::beginning(&pieces)) {
        return Err(Box::new(Failed {
            status,
            headers,
            trailers,
        }));
    }
    let lens = ResponseLens::of(&reply, length)
        .map_err(|error| GrpcStatus::new(code::INTERNAL, error.to_string()))?;
    if lens.message > max {
        return Err(status::too_large(lens.message, max).into());
    }
    let joined = if length <= JOINED { length } else { 0 };
    let mut out = begin(lens.message, lens.message - length + joined);
    put_response(&mut out, &reply, &lens);
    Ok(Message {
        headers,
        pieces: join(out, pieces, joined > 0),
        trailers,
    })
}

/// The body in the pieces in which it came; one that is too long is not read to its end.
async fn collect(target: &str, mut body: Body, max: usize) -> Result<(Vec<Bytes>, usize), Box<Failed>> {
    if let Some(data) = body.take_full() {
        let length = data.len();
        return Ok((vec![data], length));
    }
    let (mut pieces, mut length) = (Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            let error = InvokeError::new(invoke_core::Fault::App, invoke_core::Delivery::Yes, error);
            status::of_failure(target, &error)
        })?;
        let Ok(data) = frame.into_data() else { continue };
        length += data.len();
        if length > max {
            return Err(status::too_large(length, max).into());
        }
        pieces.push(data);
    }
    Ok((pieces, length))
}

fn join(mut head: BytesMut, pieces: Vec<Bytes>, is_joined: bool) -> std::collections::VecDeque<Bytes> {
    if is_joined {
        for piece in &pieces {
            head.extend_from_slice(piece);
        }
        return [head.freeze()].into();
    }
    let body = pieces.into_iter().filter(|piece| !piece.is_empty());
    std::iter::once(head.freeze()).chain(body).collect()
}
