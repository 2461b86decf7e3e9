//! Traces: an observer that makes Dapr's spans, and exporters that give them to collectors.
//!
//! [`Plan`] is what a configuration and the variables of OpenTelemetry want; [`Plan::begin`] makes the observer
//! [`Traces`] of it. A call that is not sampled costs two random ids; one that is costs a span that is
//! filled while the call goes on and put into a bounded queue at its end. Everything else (encoding, connections, waiting
//! for a collector) is the work of one task for each exporter. When the observer goes, with the generation of the
//! configuration that it belongs to, its exporters send what is left and end.
//!
//! The exporters are our own: those of the OpenTelemetry crates bring a second HTTP/2, a second HTTP/1 client and a
//! batch processor with a thread each, and their spans cannot be given the ids and the flags that Dapr's have.

mod batching;
mod error;
mod export;
mod grpc;
mod observer;
mod otlp;
mod plan;
mod post;
mod sampler;
mod settings;
mod span;
mod stdout;
mod zipkin;

pub use error::TraceError;
pub use export::Exporters;
pub(crate) use export::Refused;
pub(crate) use grpc::OtlpGrpc;
pub use observer::{TraceTicket, Traces};
pub(crate) use otlp::{Resource, attribute};
pub use plan::Plan;
pub(crate) use post::HttpPost;
pub use settings::{OtelSpec, TraceSpec};

#[cfg(test)]
mod tests;
