//! A gRPC server that has no method.

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Request, Response};
use http_body_util::Empty;

use super::{Handler, RequestBody};
use crate::grpc::GrpcStatus;

const UNIMPLEMENTED: i32 = 12;

/// Answers every call with the status "unimplemented" and the name of what is not there, as gRPC servers do for
/// services that nobody registered.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unimplemented;

impl Handler for Unimplemented {
    type Body = Empty<Bytes>;

    async fn call(&self, request: Request<RequestBody>) -> Response<Empty<Bytes>> {
        let path = request.uri().path();
        let service = path
            .trim_start_matches('/')
            .rsplit_once('/')
            .map_or(path, |(service, _)| service);
        let mut response = Response::new(Empty::new());
        let grpc = HeaderValue::from_static("application/grpc");
        response.headers_mut().insert(header::CONTENT_TYPE, grpc);
        let status = GrpcStatus::new(UNIMPLEMENTED, format!("unknown service {service}"));
        status.write(response.headers_mut());
        response
    }
}
