//! The parts of gRPC over HTTP/2 that sidecars handle themselves: message heads, status trailers, time-outs.
//!
//! The wire format is that of the gRPC documentation, "gRPC over HTTP2". There is one reader and one writer of
//! each part, and none of them can panic on what a peer sends.

mod call;
mod compression;
mod failure;
mod inflate;
mod message;
mod relay;
mod scanner;
mod status;
mod stream;
mod timeout;
mod unary;
mod unpack;

pub use call::{CallHead, MOST_HEADERS, Refusal, trailers_only};
pub use compression::{Accepted, Encoding};
pub use message::{MESSAGE_HEAD, MessageError, MessageHead, MessageReader};
pub use relay::{Relay, RelayFailure, RelayedAnswer, RelayedRequest};
#[cfg(feature = "fuzz")]
pub(crate) use scanner::scan;
pub use status::{GrpcStatus, status_of_http};
pub use stream::{Messages, ServerStream};
pub use timeout::{format_timeout, parse_timeout};
pub use unary::Unary;
#[cfg(feature = "fuzz")]
pub(crate) use unpack::unpack;
