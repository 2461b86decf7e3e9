//! What stands in front of the calls of each port, for the log.

use api_core::ApiLists;

/// What is switched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Enabled {
    /// Trace contexts are read and given back.
    traces: bool,
    metrics: bool,
    /// APIs are allowed or denied by lists.
    api_lists: bool,
}

impl Enabled {
    pub(super) fn new(traces: bool, metrics: bool, lists: &ApiLists) -> Self {
        Self {
            traces,
            metrics,
            api_lists: !lists.allowed.is_empty() || !lists.denied.is_empty(),
        }
    }

    pub(super) fn say_of_http(self) {
        if self.traces {
            tracing::info!(target: "dapr.runtime.http", "Enabled tracing HTTP middleware");
        }
        if self.metrics {
            tracing::info!(target: "dapr.runtime.http", "Enabled metrics HTTP middleware");
        }
    }

    pub(super) fn say_of_grpc(self) {
        if self.api_lists {
            tracing::info!(target: "dapr.runtime.grpc.api", "Enabled API access list on gRPC server");
        }
        if self.traces {
            tracing::info!(target: "dapr.runtime.grpc.api", "Enabled gRPC tracing middleware");
        }
        if self.metrics {
            tracing::info!(target: "dapr.runtime.grpc.api", "Enabled gRPC metrics middleware");
        }
    }

    pub(super) fn say_of_internal(self) {
        if self.traces {
            tracing::info!(target: "dapr.runtime.grpc.internal", "Enabled gRPC tracing middleware");
        }
        if self.metrics {
            tracing::info!(target: "dapr.runtime.grpc.internal", "Enabled gRPC metrics middleware");
        }
    }
}
