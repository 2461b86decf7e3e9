//! How the sidecar calls its app, and external HTTP endpoints.
//!
//! [`App`] implements [`invoke_core::AppChannel`] with one of two channels. [`HttpChannel`] calls apps that speak
//! HTTP/1.1 or HTTP/2 in clear text: it builds the request (URL, headers, framing), sends it over a pool of
//! connections, and turns the answer into a reply whose body streams. [`GrpcChannel`] calls `AppCallback/OnInvoke` of
//! gRPC apps, and passes proxied calls on to any app. [`External`] implements [`invoke_core::ExternalEndpoints`] for
//! whole URLs and for endpoints that have a name. [`wait_for_app`] holds the start of the sidecar until the app
//! listens.
//!
//! This crate knows app protocols; it knows no peers, no resolvers and no API. Error texts are those that Go's HTTP
//! client and gRPC for Go print, because callers of Dapr see them. TLS to the app, health probes and the concurrency
//! limit are here, too.

mod app;
mod cache;
mod channel;
mod endpoint;
mod external;
mod failure;
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub mod fuzz;
mod grpc;
mod health;
mod length;
mod limit;
mod piped;
mod redirect;
mod request;
mod response;
mod sync;
mod url;
mod wait;
mod watched;

pub use app::App;
pub use channel::{ChannelError, HttpChannel, HttpProtocol, HttpSettings};
pub use endpoint::{EndpointError, EndpointSettings, NamedEndpoint};
pub use external::{External, ExternalChannel, ExternalSettings};
pub use grpc::{GrpcChannel, GrpcSettings};
pub use health::{AppHealth, Probe, ProbeSettings};
pub use limit::{ConcurrencyLimit, LimitUsage, Place};
pub use transport::client::Reuse;
pub use wait::{load_app_configuration, load_subscriptions, wait_for_app};
pub use watched::{GrpcCall, HttpCall, Observer, Watched};
