//! What gRPC puts into HTTP/2 and sidecars handle themselves: message heads, status trailers, time-outs, packed
//! messages, calls of one message and of many, and calls that are passed on as they are.
//!
//! The wire format is that of the gRPC documentation, "gRPC over HTTP2". There is one reader and one writer of each
//! part, and none of them can panic on what a peer sends. `transport` makes the connections, and the callers of this
//! crate know what is in the messages: it knows neither `tonic` nor a message of Dapr's.
//!
//! [`Relay`] passes a call on and judges it by its status; [`Unary`] and [`Messages`] make calls of our own, such as
//! those to sentry and to the operator; [`CallHead`] reads and checks the head of a call that comes in.

mod call;
mod compression;
mod failure;
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod fuzz;
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
pub use status::{GrpcStatus, status_of_http};
pub use stream::{Messages, ServerStream};
pub use timeout::{format_timeout, parse_timeout};
pub use unary::Unary;
