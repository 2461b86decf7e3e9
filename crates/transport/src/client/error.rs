//! What happened to a call, and whether anybody saw it.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use thiserror::Error;

use super::connect::ConnectError;
use crate::{BoxError, tls};

/// What Go says when the first bytes of an answer are those of HTTP/1.
const FRAME_TOO_LARGE: &str = "http2: failed reading the frame payload: http2: frame too large, \
    note that the frame header looked like an HTTP/1.1 header";

/// Whether the other side may have begun to act on a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Certainly not.
    No,
    /// Nobody can tell.
    Maybe,
}

/// The kind of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No connection could be made.
    Connect,
    /// All connections are in use, and no further call may wait, or it has waited for too long.
    Busy,
    /// A connection was made, but the TLS handshake failed.
    Handshake,
    /// The connection ended before an answer came.
    Closed,
    /// The other side reset the connection.
    Reset,
    /// The other side reset the stream, with this HTTP/2 error code.
    StreamReset(u32),
    /// The head of the answer is larger than allowed.
    HeadTooLarge,
    /// The answer is not HTTP.
    Malformed,
    /// The body of the request failed.
    RequestBody,
    /// Anything else.
    Other,
}

impl ErrorKind {
    /// The kind of an error of a body that came over HTTP/1 or HTTP/2.
    pub fn of(error: &(dyn StdError + 'static)) -> Self {
        if let Some(error) = error.downcast_ref() {
            return classify_http2(error);
        }
        error
            .downcast_ref()
            .map_or(Self::Other, |error| classify(error).0)
    }
}

/// An answer that cannot be read.
#[derive(Debug, Error)]
#[error("{what}")]
struct Unreadable {
    what: String,
    source: Option<BoxError>,
}

/// A call that failed before an answer came.
#[derive(Debug)]
pub struct ClientError {
    kind: ErrorKind,
    seen: Delivery,
    /// Whether the other side had shown that it speaks HTTP/2.
    is_greeted: bool,
    source: BoxError,
}

impl ClientError {
    pub(super) fn connect(error: ConnectError) -> Self {
        let kind = match error {
            ConnectError::Dial { .. }
            | ConnectError::Unix { .. }
            | ConnectError::Lookup { .. }
            | ConnectError::Proxy(_) => ErrorKind::Connect,
            ConnectError::Handshake(_) => ErrorKind::Handshake,
        };
        Self {
            kind,
            seen: Delivery::No,
            is_greeted: true,
            source: error.into(),
        }
    }

    /// A call that got no connection, because others had them all.
    pub(super) fn busy(error: impl Into<BoxError>) -> Self {
        Self {
            kind: ErrorKind::Busy,
            seen: Delivery::No,
            is_greeted: true,
            source: error.into(),
        }
    }

    /// `unsent`: the request came back as it was.
    pub(super) fn from_hyper(error: hyper::Error, unsent: bool) -> Self {
        let (kind, provably_unseen) = classify(&error);
        let seen = if unsent || provably_unseen {
            Delivery::No
        } else {
            Delivery::Maybe
        };
        Self {
            kind,
            seen,
            is_greeted: true,
            source: error.into(),
        }
    }

    /// An answer that is not to be read, for a reason that is known. `found` is the failure that it was noticed by.
    pub(super) fn malformed(what: String, found: Option<Self>) -> Self {
        let source = found.map(|found| found.source);
        Self {
            kind: ErrorKind::Malformed,
            seen: Delivery::Maybe,
            is_greeted: true,
            source: Unreadable { what, source }.into(),
        }
    }

    /// What an error of HTTP/2 means for its call. `unsent`: nothing of the request went out.
    pub fn from_http2(error: http2::Error, unsent: bool) -> Self {
        Self {
            kind: classify_http2(&error),
            seen: if unsent || error.is_unseen() {
                Delivery::No
            } else {
                Delivery::Maybe
            },
            is_greeted: true,
            source: error.into(),
        }
    }

    /// The same failure, on a connection on which the other side may not have said a word of HTTP/2.
    pub(super) fn on_connection(mut self, is_greeted: bool) -> Self {
        self.is_greeted = is_greeted;
        self
    }

    /// When the connection ended before the other side had shown that it speaks HTTP/2: how, in Go's words. It
    /// may want TLS, or speak another protocol, or refuse our certificate.
    pub fn without_preface(&self) -> Option<String> {
        if self.is_greeted || self.kind == ErrorKind::RequestBody {
            return None;
        }
        let cause = causes(self.source.as_ref()).find_map(|cause| cause.downcast_ref());
        Some(match (cause, self.kind) {
            (Some(cause), _) => tls::go_words(cause),
            (None, ErrorKind::Malformed) if looks_like_http1(self.source.as_ref()) => {
                FRAME_TOO_LARGE.to_owned()
            }
            (None, ErrorKind::Malformed) => self.to_string(),
            (None, _) => "EOF".to_owned(),
        })
    }

