//! Unary calls of the gRPC API, with messages written by hand.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

/// What a caller gets.
pub(crate) struct Answer {
    pub(crate) code: i32,
    pub(crate) message: String,
    /// The message of the answer.
    pub(crate) body: Bytes,
}

/// Calls a method of `dapr.proto.runtime.v1.Dapr`.
pub(crate) async fn call(port: u16, method: &str, headers: &[(&str, &str)], message: &[u8]) -> Answer {
    let socket = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(socket))
        .await
        .unwrap();
    tokio::spawn(connection);
    let mut request = http::Request::post(format!("http://127.0.0.1/dapr.proto.runtime.v1.Dapr/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut body = vec![0];
    body.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    body.extend(message);
    let request = request.body(Full::new(Bytes::from(body))).unwrap();
    let (head, body) = sender.send_request(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap();
    let trailers = body.trailers().cloned().unwrap_or_default();
    let text = |name: &str| {
        let value = trailers.get(name).or_else(|| head.headers.get(name));
        value.map_or("", |value| value.to_str().unwrap()).to_owned()
    };
    Answer {
        code: text("grpc-status").parse().unwrap(),
        message: text("grpc-message"),
        body: body.to_bytes(),
    }
}

/// Calls `InvokeService` with the verb `GET`.
pub(crate) async fn invoke(port: u16, app_id: &str, method: &str, headers: &[(&str, &str)]) -> Answer {
    // InvokeServiceRequest: id = 1, message = 3; InvokeRequest: method = 1, http_extension = 4 { verb = 1 }.
    let mut inner = field(1, method.as_bytes());
    inner.extend(field(4, &[1 << 3, 1]));
    let mut message = field(1, app_id.as_bytes());
    message.extend(field(3, &inner));
    call(port, "InvokeService", headers, &message).await
}

/// A field of some bytes, fewer than 128.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2, u8::try_from(bytes.len()).unwrap()];
    field.extend(bytes);
    field
}
