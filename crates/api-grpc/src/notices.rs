//! What the log says once in the life of a process.

use std::sync::Once;

const SCOPE: &str = "dapr.runtime.grpc.api";

/// Somebody calls `InvokeService`.
pub(crate) fn invoke_service() {
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        tracing::warn!(
            target: SCOPE,
            "[DEPRECATION NOTICE] InvokeService is deprecated and will be removed in the future, please use proxy mode \
             instead."
        );
    });
}

/// An HTTP app answered such a call.
pub(crate) fn of_http_app() {
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        tracing::warn!(
            target: SCOPE,
            "[DEPRECATION NOTICE] Invocation path of gRPC -> HTTP is deprecated and will be removed in the future."
        );
    });
}
