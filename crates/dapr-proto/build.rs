//! Compiles `proto/` without a system `protoc`.

use std::path::{Path, PathBuf};
use std::{env, error::Error, fs};

use prost::Message;

const FILES: &[&str] = &[
    "dapr/proto/common/v1/common.proto",
    "dapr/proto/internals/v1/apiversion.proto",
    "dapr/proto/internals/v1/reminders.proto",
    "dapr/proto/internals/v1/service_invocation.proto",
    "dapr/proto/internals/v1/status.proto",
    "dapr/proto/operator/v1/operator.proto",
    "dapr/proto/runtime/v1/appcallback.proto",
    "dapr/proto/runtime/v1/dapr.proto",
    "dapr/proto/runtime/v1/invoke.proto",
    "dapr/proto/runtime/v1/metadata.proto",
    "dapr/proto/sentry/v1/sentry.proto",
];

/// The messages of OTLP and of Prometheus. They are not ours to describe, so that reflection does not know them.
const OTHERS: &[&str] = &[
    "io/prometheus/client/metrics.proto",
    "opentelemetry/proto/collector/metrics/v1/metrics_service.proto",
    "opentelemetry/proto/collector/trace/v1/trace_service.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    println!("cargo:rerun-if-changed={}", root.display());
    let descriptors = protox::compile(FILES, [&root])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    for descriptors in [descriptors, protox::compile(OTHERS, [&root])?] {
        let mut config = tonic_prost_build::Config::new();
        config.bytes(["."]);
        tonic_prost_build::configure()
            .build_client(true)
            .build_server(true)
            .build_transport(false)
            .compile_fds_with_config(descriptors, config)?;
    }
    Ok(())
}