    /// Whether the head of an answer could be read, but tells two ends or none.
    pub(super) fn is_of_framing(&self) -> bool {
        let text = self.source.to_string();
        FRAMING.iter().any(|(known, _)| *known == text)
    }

    /// What happened.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether the other side may have begun to act on the call.
    pub fn seen(&self) -> Delivery {
        self.seen
    }

    /// Whether the other side is there, but refused the call for now (RFC 9113, section 8.7).
    pub fn is_refusal(&self) -> bool {
        self.kind == ErrorKind::StreamReset(http2::Reason::REFUSED_STREAM.into())
            || self.kind == ErrorKind::Busy
    }

    /// The transport's own error.
    pub fn into_source(self) -> BoxError {
        self.source
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            ErrorKind::Closed => f.write_str("EOF"),
            ErrorKind::Reset => f.write_str("read: connection reset by peer"),
            ErrorKind::RequestBody => match self.source.source() {
                Some(cause) => write!(f, "{cause}"),
                None => write!(f, "{}", self.source),
            },
            ErrorKind::Malformed => f.write_str(&unreadable(self.source.as_ref())),
            _ => match alert(self.source.as_ref()) {
                Some(words) => f.write_str(&words),
                None => write!(f, "{}", self.source),
            },
        }
    }
}

/// The framing errors of hyper and our words for them. hyper has no codes for these errors, so their texts are compared.
const FRAMING: [(&str, &str); 2] = [
    ("invalid content-length parsed", "bad Content-Length"),
    (
        "unexpected transfer-encoding parsed",
        "Transfer-Encoding in HTTP/1.0",
    ),
];

/// What is wrong with an answer.
fn unreadable(error: &(dyn StdError + 'static)) -> String {
    let text = error.to_string();
    match FRAMING.iter().find(|(known, _)| *known == text) {
        Some((_, words)) => (*words).to_owned(),
        None => text,
    }
}

/// What the other side said of TLS after the handshake, which for it was not over: in TLS 1.3 a client hears of a
/// certificate that is refused or missing only when it reads (RFC 8446, section 4.4.2.4).
fn alert(error: &(dyn StdError + 'static)) -> Option<String> {
    let io = causes(error).find_map(|cause| cause.downcast_ref::<io::Error>())?;
    let inner = io.get_ref()?;
    inner.is::<rustls::Error>().then(|| tls::go_words(io))
}

/// Whether a peer spoke HTTP/1: the first bytes of its answer are the length of a frame that is far too long.
fn looks_like_http1(error: &(dyn StdError + 'static)) -> bool {
    matches!(
        error.downcast_ref(),
        Some(http2::Error::GoAway {
            reason: http2::Reason::FRAME_SIZE_ERROR,
            by: http2::Side::Us
        })
    )
}

impl StdError for ClientError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(self.source.as_ref())
    }
}

/// The kind of an error of hyper, and whether it proves that nobody saw the call: the peer refused the stream,
/// or went away without having taken it (RFC 9113, sections 6.8 and 8.7).
fn classify(error: &hyper::Error) -> (ErrorKind, bool) {
    if error.is_parse_too_large() {
        return (ErrorKind::HeadTooLarge, false);
    }
    if error.is_parse() {
        return (ErrorKind::Malformed, false);
    }
    if error.is_user() {
        return (ErrorKind::RequestBody, false);
    }
    if let Some(io) = causes(error).find_map(|cause| cause.downcast_ref()) {
        return (classify_io(io), false);
    }
    if error.is_incomplete_message() || error.is_timeout() || error.is_closed() || error.is_canceled() {
        return (ErrorKind::Closed, false);
    }
    (ErrorKind::Other, false)
}

fn classify_http2(error: &http2::Error) -> ErrorKind {
    match error {
        http2::Error::Reset { reason, .. } => ErrorKind::StreamReset((*reason).into()),
        // The peer breaks the protocol, or speaks another one.
        http2::Error::GoAway {
            by: http2::Side::Us, ..
        } => ErrorKind::Malformed,
        http2::Error::Io(error) => classify_io(error),
        http2::Error::GoAway { .. } | http2::Error::KeepAlive | http2::Error::Closed => ErrorKind::Closed,
        http2::Error::Body(_) => ErrorKind::RequestBody,
        _ => ErrorKind::Other,
    }
}

fn classify_io(error: &io::Error) -> ErrorKind {
    match error.kind() {
        io::ErrorKind::ConnectionReset => ErrorKind::Reset,
        io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::NotConnected => {
            ErrorKind::Closed
        }
        _ => ErrorKind::Other,
    }
}

fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}
