//! What middleware answers in the place of others.

use http::header::{self, HeaderValue};
use http::{Response, StatusCode};
use invoke_core::Body;

/// A refusal: a status with a text.
pub(crate) fn refused(status: StatusCode, text: impl Into<bytes::Bytes>) -> Response<Body> {
    let mut answer = Response::new(Body::full(text));
    *answer.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(header::CONTENT_TYPE, plain);
    answer
}
