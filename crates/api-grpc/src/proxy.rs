//! Calls of services that are the apps' own.

use grpc_wire::GrpcStatus;
use http::Response;
use invoke_codec::metadata::app_target;
use invoke_core::{Body, Invoke, Proxied};

use crate::status;

/// Passes a call on to the app that its metadata names.
pub(crate) async fn pass_on<I: Invoke>(
    invoke: &I,
    call: Proxied,
    is_traced: bool,
) -> Result<Response<Body>, GrpcStatus> {
    let Some(target) = app_target(&call.head.headers) else {
        return Err(status::no_target(call.head.path.path(), is_traced));
    };
    let target = String::from_utf8_lossy(target.as_bytes()).into_owned();
    invoke.proxy(&target, call).await.map_err(status::of_proxied)
}
