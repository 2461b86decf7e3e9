//! `Upgrade: h2c` (RFC 7540, section 3.2): from HTTP/1.1 to HTTP/2 on the same connection.
//!
//! The request that asks for the upgrade is stream 1 of the new connection. Nothing of `h2` is bent for that:
//! the upgraded connection is read through [`WithFirstStream`], which lets the client's preface and its first
//! SETTINGS frame through, then inserts the head of a request for stream 1, then passes on what comes. The
//! service takes the kept request in place of the inserted one.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use base64::Engine;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use tokio::io::{AsyncRead, ReadBuf};

use super::RequestBody;
use super::preface::PREFACE;
use crate::writes::pass_writes_on;

const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// `HEADERS` of stream 1 with `END_STREAM` and `END_HEADERS`: `GET`, `http` and `/` by their static indices.
const FIRST_STREAM: [u8; 12] = [0, 0, 3, 1, 5, 0, 0, 0, 1, 0x82, 0x86, 0x84];
const FRAME_HEAD: usize = 9;
const SETTINGS: u8 = 4;

/// The request that asked for the upgrade, until stream 1 takes it.
#[derive(Clone)]
pub(super) struct Kept(Arc<Mutex<Option<Request<RequestBody>>>>);

impl Kept {
    /// The request of a stream: the kept one for the first, its own for all others.
    pub(super) fn or(&self, request: Request<Incoming>) -> Request<RequestBody> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        kept.unwrap_or_else(|| request.map(RequestBody::Http))
    }
}

/// Whether a request asks for HTTP/2 on its connection.
pub(super) fn is_asked_for(headers: &HeaderMap) -> bool {
    let names = |name: HeaderName, token: &str| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|value| value.trim().eq_ignore_ascii_case(token))
    };
    names(header::UPGRADE, "h2c") && names(header::CONNECTION, "HTTP2-Settings")
}

/// Reads the request to its end and makes the answer that switches the protocol. `limit` bounds its body.
pub(super) async fn accept(
    request: Request<Incoming>,
    limit: usize,
) -> Result<(Response<Full<Bytes>>, Kept), Response<Full<Bytes>>> {
    let refused = |status| {
        let mut answer = Response::new(Full::default());
        *answer.status_mut() = status;
        answer
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
        answer
    };
    if !has_valid_settings(request.headers()) {
        return Err(refused(StatusCode::INTERNAL_SERVER_ERROR));
    }
    let (mut parts, body) = request.into_parts();
    let Ok(body) = Limited::new(body, limit).collect().await else {
        return Err(refused(StatusCode::INTERNAL_SERVER_ERROR));
    };
    for name in [
        header::UPGRADE,
        header::CONNECTION,
        header::TRANSFER_ENCODING,
        HTTP2_SETTINGS,
    ] {
        parts.headers.remove(name);
    }
    parts.version = http::Version::HTTP_2;
    let kept = Request::from_parts(parts, RequestBody::Kept(Full::new(body.to_bytes())));
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    answer
        .headers_mut()
        .insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    answer
        .headers_mut()
        .insert(header::UPGRADE, HeaderValue::from_static("h2c"));
    Ok((answer, Kept(Arc::new(Mutex::new(Some(kept))))))
}

/// One header, base64url, a whole number of settings of six bytes each.
fn has_valid_settings(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(HTTP2_SETTINGS).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => URL_SAFE_NO_PAD
            .decode(value.as_bytes())
            .or_else(|_| URL_SAFE.decode(value.as_bytes()))
            .is_ok_and(|settings| settings.len().is_multiple_of(6)),
        _ => false,
    }
}

/// Where the reader is in what the client sends first.
enum Stage {
    /// So many bytes of the preface are still to come.
    Preface(usize),
    /// The head of the first frame, as far as it came.
    FrameHead([u8; FRAME_HEAD], usize),
    /// So many bytes of the first frame's payload are still to come.
    Payload(usize),
    /// So many bytes of the inserted frame were read.
    Insert(usize),
    Pass,
}

/// A connection on which a request on stream 1 appears after the client's first SETTINGS frame.
pub(super) struct WithFirstStream<S> {
    io: S,
    stage: Stage,
}

impl<S> WithFirstStream<S> {
    pub(super) fn new(io: S) -> Self {
        Self {
            io,
            stage: Stage::Preface(PREFACE.len()),
        }
    }

