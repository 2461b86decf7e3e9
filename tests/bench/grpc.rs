//! As much of gRPC as the load and the app need: framed messages, and the two of Dapr's own.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

/// The content type of every call.
pub(crate) const CONTENT_TYPE: &str = "application/grpc";
/// The app's unary method.
pub(crate) const UNARY: &str = "/bench.Bench/Unary";
/// The app's method that sends every message back.
pub(crate) const ECHO: &str = "/bench.Bench/Echo";
/// What a sidecar calls for `InvokeService` and for HTTP calls.
pub(crate) const ON_INVOKE: &str = "/dapr.proto.runtime.v1.AppCallback/OnInvoke";
/// What an app calls.
pub(crate) const INVOKE_SERVICE: &str = "/dapr.proto.runtime.v1.Dapr/InvokeService";

const OK: HeaderValue = HeaderValue::from_static("0");
const UNIMPLEMENTED: HeaderValue = HeaderValue::from_static("12");
/// How long one call may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// A message with its head: one byte, and the length in four.
pub(crate) fn framed(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(message.len() + 5);
    framed.put_u8(0);
    framed.put_u32(message.len() as u32);
    framed.put_slice(message);
    framed.freeze()
}

/// A length-delimited field of a message.
fn field(number: u8, content: &[u8], into: &mut Vec<u8>) {
    into.push(number << 3 | 2);
    let mut length = content.len();
    while length >= 0x80 {
        into.push(length as u8 | 0x80);
        length >>= 7;
    }
    into.push(length as u8);
    into.extend_from_slice(content);
}

/// `Any` with these bytes as its value.
fn any(value: &[u8]) -> Vec<u8> {
    let mut any = Vec::new();
    field(2, value, &mut any);
    any
}

/// An `InvokeServiceRequest` that posts `body` to a method.
pub(crate) fn invoke_service(app_id: &str, method: &str, body: &[u8]) -> Bytes {
    let mut message = Vec::new();
    field(1, method.as_bytes(), &mut message);
    field(2, &any(body), &mut message);
    field(3, b"application/octet-stream", &mut message);
    // `HTTPExtension` with the verb POST.
    field(4, &[1 << 3, 3], &mut message);
    let mut request = Vec::new();
    field(1, app_id.as_bytes(), &mut request);
    field(3, &message, &mut request);
    framed(&request)
}

/// An `InvokeResponse` with these bytes.
pub(crate) fn invoke_response(body: &[u8]) -> Bytes {
    let mut response = Vec::new();
    field(1, &any(body), &mut response);
    field(2, b"application/octet-stream", &mut response);
    framed(&response)
}

/// The body of a good answer: some data, then the status.
pub(crate) struct Answer<B> {
    body: B,
    is_over: bool,
}

impl<B> Answer<B> {
    pub(crate) fn new(body: B) -> Self {
        Self { body, is_over: false }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Answer<B> {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        match std::task::ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(Ok(frame)) if frame.is_data() => Poll::Ready(Some(Ok(frame))),
            Some(Ok(_)) | None => {
                self.is_over = true;
                let mut trailers = HeaderMap::with_capacity(1);
                trailers.insert("grpc-status", OK);
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
            Some(Err(_)) => Poll::Ready(Some(Err(std::io::Error::other("the caller went away")))),
        }
    }
}

/// An answer with a body that has a status at its end.
pub(crate) fn answer<B>(body: B) -> integration_tests::Response
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
{
    let mut response = Response::new(Answer::new(body).boxed_unsync());
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    response
}

/// The answer to a method that the app does not have.
pub(crate) fn unimplemented() -> integration_tests::Response {
    let mut response = integration_tests::text(200, Bytes::new());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    headers.insert("grpc-status", UNIMPLEMENTED);
    response
}

/// A message whose length is not declared, as gRPC libraries have it.
pub(crate) struct Undeclared(pub(crate) Option<Bytes>);

impl Body for Undeclared {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::convert::Infallible>>> {
        Poll::Ready(self.0.take().map(|data| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }
}

/// A connection to a gRPC port.
pub(crate) async fn connect<B>(port: u16) -> Result<SendRequest<B>, String>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: std::error::Error + Send + Sync,
{
    let socket = TcpStream::connect(("127.0.0.1", port))
        .await
        .map_err(|error| error.to_string())?;
    socket.set_nodelay(true).map_err(|error| error.to_string())?;
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .handshake(TokioIo::new(socket))
        .await
        .map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    Ok(sender)
}

/// The head of a call.
pub(crate) fn request<B>(port: u16, path: &str, headers: &[(&'static str, String)], body: B) -> Request<B> {
    let mut request = Request::new(body);
    *request.method_mut() = Method::POST;
    *request.uri_mut() = format!("http://127.0.0.1:{port}{path}")
        .parse()
        .expect("a valid URI");
    let map = request.headers_mut();
    map.insert(header::TE, HeaderValue::from_static("trailers"));
    map.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    for (name, value) in headers {
        map.insert(*name, HeaderValue::from_str(value).expect("a valid header"));
    }
    request
}

/// Makes one unary call and returns the length of the answered message; an error unless the status is OK.
pub(crate) async fn call(
    port: u16,
    path: &str,
    headers: &[(&'static str, String)],
    message: Bytes,
) -> Result<usize, String> {
    let calling = async {
        let mut sender = connect(port).await?;
        let request = request(port, path, headers, Undeclared(Some(message)));
        let answer = sender
            .send_request(request)
            .await
            .map_err(|error| error.to_string())?;
        unary_answer(answer).await
    };
    tokio::time::timeout(PATIENCE, calling)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs())))
}

/// The length of the answer to a unary call; an error unless the status is OK.
pub(crate) async fn unary_answer(answer: Response<Incoming>) -> Result<usize, String> {
    let (head, body) = answer.into_parts();
    let body = body.collect().await.map_err(|error| error.to_string())?;
    let trailers = body.trailers().unwrap_or(&head.headers);
    let text = |name: &str| {
        let value = trailers.get(name).map(HeaderValue::as_bytes).unwrap_or_default();
        String::from_utf8_lossy(value).into_owned()
    };
    if text("grpc-status") != "0" {
        return Err(format!(
            "{}, grpc-status {:?}: {}",
            head.status,
            text("grpc-status"),
            text("grpc-message")
        ));
    }
    Ok(body.to_bytes().len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_encoded_as_protobuf_has_it() {
        assert_eq!(&framed(b"ab")[..], b"\0\0\0\0\x02ab");
        let long = any(&[7; 300]);
        assert_eq!(&long[..3], [0x12, 0xac, 0x02]);
        assert_eq!(long.len(), 303);
        let request = invoke_service("a", "m", b"x");
        assert_eq!(&request[5..8], [0x0a, 1, b'a']);
        assert_eq!(request[8], 0x1a);
    }
}
