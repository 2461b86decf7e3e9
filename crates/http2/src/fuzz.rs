//! Entry points for fuzzing: whatever a peer sends, a connection ends when the peer does, without a panic, and says
//! and keeps no more than what came can account for.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as _, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::frame::{self, FrameHead, HEAD, PREFACE, kind};
use crate::{BoxError, Config, RecvBody, client, server};

/// What one byte from the peer may make a connection write: a request of twelve bytes is answered with a head and
/// data, or brings the same body back.
const ANSWER_PER_BYTE: usize = 16;
/// What is written without any: SETTINGS, the calls of a client, GOAWAY.
const UNASKED: usize = 4096;
/// How often a connection is polled for each byte from the peer before it counts as one that never ends.
const POLLS_PER_BYTE: usize = 64;

/// A server reads what a client sends: bytes of any kind, after a preface and SETTINGS unless the first byte is odd.
pub fn server(input: &[u8]) {
    let script = script(input, Some(PREFACE));
    run(script.len(), || {
        server::serve(Peer::new(script), bounds(), |request: Request<RecvBody>| async {
            Response::new(Echo::of(request.into_body()))
        })
    });
}

/// A client with calls reads what a server sends: bytes of any kind, after SETTINGS unless the first byte is odd.
pub fn client(input: &[u8]) {
    let script = script(input, None);
    run(script.len(), || {
        let (sender, connection) = client::connect(Peer::new(script), bounds());
        for body in ["", "a body", "another body"] {
            let sender = sender.clone();
            tokio::spawn(async move {
                let body = Echo(Source::Text(body));
                let method = if body.is_end_stream() { "HEAD" } else { "POST" };
                let Ok(request) = Request::builder().method(method).uri("http://peer/").body(body) else {
                    return;
                };
                if let Ok(answer) = sender.send(&mut client::Call::new(request)).await {
                    let mut answer = answer.into_body();
                    while let Some(Ok(_)) =
                        std::future::poll_fn(|cx| Pin::new(&mut answer).poll_frame(cx)).await
                    {
                    }
                }
            });
        }
        connection
    });
}

/// Frames that look like frames, made of bytes of any kind: the kind, the flags, a small stream, a length that fits.
pub fn frames(input: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = input;
    while let Some(([kind, flags, stream, length], tail)) = rest.split_first_chunk::<4>() {
        let length = usize::from(length % 64).min(tail.len());
        let (payload, tail) = tail.split_at(length);
        let head = FrameHead {
            length: length as u32,
            kind: kind % 11,
            flags: *flags,
            stream: u32::from(stream % 16),
        };
        out.extend_from_slice(&head.to_bytes());
        out.extend_from_slice(payload);
        rest = tail;
    }
    out
}

fn script(input: &[u8], preface: Option<&[u8]>) -> Vec<u8> {
    let mut script = Vec::new();
    if input.first().is_none_or(|first| first % 2 == 0) {
        script.extend_from_slice(preface.unwrap_or_default());
        frame::put(&mut script, kind::SETTINGS, 0, 0, &[]);
    }
    script.extend_from_slice(input.get(1..).unwrap_or_default());
    script
}

/// Small bounds, so that short inputs reach them.
fn bounds() -> Config {
    Config {
        stream_window: 100,
        max_header_list: 1000,
        max_queued: 10,
        max_streams: 4,
        ..Config::default()
    }
}

/// Polls a connection to its end.
fn run<C, T>(input: usize, begin: impl FnOnce() -> C)
where
    C: Future<Output = T>,
{
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
    else {
        return;
    };
    runtime.block_on(async {
        let mut connection = std::pin::pin!(begin());
        let mut polls = 0;
        std::future::poll_fn(|cx| {
            polls += 1;
            assert!(
                polls <= POLLS_PER_BYTE * (input + HEAD),
                "the connection does not end"
            );
            connection.as_mut().poll(cx).map(drop)
        })
        .await;
    });
}

/// The scripted end. It sends a few bytes at a time.
#[derive(Debug)]
struct Peer {
    script: Vec<u8>,
    sent: usize,
    written: usize,
    turn: usize,
}

impl Peer {
    fn new(script: Vec<u8>) -> Self {
        Self {
            script,
            sent: 0,
            written: 0,
            turn: 0,
        }
    }
}

impl AsyncRead for Peer {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.turn += 1;
        if self.turn.is_multiple_of(2) {
            // Others may act in between.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let rest = self.script.get(self.sent..).unwrap_or_default();
        let count = rest.len().min(out.remaining()).min(self.turn * 7 % 61 + 1);
        out.put_slice(rest.get(..count).unwrap_or_default());
        self.sent += count;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Peer {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.written += bytes.len();
        assert!(
            self.written <= UNASKED + self.sent * ANSWER_PER_BYTE,
            "{} bytes are written for {}",
            self.written,
            self.sent
        );
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// What calls send: a text, or what came.
#[derive(Debug)]
struct Echo(Source);

#[derive(Debug)]
enum Source {
    Text(&'static str),
    Received(RecvBody),
}

impl Echo {
    fn of(body: RecvBody) -> Self {
        Self(Source::Received(body))
    }
}

impl http_body::Body for Echo {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.0 {
            Source::Text("") => Poll::Ready(None),
            Source::Text(text) => {
                let text = std::mem::take(text);
                Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(text.as_bytes())))))
            }
            Source::Received(body) => Pin::new(body)
                .poll_frame(cx)
                .map(|frame| Some(frame?.map_err(Into::into))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Source::Text(text) => text.is_empty(),
            Source::Received(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