    /// How many bytes may be read before the next decision.
    fn allowance(&self) -> usize {
        match &self.stage {
            Stage::Preface(left) | Stage::Payload(left) => *left,
            Stage::FrameHead(_, have) => FRAME_HEAD - have,
            Stage::Insert(_) | Stage::Pass => usize::MAX,
        }
    }

    fn advance(&mut self, read: &[u8]) -> io::Result<()> {
        match &mut self.stage {
            Stage::Preface(left) => {
                *left -= read.len();
                if *left == 0 {
                    self.stage = Stage::FrameHead([0; FRAME_HEAD], 0);
                }
            }
            Stage::FrameHead(head, have) => {
                head[*have..*have + read.len()].copy_from_slice(read);
                *have += read.len();
                if *have == FRAME_HEAD {
                    if head[3] != SETTINGS {
                        return Err(io::Error::new(
                            io::ErrorKind::InvalidData,
                            "SETTINGS must come first",
                        ));
                    }
                    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
                    self.stage = if length == 0 {
                        Stage::Insert(0)
                    } else {
                        Stage::Payload(length)
                    };
                }
            }
            Stage::Payload(left) => {
                *left -= read.len();
                if *left == 0 {
                    self.stage = Stage::Insert(0);
                }
            }
            Stage::Insert(_) | Stage::Pass => {}
        }
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WithFirstStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let Stage::Insert(read) = &mut this.stage {
            let piece = &FIRST_STREAM[*read..];
            let count = piece.len().min(buf.remaining());
            buf.put_slice(&piece[..count]);
            *read += count;
            if *read == FIRST_STREAM.len() {
                this.stage = Stage::Pass;
            }
            return Poll::Ready(Ok(()));
        }
        if matches!(this.stage, Stage::Pass) {
            return Pin::new(&mut this.io).poll_read(cx, buf);
        }
        let mut piece = [0; 64];
        let limit = this.allowance().min(buf.remaining()).min(piece.len());
        let mut piece = ReadBuf::new(&mut piece[..limit]);
        match Pin::new(&mut this.io).poll_read(cx, &mut piece) {
            Poll::Ready(Ok(())) => {
                this.advance(piece.filled())?;
                buf.put_slice(piece.filled());
                Poll::Ready(Ok(()))
            }
            other => other,
        }
    }
}

pass_writes_on!(WithFirstStream);

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn the_first_stream_comes_after_the_settings() {
        let mut sent = PREFACE.to_vec();
        sent.extend([0, 0, 6, SETTINGS, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 100]);
        let settings_end = sent.len();
        sent.extend(b"and the rest");
        let mut read = Vec::new();
        WithFirstStream::new(sent.as_slice())
            .read_to_end(&mut read)
            .await
            .unwrap();
        assert_eq!(read[..settings_end], sent[..settings_end]);
        assert_eq!(read[settings_end..settings_end + 12], FIRST_STREAM);
        assert_eq!(&read[settings_end + 12..], b"and the rest");
    }

    #[tokio::test]
    async fn another_first_frame_is_refused() {
        let mut sent = PREFACE.to_vec();
        sent.extend([0, 0, 0, 6, 0, 0, 0, 0, 0]);
        let mut read = Vec::new();
        assert!(
            WithFirstStream::new(sent.as_slice())
                .read_to_end(&mut read)
                .await
                .is_err()
        );
    }

    #[test]
    fn what_asks_for_an_upgrade() {
        let headers = |pairs: &[(&'static str, &'static str)]| {
            pairs
                .iter()
                .map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v)))
                .collect()
        };
        let asked: HeaderMap = headers(&[("upgrade", "h2c"), ("connection", "Upgrade, HTTP2-Settings")]);
        assert!(is_asked_for(&asked));
        assert!(!is_asked_for(&headers(&[
            ("upgrade", "h2c"),
            ("connection", "Upgrade")
        ])));
        assert!(!is_asked_for(&headers(&[
            ("upgrade", "websocket"),
            ("connection", "HTTP2-Settings")
        ])));
        assert!(has_valid_settings(&headers(&[(
            "http2-settings",
            "AAMAAABkAAQAoAAAAAIAAAAA"
        )])));
        assert!(!has_valid_settings(&headers(&[(
            "http2-settings",
            "AAMAAABkAAQAoAAAAAIAAAA"
        )])));
        assert!(!has_valid_settings(&headers(&[("http2-settings", "!")])));
        assert!(!has_valid_settings(&headers(&[])));
    }
}
