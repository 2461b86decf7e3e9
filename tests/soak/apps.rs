//! What the apps do.

use futures_util::TryStreamExt;
use http_body_util::{BodyExt, BodyStream, StreamBody};
use integration_tests::{Request, Response};

/// Gives every request its body back, piece by piece; a gRPC call with a status at the end.
pub(crate) async fn echo(request: Request) -> Response {
    let is_grpc = request
        .headers()
        .get("content-type")
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    // Of unknown length: an app that declares a length and closes early is a case of its own, whose answer callers get as
    // it is. And without empty frames, of which an HTTP/2 connection bears few.
    let body = BodyStream::new(request.into_body().map_err(std::io::Error::other));
    let body = StreamBody::new(body.try_filter(|frame| {
        let is_empty = frame.data_ref().is_some_and(bytes::Bytes::is_empty);
        std::future::ready(!is_empty)
    }));
    if !is_grpc {
        return http::Response::new(body.boxed_unsync());
    }
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
    let body = body.with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = http::Response::new(body.boxed_unsync());
    let grpc = http::HeaderValue::from_static("application/grpc");
    response.headers_mut().insert("content-type", grpc);
    response
}
