//! The answer of a call as the guest sees it.

use bytes::Bytes;
use http::header::{self, HeaderMap};
use http::{Response, StatusCode};
use http_body::Frame;
use invoke_core::Body;

use super::body::{NotTaken, Written, after, broken};
use super::state::Halt;
use crate::whole::{NotWhole, whole};

/// An answer. Before the request goes on it is what the guest says in the place of others; after that it is theirs.
///
/// The answer of a guest that has nothing buffered is sent while the guest writes it: its head is what it was when the
/// guest gave a status or wrote something, and what the guest says of it later comes too late.
#[derive(Debug, Default)]
pub(super) struct GuestResponse {
    pub(super) headers: HeaderMap,
    pub(super) trailers: HeaderMap,
    /// The request went on.
    pub(super) is_after_next: bool,
    pub(super) is_buffered: bool,
    status: Option<StatusCode>,
    /// The head went out.
    is_sent: bool,
    /// How the headers were then, if they were changed since.
    sent: Option<HeaderMap>,
    /// What others answered, passing by.
    body: Body,
    /// The same, kept for the guest.
    whole: Bytes,
    written: Written,
    /// What is left of the body that the guest began to read.
    reader: Option<Bytes>,
}

impl GuestResponse {
    pub(super) fn headers_mut(&mut self) -> &mut HeaderMap {
        if self.is_sent && self.sent.is_none() {
            self.sent = Some(self.headers.clone());
        }
        &mut self.headers
    }

    pub(super) fn status(&self) -> Result<u32, Halt> {
        if !self.is_buffered {
            return Err(unbuffered("get status code"));
        }
        Ok(u32::from(self.status.unwrap_or_default().as_u16()))
    }

    pub(super) fn set_status(&mut self, code: u32) -> Result<(), Halt> {
        let status = u16::try_from(code).ok().filter(|code| *code <= 999);
        let status = status.and_then(|code| StatusCode::from_u16(code).ok());
        let status = status.ok_or_else(|| Halt::Refused(format!("invalid WriteHeader code {code}")))?;
        // What is not final is no answer.
        if self.is_sent || status.is_informational() {
            return Ok(());
        }
        self.status = Some(status);
        self.is_sent = !self.is_buffered;
        Ok(())
    }

    pub(super) fn write(&mut self, data: &[u8], bound: usize) -> Result<(), Halt> {
        self.is_sent |= !self.is_buffered;
        self.written.write(data, bound)
    }

    /// Reads the body. The answer is what was read, and whether that was all.
    pub(super) fn read(&mut self, room: usize) -> Result<(Bytes, bool), Halt> {
        if !self.is_buffered {
            return Err(unbuffered("read response body"));
        }
        if self.reader.is_none() {
            let body = match self.written.as_bytes() {
                Some(written) => Bytes::copy_from_slice(written),
                None => self.whole.clone(),
            };
            self.reader = Some(body);
        }
        let reader = self.reader.get_or_insert_default();
        let read = reader.split_to(room.min(reader.len()));
        let is_over = read.len() < room;
        Ok((read, is_over))
    }

    /// Takes the answer of others in.
    pub(super) async fn take_in(&mut self, answer: Response<Body>, longest: usize) -> Result<(), NotTaken> {
        match self.begin(answer) {
            // In a box: most guests need no room for it.
            Some(body) => Box::pin(self.collect(body, longest)).await,
            None => Ok(()),
        }
    }

    /// Takes the head in; the answer is the body if it is to be collected.
    fn begin(&mut self, answer: Response<Body>) -> Option<Body> {
        let (mut parts, body) = answer.into_parts();
        if !self.is_sent {
            self.status = Some(parts.status);
        }
        let own = std::mem::take(&mut self.headers);
        if own.is_empty() {
            self.headers = parts.headers;
        } else {
            add(&mut parts.headers, own);
            self.headers = parts.headers;
        }
        if self.is_buffered {
            return Some(body);
        }
        if let Some(written) = self.written.take() {
            self.headers.remove(header::CONTENT_LENGTH);
            self.body = after(written, body);
        } else {
            self.body = body;
        }
        None
    }

    async fn collect(&mut self, body: Body, longest: usize) -> Result<(), NotTaken> {
        let body = match whole(body, longest).await {
            Ok(body) => body,
            Err(NotWhole::TooLong(longest)) => return Err(NotTaken::TooLong(longest)),
            Err(NotWhole::Broken(error)) => {
                let mut answer = Response::new(broken(error));
                *answer.status_mut() = self.status.unwrap_or_default();
                *answer.headers_mut() = std::mem::take(&mut self.headers);
                return Err(NotTaken::Broken(Box::new(answer)));
            }
        };
        if self.written.is_begun() {
            self.written
                .write(&body, longest)
                .map_err(|_| NotTaken::TooLong(longest))?;
        } else {
            self.whole = body;
        }
        Ok(())
    }

    /// The answer for the caller.
    pub(super) fn into_answer(mut self) -> Response<Body> {
        let mut headers = self.sent.take().unwrap_or(self.headers);
        headers.remove(header::TRANSFER_ENCODING);
        let body = match self.written.take() {
            Some(written) => {
                headers.remove(header::CONTENT_LENGTH);
                Body::full(written)
            }
            None if self.whole.is_empty() => self.body,
            None => Body::full(self.whole),
        };
        let mut answer = Response::new(with_trailers(body, self.trailers, &mut headers));
        *answer.status_mut() = self.status.unwrap_or_default();
        *answer.headers_mut() = headers;
        answer
    }
}

/// Adds what a guest said of the answer before the request went on. There is one type of content, and one length.
fn add(headers: &mut HeaderMap, own: HeaderMap) {
    let mut last = None;
    for (name, value) in own {
        last = name.or(last);
        let Some(name) = &last else { continue };
        let is_single = *name == header::CONTENT_TYPE || *name == header::CONTENT_LENGTH;
        if !(is_single && headers.contains_key(name)) {
            headers.append(name, value);
        }
    }
}

fn with_trailers(body: Body, trailers: HeaderMap, headers: &mut HeaderMap) -> Body {
    if trailers.is_empty() {
        return body;
    }
    headers.remove(header::CONTENT_LENGTH);
    for name in trailers.keys() {
        headers.append(header::TRAILER, name.clone().into());
    }
    Body::stream(Trailed {
        body,
        trailers: Some(trailers),
    })
}

/// A body with trailers behind it.
struct Trailed {
    body: Body,
    trailers: Option<HeaderMap>,
}

impl http_body::Body for Trailed {
    type Data = Bytes;
    type Error = invoke_core::BodyError;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        use std::task::{Poll, ready};
        loop {
            return Poll::Ready(match ready!(std::pin::Pin::new(&mut self.body).poll_frame(cx)) {
                // There is one frame of trailers.
                Some(Ok(frame)) if frame.is_trailers() => continue,
                None => self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))),
                other => other,
            });
        }
    }
}

/// Dapr's engine has no answer to this either.
fn unbuffered(what: &str) -> Halt {
    Halt::Refused(format!("can't {what} unless buffer_response is enabled"))
}
