//! Peers of other kinds and with other limits: sidecars of Dapr, new and old.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};

use bytes::Bytes;
use grpc_wire::{MessageError, MessageReader, trailers_only};
use http_body::{Frame, SizeHint};
use transport::server::{Handler, RequestBody};

use super::*;
use crate::codec::{decode_request, decode_request_stream, encode_response, encode_response_stream};

/// A peer of which a test knows all that it does.
#[derive(Clone)]
struct Scripted {
    kind: Kind,
    seen: Arc<Mutex<Vec<String>>>,
}

#[derive(Clone, Copy)]
enum Kind {
    /// Knows `CallLocal` only.
    Old,
    /// Knows streams, takes messages of so many bytes, and says nothing of it.
    Silent(usize),
    /// Answers a piece of the body, and then this status.
    Breaking(i32),
}

/// Data frames, then trailers.
#[derive(Default)]
struct Answer(VecDeque<Frame<Bytes>>);

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }
}

fn answer(messages: Vec<Bytes>, status: &GrpcStatus) -> Response<Answer> {
    let mut frames: VecDeque<_> = messages.into_iter().map(Frame::data).collect();
    frames.push_back(Frame::trailers(status.to_trailers()));
    let mut response = Response::new(Answer(frames));
    response
        .headers_mut()
        .insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}

fn reply() -> Reply {
    Reply::new(WireStatus::http(http::StatusCode::OK), Route::Local)
}

fn framed(write: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut message = BytesMut::new();
    begin_message(&mut message);
    write(&mut message);
    finish_message(&mut message, 0, 0);
    message.freeze()
}

impl Scripted {
    async fn start(kind: Kind) -> (Self, Endpoint, lifecycle::ShutdownTrigger) {
        let listener = Listener::tcp("127.0.0.1:0", Patience::None).await.unwrap();
        let endpoint = Endpoint::new(listener.local_addr().unwrap().to_string());
        let (trigger, shutdown) = Shutdown::new();
        let peer = Self {
            kind,
            seen: Arc::default(),
        };
        let config = GrpcServerConfig {
            // As much as HTTP/2 begins with, and Go's gRPC, too.
            stream_window: 65_535,
            ..GrpcServerConfig::default()
        };
        tokio::spawn(serve_grpc(listener, config, peer.clone(), shutdown));
        (peer, endpoint, trigger)
    }

    fn seen(&self) -> Vec<String> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }

    /// Tells how many bytes of a body it got.
    async fn counted(&self, body: RequestBody, max: usize) -> Result<Bytes, MessageError> {
        let mut messages = MessageReader::new(body, max);
        let mut length = 0;
        while let Some(message) = messages.next().await {
            let (_, message) = message?;
            let payload = decode_request_stream(&message).unwrap().payload;
            length += payload.map_or(0, |payload| payload.data.len());
        }
        Ok(Bytes::from(length.to_string()))
    }
}

impl Handler for Scripted {
    type Body = Answer;

    async fn call(&self, request: Request<RequestBody>) -> Response<Answer> {
        let (parts, body) = request.into_parts();
        let method = parts.uri.path().rsplit('/').next().unwrap().to_owned();
        self.seen.lock().unwrap().push(method.clone());
        let grpc = HeaderValue::from_static("application/grpc");
        match (self.kind, method.as_str()) {
            (Kind::Old, "CallLocal") => {
                let mut messages = MessageReader::new(body, usize::MAX);
                let (_, message) = messages.next().await.unwrap().unwrap();
                let data = decode_request(&message).unwrap().data;
                let data = data.len().to_string();
                let message = framed(|out| encode_response(&reply(), data.as_bytes(), out).unwrap());
                answer(vec![message], &GrpcStatus::default())
            }
            (Kind::Old, _) => trailers_only(&GrpcStatus::new(12, "Method not found!"), grpc),
            (Kind::Silent(max), _) => match self.counted(body, max).await {
                Ok(length) => {
                    let message = framed(|out| {
                        encode_response_stream(&reply(), true, out).unwrap();
                        crate::codec::put_payload_head(out, 0, length.len());
                        out.extend_from_slice(&length);
                    });
                    answer(vec![message], &GrpcStatus::default())
                }
                Err(error) => trailers_only(&GrpcStatus::new(8, error.to_string()), grpc),
            },
            (Kind::Breaking(code), _) => {
                let message = framed(|out| {
                    encode_response_stream(&reply(), true, out).unwrap();
                    crate::codec::put_payload_head(out, 0, 4);
                    out.extend_from_slice(b"half");
                });
                answer(vec![message], &GrpcStatus::new(code, "larger than max"))
            }
        }
    }
}

