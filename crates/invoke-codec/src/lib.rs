//! An invocation in protobuf and in gRPC metadata: the encodings that several adapters share.
//!
//! [`message`] turns [`invoke_core::Head`] and [`invoke_core::Reply`] into `dapr.proto.common.v1.InvokeRequest` and
//! `InvokeResponse` and back, [`status`] does the same for a status with details, [`metadata`] translates headers
//! into gRPC metadata and back, and [`text`] makes strings of what may be none. The gRPC API, the protocol between
//! sidecars and the channel to gRPC apps use it.
//!
//! Everything here is written by hand on [`wire`], so that a body is never copied. A decoded body is a slice of the
//! message in which it came. An encoded message ends where the body follows. Tests hold it against the generated
//! messages. This crate does no input or output and knows no protocol above the encodings.

mod illegal;
pub mod message;
pub mod metadata;
pub mod status;
pub mod text;
pub mod wire;

use thiserror::Error;

/// What cannot be put on the wire.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum EncodeError {
    /// A proto string must be UTF-8, and a method path cannot be written in another way.
    #[error("grpc: error while marshaling: string field contains invalid UTF-8")]
    InvalidUtf8,
}

/// What cannot be read from the wire.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum DecodeError {
    /// The bytes are no message.
    #[error("grpc: error unmarshalling request: {0}")]
    Malformed(&'static str),
    /// A metadata key that no header can have.
    #[error("net/http: invalid header field name {0:?}")]
    HeaderName(String),
    /// A metadata value that no header can have.
    #[error("net/http: invalid header field value for {0:?}")]
    HeaderValue(String),
    /// The method path is refused.
    #[error("invalid method: {0}")]
    Method(#[from] invoke_core::MethodError),
}
