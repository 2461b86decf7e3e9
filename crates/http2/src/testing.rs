//! What the tests share: peers that are scripted frame by frame.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::channel::{Channel, Sender as BodySender};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinHandle;

use crate::frame::{self, FrameHead, HEAD, PREFACE, flag, kind, setting};
use crate::state::Shared;
use crate::{BoxError, Config, Error, Reason, RecvBody, client, server};

/// Bounds a hang; nothing waits so long otherwise.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) type Body = UnsyncBoxBody<Bytes, BoxError>;

/// `POST /` over http, as a header block; and a few more.
pub(crate) const POST: &[u8] = &[0x83, 0x86, 0x84];
pub(crate) const HEAD_OK: &[u8] = &[0x88];
/// `content-length: 5`
pub(crate) const LENGTH_5: &[u8] = &[0x0f, 0x0d, 1, b'5'];
/// `a: b`
pub(crate) const FIELD: &[u8] = &[0, 1, b'a', 1, b'b'];

/// What clients say that use frames of 64 KiB, and may send them then.
pub(crate) const LONG_FRAMES: (u16, u32) = (setting::MAX_FRAME_SIZE, 64 * 1024);

/// Awaits what must happen soon.
#[track_caller]
pub(crate) fn soon<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let caller = std::panic::Location::caller();
    async move {
        let ended = tokio::time::timeout(PATIENCE, future).await;
        ended.unwrap_or_else(|_| panic!("{caller}: this hangs"))
    }
}

/// Lets others run until something is so.
#[track_caller]
pub(crate) fn until(mut is_so: impl FnMut() -> bool) -> impl Future<Output = ()> {
    soon(async move {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
}

pub(crate) fn empty() -> Body {
    Empty::new().map_err(BoxError::from).boxed_unsync()
}

pub(crate) fn full(body: impl Into<Bytes>) -> Body {
    Full::new(body.into()).map_err(BoxError::from).boxed_unsync()
}

/// A body that is sent piece by piece.
pub(crate) fn pieces() -> (BodySender<Bytes, BoxError>, Body) {
    let (sender, body) = Channel::new(1);
    (sender, body.boxed_unsync())
}

pub(crate) fn post(body: Body) -> Request<Body> {
    Request::post("http://peer/").body(body).unwrap()
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    frame::put(&mut out, kind, flags, stream, payload.as_ref());
    out
}

/// A whole header block.
pub(crate) fn headers(flags: u8, stream: u32, block: impl AsRef<[u8]>) -> Vec<u8> {
    frame(kind::HEADERS, flags | flag::END_HEADERS, stream, block)
}

pub(crate) fn data(flags: u8, stream: u32, data: impl AsRef<[u8]>) -> Vec<u8> {
    frame(kind::DATA, flags, stream, data)
}

pub(crate) fn reset(stream: u32, reason: Reason) -> Vec<u8> {
    let mut out = Vec::new();
    frame::put_reset(&mut out, stream, reason);
    out
}

pub(crate) fn window_update(stream: u32, increment: u32) -> Vec<u8> {
    let mut out = Vec::new();
    frame::put_window_update(&mut out, stream, increment);
    out
}

pub(crate) fn settings(settings: &[(u16, u32)]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::put_settings(&mut out, settings);
    out
}

pub(crate) fn go_away(last: u32, reason: Reason) -> Vec<u8> {
    let mut out = Vec::new();
    frame::put_go_away(&mut out, last, reason);
    out
}

/// A frame that the other side sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReceivedFrame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl ReceivedFrame {
    pub(crate) fn number(&self, at: usize) -> u32 {
        frame::u32_at(&self.payload, at).unwrap()
    }

    pub(crate) fn is_end(&self) -> bool {
        matches!(self.kind, kind::DATA | kind::HEADERS) && self.flags & flag::END_STREAM != 0
    }
}

/// The scripted end of a connection.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) io: DuplexStream,
}

