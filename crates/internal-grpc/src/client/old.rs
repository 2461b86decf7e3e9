//! Sidecars that know unary calls only: old ones of Dapr.
//!
//! They answer a stream with UNIMPLEMENTED, and are called again with `CallLocal`, which has the whole body in one
//! message. A caller that declared no length streams for a reason, and is told instead.

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use invoke_core::balance::Endpoint;
use invoke_core::body::Replay;
use invoke_core::{AppRef, Body, BodyError, Cause, Delivery, Fault, InvokeError, RpcStatus, error::code};

/// How much of a body is kept until the peer has shown whether it takes streams. No more than the initial window of a
/// connection (64 KiB) goes out before a peer that takes none has said so; a few pieces wait behind it.
const KEPT: u64 = 256 * 1024;

/// The body of a call, once more.
pub(super) enum Again {
    AtHand(Bytes),
    Kept(Replay),
    Never,
}

impl Again {
    /// Takes a body that is to be sent, and leaves one that is the same.
    pub(super) fn of(body: &mut Body, endpoint: &Endpoint) -> Self {
        if let Some(data) = body.take_full() {
            *body = Body::full(data.clone());
            return Self::AtHand(data);
        }
        // Nearly every call: its peer has answered a stream before.
        if endpoint.longest_message().is_some() || !body.has_known_length() {
            return Self::Never;
        }
        let replay = Replay::new(std::mem::take(body), KEPT);
        *body = replay.attempt();
        Self::Kept(replay)
    }

    /// The body, if all of it is still there.
    pub(super) fn body(self) -> Option<Body> {
        match self {
            Self::AtHand(data) => Some(Body::full(data)),
            Self::Kept(replay) => replay.is_possible().then(|| replay.attempt()),
            Self::Never => None,
        }
    }

    /// Nobody will ask for it.
    pub(super) fn let_go(self) {
        if let Self::Kept(replay) = self {
            replay.commit();
        }
    }
}

/// The whole body, which is no longer than a message may be.
pub(super) async fn collect(mut body: Body, max: usize) -> Result<Bytes, InvokeError> {
    if let Some(data) = body.take_full() {
        return Ok(data);
    }
    let mut collected = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let broken = |error: BodyError| InvokeError::unsent(Fault::Caller, error);
        if let Ok(data) = frame.map_err(broken)?.into_data() {
            within(collected.len() + data.len(), max)?;
            collected.extend_from_slice(&data);
        }
    }
    Ok(collected.freeze())
}

/// Refuses a message that is longer than messages may be, as gRPC for Go does.
pub(super) fn within(length: usize, max: usize) -> Result<(), InvokeError> {
    if length <= max {
        return Ok(());
    }
    let text = format!("trying to send message larger than max ({length} vs. {max})");
    let status = RpcStatus::new(code::RESOURCE_EXHAUSTED, text);
    Err(InvokeError::unsent(Fault::Caller, status))
}

/// The call goes out again.
pub(super) fn warn(app: &AppRef) {
    tracing::warn!(
        target: "dapr.runtime.direct_messaging",
        "App {} does not support streaming-based service invocation (most likely because it's using an older version \
         of Dapr); falling back to unary calls",
        app.id
    );
}

/// The call cannot go out again.
pub(super) fn refused(app: &AppRef) -> InvokeError {
    tracing::error!(
        target: "dapr.runtime.direct_messaging",
        "App {} does not support streaming-based service invocation (most likely because it's using an older version \
         of Dapr) and the request is not replayable. Please upgrade the Dapr sidecar used by the target app, or use \
         Resiliency policies to add retries",
        app.id
    );
    // It was not seen, but other instances need not be asked for that.
    InvokeError::new(
        Fault::Peer,
        Delivery::Maybe,
        Cause::OldPeer(app.id.as_str().to_owned()),
    )
}
