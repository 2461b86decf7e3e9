//! gRPC as it is on the wire: a client and an app that are made of HTTP/2 streams.
//!
//! Nothing is hidden behind a library for gRPC: a test sees every header, sends what no library would, and decides
//! when windows open, when streams are reset and when connections go away.

mod answer;
mod app;
mod call;
mod client;
mod messages;
mod stream;

pub use answer::{Answer, percent_decoded};
pub use app::{GrpcApp, Setup};
pub use call::{End, GrpcCall};
pub use client::GrpcClient;
pub use messages::{Any, HttpExtension, InvokeRequest, InvokeResponse, InvokeServiceRequest};
pub use stream::GrpcStream;

/// The method that invokes an app.
pub const INVOKE_SERVICE: &str = "/dapr.proto.runtime.v1.Dapr/InvokeService";
/// The method of an app that is invoked.
pub const ON_INVOKE: &str = "/dapr.proto.runtime.v1.AppCallback/OnInvoke";

use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::{Reason, RecvStream, SendStream};

/// One message as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// 1 for a compressed one.
    pub flag: u8,
    /// The bytes, not unpacked.
    pub data: Bytes,
}

/// A message with its head.
pub fn framed(flag: u8, data: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(5 + data.len());
    out.put_u8(flag);
    out.put_u32(data.len() as u32);
    out.put_slice(data);
    out.freeze()
}

/// Reads messages from a stream.
#[derive(Debug)]
struct Reader {
    stream: RecvStream,
    buffer: BytesMut,
}

impl Reader {
    fn new(stream: RecvStream) -> Self {
        Self {
            stream,
            buffer: BytesMut::new(),
        }
    }

    /// The next message; `None` at the end of the stream.
    async fn next(&mut self) -> Result<Option<Message>, h2::Error> {
        loop {
            if let [flag, a, b, c, d, ..] = self.buffer[..] {
                let length = u32::from_be_bytes([a, b, c, d]) as usize;
                if self.buffer.len() >= 5 + length {
                    self.buffer.advance(5);
                    let data = self.buffer.split_to(length).freeze();
                    return Ok(Some(Message { flag, data }));
                }
            }
            match self.stream.data().await {
                None => return Ok(None),
                Some(data) => {
                    let data = data?;
                    self.buffer.extend_from_slice(&data);
                    // A stream that is over has no window to give back.
                    let _ = self.stream.flow_control().release_capacity(data.len());
                }
            }
        }
    }
}

/// Sends bytes as the window of the other side allows.
async fn send_all(stream: &mut SendStream<Bytes>, mut data: Bytes) -> Result<(), h2::Error> {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let granted = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
        let granted = granted.ok_or(h2::Error::from(Reason::CANCEL))??;
        if granted > 0 {
            let piece = data.split_to(granted.min(data.len()));
            stream.send_data(piece, false)?;
        }
    }
    Ok(())
}

/// Headers from pairs; what a value is made of is up to the test.
fn put(headers: &mut http::HeaderMap, pairs: &[(&str, &str)]) {
    for (name, value) in pairs {
        let name = http::HeaderName::from_bytes(name.as_bytes()).expect("a name");
        let value = http::HeaderValue::from_bytes(value.as_bytes()).expect("a value");
        headers.append(name, value);
    }
}