impl Peer {
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        soon(self.io.write_all(bytes.as_ref())).await.unwrap();
    }

    /// Sends what the other side may not want to read to its end.
    pub(crate) async fn try_send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = soon(self.io.write_all(bytes.as_ref())).await;
    }

    /// Reads what a client begins with.
    pub(crate) async fn preface(&mut self) {
        let mut preface = [0; PREFACE.len()];
        soon(self.io.read_exact(&mut preface)).await.unwrap();
        assert_eq!(&preface, PREFACE);
    }

    /// The next frame of any kind; none when the connection is closed.
    pub(crate) async fn any(&mut self) -> Option<ReceivedFrame> {
        let mut head = [0; HEAD];
        soon(self.io.read_exact(&mut head)).await.ok()?;
        let head = FrameHead::parse(&head).unwrap();
        let mut payload = vec![0; head.length as usize];
        soon(self.io.read_exact(&mut payload)).await.unwrap();
        Some(ReceivedFrame {
            kind: head.kind,
            flags: head.flags,
            stream: head.stream,
            payload,
        })
    }

    /// The next frame of one of these kinds.
    pub(crate) async fn next(&mut self, kinds: &[u8]) -> ReceivedFrame {
        loop {
            let seen = self.any().await.expect("the connection ended");
            if kinds.contains(&seen.kind) {
                return seen;
            }
        }
    }

    /// Waits until everything that was sent was taken in; returns the frames that came on the way.
    pub(crate) async fn sync(&mut self) -> Vec<ReceivedFrame> {
        self.send(frame(kind::PING, 0, 0, b"synchron")).await;
        let mut seen = Vec::new();
        loop {
            let next = self.any().await.expect("the connection ended");
            if next.kind == kind::PING && next.flags == flag::ACK && next.payload == b"synchron" {
                return seen;
            }
            seen.push(next);
        }
    }

    /// Everything up to the end of the connection.
    pub(crate) async fn rest(&mut self) -> Vec<ReceivedFrame> {
        let mut seen = Vec::new();
        while let Some(next) = self.any().await {
            seen.push(next);
        }
        seen
    }

    /// The code with which the connection is broken off.
    pub(crate) async fn breach(&mut self) -> Option<Reason> {
        let seen = self.rest().await;
        let last = seen.iter().rfind(|frame| frame.kind == kind::GOAWAY)?;
        Some(last.number(4).into())
    }

    /// The next reset.
    pub(crate) async fn reset(&mut self) -> (u32, Reason) {
        let reset = self.next(&[kind::RST_STREAM]).await;
        (reset.stream, reset.number(0).into())
    }
}

/// A client that is scripted, and the server that it talks to.
pub(crate) struct Served {
    pub(crate) peer: Peer,
    pub(crate) shared: Arc<Shared>,
    pub(crate) task: JoinHandle<Result<(), Error>>,
}

/// Serves a scripted client, which has sent its preface and these settings.
pub(crate) async fn served_with<S, F>(
    config: Config,
    first: &[(u16, u32)],
    buffer: usize,
    service: S,
) -> Served
where
    S: Fn(Request<RecvBody>) -> F + Send + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let (io, other) = duplex(buffer);
    let connection = server::serve(other, config, service);
    let shared = connection.shared();
    let task = tokio::spawn(connection);
    let mut peer = Peer { io };
    peer.send(PREFACE).await;
    peer.send(settings(first)).await;
    Served { peer, shared, task }
}

pub(crate) async fn served<S, F>(service: S) -> Served
where
    S: Fn(Request<RecvBody>) -> F + Send + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    served_with(Config::default(), &[], 1 << 20, service).await
}

/// Reads the request, and sends its body back.
pub(crate) async fn echo(request: Request<RecvBody>) -> Response<Body> {
    match request.into_body().collect().await {
        Ok(body) => Response::new(full(body.to_bytes())),
        Err(_) => Response::new(empty()),
    }
}

/// Answers with an empty body and reads nothing.
pub(crate) async fn at_once(_: Request<RecvBody>) -> Response<Body> {
    Response::new(empty())
}

/// Never answers, and keeps the request.
pub(crate) async fn never(request: Request<RecvBody>) -> Response<Body> {
    let _request = request;
    std::future::pending().await
}

/// A client with a scripted server.
pub(crate) struct Connected {
    pub(crate) peer: Peer,
    pub(crate) sender: client::Sender,
    pub(crate) shared: Arc<Shared>,
    pub(crate) task: JoinHandle<Result<(), Error>>,
}

/// Connects a client to a scripted server, which has read the preface and sent these settings.
pub(crate) async fn connected_with(config: Config, first: &[(u16, u32)], buffer: usize) -> Connected {
    let (io, other) = duplex(buffer);
    let (sender, connection) = client::connect(other, config);
    let shared = connection.shared();
    let task = tokio::spawn(connection);
    let mut peer = Peer { io };
    peer.preface().await;
    peer.send(settings(first)).await;
    peer.send(frame(kind::SETTINGS, flag::ACK, 0, [])).await;
    peer.sync().await;
    Connected {
        peer,
        sender,
        shared,
        task,
    }
}

pub(crate) async fn connected() -> Connected {
    connected_with(Config::default(), &[], 1 << 20).await
}

pub(crate) type Answer = Result<Response<RecvBody>, Error>;

impl Connected {
    /// A call that goes on by itself.
    pub(crate) fn call(&self, request: Request<Body>) -> JoinHandle<Answer> {
        let sender = self.sender.clone();
        tokio::spawn(async move { sender.send(&mut client::Call::new(request)).await })
    }
}

/// What a body has in it, and its trailers.
pub(crate) async fn read(body: RecvBody) -> Result<(Bytes, Option<http::HeaderMap>), Error> {
    let read = soon(body.collect()).await?;
    let trailers = read.trailers().cloned();
    Ok((read.to_bytes(), trailers))
}
