//! How the sidecar calls its app, and external HTTP endpoints.
//!
//! [`HttpChannel`] implements [`invoke_core::AppChannel`] for apps that speak HTTP/1.1 or HTTP/2 in clear text:
//! it builds the request (URL, headers, framing), sends it over a pool of connections and turns the answer into
//! a reply whose body streams. [`External`] implements [`invoke_core::ExternalEndpoints`] for whole URLs.
//! [`wait_for_app`] holds the start of the sidecar until the app listens.
//!
//! This crate knows app protocols; it knows no peers, no resolvers and no API. Error texts are those that Go's
//! HTTP client prints, because callers of Dapr see them. gRPC apps, TLS, health probes and the concurrency limit
//! have their place here, too.

mod channel;
mod external;
mod failure;
mod length;
mod request;
mod response;
mod url;
mod wait;

pub use channel::{ChannelError, HttpChannel, HttpProtocol, HttpSettings};
pub use external::External;
pub use wait::{load_app_configuration, wait_for_app};