/// A body of declared length that comes in pieces.
struct Declared(VecDeque<Bytes>);

impl Declared {
    fn of(length: usize, piece: usize) -> Body {
        let whole = Bytes::from(vec![b'x'; length]);
        let pieces = (0..length).step_by(piece);
        let pieces = pieces.map(|at| whole.slice(at..length.min(at + piece)));
        Body::stream(Self(pieces.collect()))
    }
}

impl http_body::Body for Declared {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.iter().map(|piece| piece.len() as u64).sum())
    }
}

async fn text(reply: Reply) -> String {
    let body = reply.body.collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

#[tokio::test]
async fn an_old_peer_is_called_again_in_one_message() {
    let (peer, endpoint, _trigger) = Scripted::start(Kind::Old).await;
    let client = Client::new(ClientConfig::default(), Tasks::new());
    let app = AppRef::new("you", "default");
    for (body, wanted) in [
        (Body::empty(), "0"),
        (Body::full("hello"), "5"),
        (Body::full(vec![0; 3_000_000]), "3000000"),
        (Declared::of(20, 5), "20"),
        (Declared::of(100_000, 10_000), "100000"),
        (Declared::of(3_000_000, 16_384), "3000000"),
    ] {
        let reply = client
            .invoke(&app, &endpoint, &head("m"), None, body)
            .await
            .unwrap();
        assert_eq!(reply.status.code, 200);
        assert_eq!(text(reply).await, wanted);
        assert_eq!(peer.seen(), ["CallLocalStream", "CallLocal"], "{wanted}");
    }
}

/// A peer that has taken more than is kept before it says that it knows no streams cannot be called again.
#[tokio::test]
async fn of_a_stream_to_an_old_peer_a_part_is_kept() {
    let endpoint = Endpoint::new("127.0.0.1:1");
    for (length, is_kept) in [(256 * 1024, true), (256 * 1024 + 1, false)] {
        let mut body = Declared::of(length, 16 * 1024);
        let again = old::Again::of(&mut body, &endpoint);
        // What was handed out counts as gone by.
        assert_eq!(body.collect().await.unwrap().to_bytes().len(), length);
        assert_eq!(again.body().is_some(), is_kept, "{length}");
    }
}

#[tokio::test]
async fn an_old_peer_cannot_be_called_with_a_body_of_unknown_length() {
    let (peer, endpoint, _trigger) = Scripted::start(Kind::Old).await;
    let client = Client::new(ClientConfig::default(), Tasks::new());
    let app = AppRef::new("you", "default");
    let (mut sender, body) = channel();
    sender.send_data("x".into()).await.unwrap();
    let error = client
        .invoke(&app, &endpoint, &head("m"), None, body)
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "target app 'you' is running a version of Dapr that does not support streaming-based service invocation"
    );
    assert_eq!(peer.seen(), ["CallLocalStream"]);
}

