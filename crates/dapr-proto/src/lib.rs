//! The messages and services of Dapr, and the messages of OpenTelemetry and of Prometheus that carry spans and
//! metrics. They are compiled from `proto/` at build time.
//!
//! Packages, file paths, names and numbers are those of Dapr's own files, so that peers and SDKs cannot tell the
//! difference; the files themselves are written anew and hold what service invocation needs. `bytes` fields are
//! [`bytes::Bytes`], so that a payload is shared with the frame it came in.
//!
//! Nothing in this crate has behaviour. The data path between sidecars does not use the generated messages (it
//! encodes by hand, without copies) but tests hold it against them. [`FILE_DESCRIPTOR_SET`] is what gRPC
//! reflection serves.

/// The encoded `google.protobuf.FileDescriptorSet` of all files, with what they import.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// The packages as they nest, since the generated code names its neighbours by way of their parents.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    reason = "generated"
)]
mod generated {
    macro_rules! package {
        ($($module:ident: $package:literal),* $(,)?) => {
            $(pub mod $module {
                pub mod v1 {
                    include!(concat!(env!("OUT_DIR"), "/", $package, ".rs"));
                }
            })*
        };
    }

    package! {
        common: "dapr.proto.common.v1",
        internals: "dapr.proto.internals.v1",
        operator: "dapr.proto.operator.v1",
        runtime: "dapr.proto.runtime.v1",
        sentry: "dapr.proto.sentry.v1",
    }
}

/// The packages of OTLP, the same way.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    reason = "generated"
)]
mod opentelemetry {
    pub mod common {
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/opentelemetry.proto.common.v1.rs"));
        }
    }
    pub mod resource {
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/opentelemetry.proto.resource.v1.rs"));
        }
    }
    pub mod trace {
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/opentelemetry.proto.trace.v1.rs"));
        }
    }
    pub mod metrics {
        pub mod v1 {
            include!(concat!(env!("OUT_DIR"), "/opentelemetry.proto.metrics.v1.rs"));
        }
    }
    pub mod collector {
        pub mod metrics {
            pub mod v1 {
                include!(concat!(
                    env!("OUT_DIR"),
                    "/opentelemetry.proto.collector.metrics.v1.rs"
                ));
            }
        }
        pub mod trace {
            pub mod v1 {
                include!(concat!(
                    env!("OUT_DIR"),
                    "/opentelemetry.proto.collector.trace.v1.rs"
                ));
            }
        }
    }
}

/// OTLP, the protocol of OpenTelemetry, as far as it gives spans and metrics to a collector
/// (<https://opentelemetry.io/docs/specs/otlp/>).
pub mod otlp {
    /// The part of it that is about metrics.
    pub mod metrics {
        pub use super::super::opentelemetry::collector::metrics::v1::*;
        pub use super::super::opentelemetry::metrics::v1::*;
    }

    pub use super::opentelemetry::collector::trace::v1::*;
    pub use super::opentelemetry::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
    pub use super::opentelemetry::resource::v1::Resource;
    pub use super::opentelemetry::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span, status};
}

/// Families of metrics as Prometheus scrapes them in its protobuf form
/// (<https://prometheus.io/docs/instrumenting/exposition_formats/>).
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    reason = "generated"
)]
pub mod prometheus {
    pub use prost_types::Timestamp;

    include!(concat!(env!("OUT_DIR"), "/io.prometheus.client.rs"));
}

/// `dapr.proto.common.v1`: what the other packages share.
pub use generated::common::v1 as common;
/// `dapr.proto.internals.v1`: between sidecars.
pub use generated::internals::v1 as internals;
/// `dapr.proto.operator.v1`: where a sidecar in Kubernetes gets its resources.
pub use generated::operator::v1 as operator;
/// `dapr.proto.runtime.v1`: between a sidecar and its app.
pub use generated::runtime::v1 as runtime;
/// `dapr.proto.sentry.v1`: the certificate authority.
pub use generated::sentry::v1 as sentry;

#[cfg(test)]
mod tests;
