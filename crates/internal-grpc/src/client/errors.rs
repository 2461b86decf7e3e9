//! Failures of a hop as Dapr names them.

use invoke_core::{Fault, InvokeError, RpcStatus, Seen, StatusDetail, error::code};
use transport::client::{ClientError, ErrorKind};
use transport::grpc::GrpcStatus;

/// A failure before the first message.
pub(super) fn transport(error: ClientError) -> InvokeError {
    let seen = match error.seen() {
        transport::client::Seen::No => Seen::No,
        transport::client::Seen::Maybe => Seen::Maybe,
    };
    let status = match error.kind() {
        ErrorKind::Connect => RpcStatus::new(
            code::UNAVAILABLE,
            format!("connection error: desc = \"transport: Error while dialing: {error}\""),
        ),
        ErrorKind::StreamReset(reason) => RpcStatus::new(
            code_of_reset(reason),
            format!(
                "stream terminated by RST_STREAM with error code: {}",
                ResetName(reason)
            ),
        ),
        ErrorKind::Closed | ErrorKind::Reset => {
            RpcStatus::new(code::UNAVAILABLE, format!("error reading from server: {error}"))
        }
        _ => RpcStatus::new(code::UNAVAILABLE, format!("connection error: desc = \"{error}\"")),
    };
    InvokeError::new(Fault::Peer, seen, status)
}

/// A status of the other sidecar, or of gRPC on the way to it.
pub(super) fn status(status: GrpcStatus) -> InvokeError {
    InvokeError::new(Fault::Peer, Seen::Yes, rpc(status))
}

pub(super) fn rpc(status: GrpcStatus) -> RpcStatus {
    RpcStatus {
        code: status.code,
        message: status.message,
        details: Vec::<StatusDetail>::new(),
    }
}

/// Whether the peer does not know the method at all, rather than that it answered with this code.
pub(super) fn is_unknown_method(error: &InvokeError) -> bool {
    let text = error.to_string();
    text.contains("unknown method") || text.contains("unknown service")
}

fn code_of_reset(reason: u32) -> i32 {
    match reason {
        7 => code::UNAVAILABLE,
        8 => code::CANCELLED,
        3 | 11 => code::RESOURCE_EXHAUSTED,
        12 => code::PERMISSION_DENIED,
        _ => code::INTERNAL,
    }
}

/// The name of an HTTP/2 error code (RFC 9113, section 7).
struct ResetName(u32);

impl std::fmt::Display for ResetName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const NAMES: [&str; 14] = [
            "NO_ERROR",
            "PROTOCOL_ERROR",
            "INTERNAL_ERROR",
            "FLOW_CONTROL_ERROR",
            "SETTINGS_TIMEOUT",
            "STREAM_CLOSED",
            "FRAME_SIZE_ERROR",
            "REFUSED_STREAM",
            "CANCEL",
            "COMPRESSION_ERROR",
            "CONNECT_ERROR",
            "ENHANCE_YOUR_CALM",
            "INADEQUATE_SECURITY",
            "HTTP_1_1_REQUIRED",
        ];
        match usize::try_from(self.0).ok().and_then(|code| NAMES.get(code)) {
            Some(name) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}