#[tokio::test]
async fn an_old_peer_gets_no_message_that_is_too_long() {
    let (peer, endpoint, _trigger) = Scripted::start(Kind::Old).await;
    let config = ClientConfig {
        max_message: 100_000,
        ..ClientConfig::default()
    };
    let client = Client::new(config, Tasks::new());
    let app = AppRef::new("you", "default");
    for body in [Body::full(vec![0; 100_000]), Declared::of(200_000, 10_000)] {
        let error = client
            .invoke(&app, &endpoint, &head("m"), None, body)
            .await
            .unwrap_err();
        assert_eq!(error.rpc_code(), Some(code::RESOURCE_EXHAUSTED), "{error}");
        assert_eq!(peer.seen(), ["CallLocalStream"]);
    }
}

#[tokio::test]
async fn a_peer_that_says_nothing_gets_short_messages() {
    let (_, endpoint, _trigger) = Scripted::start(Kind::Silent(2048)).await;
    let client = Client::new(ClientConfig::default(), Tasks::new());
    let app = AppRef::new("you", "default");
    for _ in 0..2 {
        for length in [0, 1, 1500, 2048, 16_384, 100_000, 1_000_000] {
            for body in [Body::full(vec![0; length]), Declared::of(length, 30_000)] {
                let reply = client
                    .invoke(&app, &endpoint, &head("m"), None, body)
                    .await
                    .unwrap();
                assert_eq!(text(reply).await, length.to_string());
            }
        }
    }
    assert_eq!(endpoint.longest_message(), Some(2048));
}

#[tokio::test]
async fn a_caller_that_says_nothing_gets_short_messages() {
    let pair = pair().await;
    let app = AppRef::new("you", "default");
    for length in [0, 1, 1500, 2048, 16_384, 100_000, 1_000_000] {
        let mut first = BytesMut::new();
        begin_message(&mut first);
        encode_request_stream(&head("echo"), &mut first).unwrap();
        let body = Body::full(vec![7; length]);
        let (frames, _) = Frames::of_client(first, body, MessageLimit::UNTOLD);
        let path = PathAndQuery::from_static(CALL_LOCAL_STREAM);
        let request = post(path, hop_headers(&head("echo"), None), Either::Left(frames));
        let link = pair.client.link(&app, &pair.endpoint);
        let answer = pair.client.pool.send_to(&link, request).await.unwrap();
        let reply = reply::of_stream(answer, 2048).await.unwrap();
        assert_eq!(reply.body.collect().await.unwrap().to_bytes().len(), length);
    }
}

#[tokio::test]
async fn bodies_pass_whatever_the_limits_are() {
    let app = AppRef::new("you", "default");
    for server in [2048, 16 << 10, 32 << 10, 4 << 20] {
        let pair = pair_of(server).await;
        for max_message in [2048, 16 << 10, 32 << 10, 4 << 20] {
            let config = ClientConfig {
                max_message,
                ..ClientConfig::default()
            };
            let client = Client::new(config, Tasks::new());
            for length in [70_000, 100_000, 1_000_000] {
                let body = Declared::of(length, 50_000);
                let reply = client
                    .invoke(&app, &pair.endpoint, &head("echo"), None, body)
                    .await;
                let body = reply.unwrap().body.collect().await;
                let got = body.unwrap().to_bytes().len();
                assert_eq!(got, length, "{server} {max_message}");
            }
            assert_eq!(pair.endpoint.longest_message(), Some(server));
        }
    }
}

#[tokio::test]
async fn an_answer_that_breaks_in_the_middle_never_looks_whole() {
    for code in [1, 2, 8, 12, 13, 14] {
        let (_, endpoint, _trigger) = Scripted::start(Kind::Breaking(code)).await;
        let client = Client::new(ClientConfig::default(), Tasks::new());
        let app = AppRef::new("you", "default");
        let reply = client
            .invoke(&app, &endpoint, &head("m"), None, Body::empty())
            .await;
        let mut body = reply.unwrap().body;
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "half");
        let error = body.frame().await.unwrap().unwrap_err();
        assert!(error.to_string().contains("larger than max"), "{code}: {error}");
    }
}
