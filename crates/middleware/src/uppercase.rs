//! `middleware.http.uppercase`: bodies in capitals. It is there to see middleware at work.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap};
use http_body::{Frame, SizeHint};
use invoke_core::{Body, BodyError};

use crate::handler::{After, Call, Verdict};
use crate::properties::Properties;

/// Which bodies are written in capitals.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Uppercase {
    request: bool,
    response: bool,
}

impl Uppercase {
    /// `direction` is `request`, `response` or `both`; anything else means `request`. Its name is the only one in
    /// Dapr that must be written exactly so.
    pub(crate) fn new(properties: &Properties) -> Self {
        let direction = properties.exactly("direction").unwrap_or_default();
        let (request, response) = match direction.to_lowercase().as_str() {
            "response" => (false, true),
            "both" => (true, true),
            _ => (true, false),
        };
        Self { request, response }
    }

    pub(crate) async fn handle(&self, call: &mut Call) -> Verdict {
        if self.request {
            let body = std::mem::take(call.request.body_mut());
            // A failure is one of the body that it stands in.
            let body = match Body::receive(body).await {
                Ok(body) => body,
                Err(error) => Body::empty().preceded_by(Err(error)),
            };
            let body = request_body(body, call.request.headers_mut());
            *call.request.body_mut() = body;
        }
        Ok(if self.response {
            After::Upper
        } else {
            After::Nothing
        })
    }
}

/// The body of a request. One that is at hand may change its length (`ı` is longer than `I`), and then says so.
fn request_body(mut body: Body, headers: &mut HeaderMap) -> Body {
    let Some(data) = body.take_full() else {
        return Body::stream(Upper::new(body, true));
    };
    let upper = whole(&data);
    if upper.len() != data.len() && headers.contains_key(header::CONTENT_LENGTH) {
        headers.insert(header::CONTENT_LENGTH, upper.len().into());
    }
    Body::full(upper)
}

/// The body of an answer, in capitals.
pub(crate) fn upper(mut body: Body) -> Body {
    match body.take_full() {
        Some(data) => Body::full(whole(&data)),
        None => Body::stream(Upper::new(body, false)),
    }
}

fn whole(data: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(data.len());
    let rest = put(&mut out, data, true);
    debug_assert_eq!(rest, 0);
    out.freeze()
}

/// A stream in capitals. A character may come in two pieces.
struct Upper {
    body: Body,
    /// The begin of a character, at most three bytes.
    begun: BytesMut,
    /// The length is declared, and stands whatever comes.
    is_declared: bool,
    is_over: bool,
}

impl Upper {
    fn new(body: Body, is_declared: bool) -> Self {
        Self {
            body,
            begun: BytesMut::new(),
            is_declared,
            is_over: false,
        }
    }

    fn piece(&mut self, data: &[u8], is_last: bool) -> Bytes {
        let mut out = BytesMut::with_capacity(self.begun.len() + data.len());
        if self.begun.is_empty() {
            let rest = put(&mut out, data, is_last);
            self.begun.extend_from_slice(&data[data.len() - rest..]);
        } else {
            let mut joined = std::mem::take(&mut self.begun);
            joined.extend_from_slice(data);
            let rest = put(&mut out, &joined, is_last);
            self.begun = joined.split_off(joined.len() - rest);
        }
        out.freeze()
    }
}

impl http_body::Body for Upper {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        while !this.is_over {
            let piece = match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => this.piece(&data, false),
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {
                    this.is_over = true;
                    this.piece(&[], true)
                }
            };
            if !piece.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.begun.is_empty() && (self.is_over || self.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        match self.body.size_hint().exact() {
            Some(left) if self.is_declared => SizeHint::with_exact(left + self.begun.len() as u64),
            _ => SizeHint::new(),
        }
    }
}

/// Writes `data` in capitals. The answer is how many bytes at its end are the begin of a character whose rest is to come,
/// unless this is the last piece. What is no character becomes the replacement character, byte by byte.
fn put(out: &mut BytesMut, data: &[u8], is_last: bool) -> usize {
    if data.is_ascii() {
        let at = out.len();
        out.extend_from_slice(data);
        out[at..].make_ascii_uppercase();
        return 0;
    }
    let mut seen = 0;
    for chunk in data.utf8_chunks() {
        for character in chunk.valid().chars() {
            let mut room = [0; 4];
            out.extend_from_slice(capital(character).encode_utf8(&mut room).as_bytes());
        }
        seen += chunk.valid().len() + chunk.invalid().len();
        if seen == data.len() && !is_last && is_begun(chunk.invalid()) {
            return chunk.invalid().len();
        }
        for _ in chunk.invalid() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    0
}

/// Whether bytes at the end of a piece may go on as a character.
fn is_begun(bytes: &[u8]) -> bool {
    !bytes.is_empty() && std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

/// The capital of a character as Unicode's simple mapping has it: one character for one.
fn capital(character: char) -> char {
    let mut upper = character.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(one), None) => one,
        // Characters whose capital is two in running text and that have a title case of their own.
        _ => match character {
            '\u{1f80}'..='\u{1f87}' | '\u{1f90}'..='\u{1f97}' | '\u{1fa0}'..='\u{1fa7}' => {
                char::from_u32(u32::from(character) + 8).unwrap_or(character)
            }
            '\u{1fb3}' | '\u{1fc3}' | '\u{1ff3}' => {
                char::from_u32(u32::from(character) + 9).unwrap_or(character)
            }
            other => other,
        },
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use http_body_util::channel::Channel;

    use super::*;

    #[test]
    fn directions() {
        for (name, value, request, response) in [
            ("direction", "", true, false),
            ("direction", "request", true, false),
            ("direction", "RESPONSE", false, true),
            ("direction", "Both", true, true),
            ("direction", "sideways", true, false),
            ("Direction", "response", true, false),
        ] {
            let properties = Properties::new([(name.to_owned(), value.to_owned())]);
            assert_eq!(
                Uppercase::new(&properties),
                Uppercase { request, response },
                "{name}: {value}"
            );
        }
    }

    const CASES: &[(&[u8], &str)] = &[
        (b"", ""),
        (b"hello World-1", "HELLO WORLD-1"),
        ("stra\u{df}e \u{e9}".as_bytes(), "STRA\u{df}E \u{c9}"),
        ("\u{131}\u{17f}\u{250}".as_bytes(), "IS\u{2c6f}"),
        (
            "\u{1f80}\u{1fb3}\u{390}\u{fb01}".as_bytes(),
            "\u{1f88}\u{1fbc}\u{390}\u{fb01}",
        ),
        ("😀ciao".as_bytes(), "😀CIAO"),
        (b"a\xffb", "A\u{fffd}B"),
        (b"a\xe2\x82", "A\u{fffd}\u{fffd}"),
        (b"\xe2\x82a", "\u{fffd}\u{fffd}A"),
    ];

    #[test]
    fn capitals() {
        for (given, wanted) in CASES {
            assert_eq!(whole(given), wanted.as_bytes(), "{given:?}");
        }
    }

    #[tokio::test]
    async fn streams_in_pieces_of_any_size() {
        for (given, wanted) in CASES {
            for size in 1..=given.len() {
                let (mut sender, body) = Channel::<Bytes, BodyError>::new(64);
                for piece in given.chunks(size) {
                    sender.send_data(Bytes::copy_from_slice(piece)).await.unwrap();
                }
                drop(sender);
                let body = upper(Body::stream(body));
                assert_eq!(
                    body.collect().await.unwrap().to_bytes(),
                    wanted.as_bytes(),
                    "{given:?} by {size}"
                );
            }
        }
    }

    #[tokio::test]
    async fn a_piece_does_not_wait_for_the_next() {
        let (mut sender, body) = Channel::<Bytes, BodyError>::new(4);
        let mut body = upper(Body::stream(body));
        for piece in ["one", "two"] {
            sender.send_data(piece.into()).await.unwrap();
            let frame = body.frame().await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), piece.to_uppercase().as_bytes());
        }
        sender.abort(BodyError::TooLarge);
        assert!(
            body.frame().await.unwrap().is_err(),
            "a body that broke stays broken"
        );
    }

    #[test]
    fn a_length_that_changes_is_told() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_LENGTH, 2.into());
        let body = request_body(Body::full("\u{131}"), &mut headers);
        assert_eq!(body.as_full(), Some(&b"I"[..]));
        assert_eq!(headers[header::CONTENT_LENGTH], "1");
    }
}
