//! `middleware.http.rs.bodylimit`: how long the bodies of requests may be, for some paths.
//!
//! A body streams through and is counted; one whose length is known is refused before any of it is read.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::StatusCode;
use http_body::{Frame, SizeHint};
use invoke_core::{Body, BodyError};
use thiserror::Error;

use crate::answer::refused;
use crate::handler::{After, Call, Verdict};
use crate::paths::PathFilter;
use crate::properties::{Duplicate, Properties, Unknown};

/// Why there is no limit.
#[derive(Debug, Error)]
pub(crate) enum LimitError {
    #[error(transparent)]
    Duplicate(#[from] Duplicate),
    #[error(transparent)]
    Unknown(#[from] Unknown),
    #[error("maxBodySize: {0:?} is no size: 65536, 64Ki, 1Mi and 1Gi are")]
    Size(String),
    #[error("pathFilter: {0}")]
    PathFilter(String),
}

/// A limit.
#[derive(Debug)]
pub(crate) struct BodyLimit {
    /// In bytes.
    longest: u64,
    filter: PathFilter,
}

impl BodyLimit {
    /// `maxBodySize` is in bytes, or has a unit; it must be there. `pathFilter` says for which paths it is.
    pub(crate) fn new(properties: &Properties) -> Result<Self, LimitError> {
        properties.check()?;
        properties.only(&["maxBodySize", "pathFilter"])?;
        let text = |name| properties.get(name).unwrap_or_default();
        let size = text("maxBodySize");
        Ok(Self {
            longest: bytes(size).ok_or_else(|| LimitError::Size(size.to_owned()))?,
            filter: PathFilter::new(text("pathFilter")).map_err(LimitError::PathFilter)?,
        })
    }

    pub(crate) fn handle(&self, call: &mut Call) -> Verdict {
        if !self.filter.takes(&call.request) {
            return Ok(After::Nothing);
        }
        let hint = http_body::Body::size_hint(call.request.body());
        if hint.lower() > self.longest {
            return Err(Box::new(refused(
                StatusCode::PAYLOAD_TOO_LARGE,
                "Request Entity Too Large",
            )));
        }
        if hint.exact().is_none() {
            let body = std::mem::take(call.request.body_mut());
            *call.request.body_mut() = Body::stream(Counted {
                body,
                left: self.longest,
            });
        }
        Ok(After::Nothing)
    }
}

/// A number of bytes, perhaps with a unit.
fn bytes(text: &str) -> Option<u64> {
    let units = [("Ki", 10), ("Mi", 20), ("Gi", 30)];
    let unit = units
        .into_iter()
        .find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, shift)));
    let (digits, shift) = unit.unwrap_or((text, 0));
    let is_plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = digits.parse().ok().filter(|_| is_plain)?;
    number.checked_mul(1 << shift)
}

/// A body that breaks when more comes than may.
struct Counted {
    body: Body,
    left: u64,
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame {
            let length = frame.data_ref().map_or(0, Bytes::len) as u64;
            let Some(left) = self.left.checked_sub(length) else {
                self.body = Body::empty();
                return Poll::Ready(Some(Err(BodyError::TooLarge)));
            };
            self.left = left;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http::Request;
    use http_body_util::BodyExt;
    use http_body_util::channel::Channel;

    use super::*;

    fn of(items: &[(&str, &str)]) -> Result<BodyLimit, LimitError> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        BodyLimit::new(&Properties::new(items.iter().map(owned)))
    }

    #[test]
    fn sizes() {
        for (text, wanted) in [
            ("0", Some(0)),
            ("65536", Some(65_536)),
            ("64Ki", Some(65_536)),
            ("1Mi", Some(1 << 20)),
            ("2Gi", Some(2 << 30)),
            ("", None),
            ("Mi", None),
            ("-1", None),
            ("+1", None),
            ("1.5Mi", None),
            ("1 Mi", None),
            ("99999999999Gi", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(bytes(text), wanted, "{text}");
        }
        for (items, wanted) in [
            (&[][..], "maxBodySize: \"\" is no size"),
            (&[("maxBodySize", "x")], "maxBodySize: \"x\" is no size"),
            (
                &[("maxBodySize", "1"), ("pathFilter", "(")],
                "pathFilter: error parsing regexp",
            ),
            (&[("maxSize", "1")], "maxSize is no metadata of this component"),
        ] {
            let said = of(items).unwrap_err().to_string();
            assert!(said.starts_with(wanted), "{said}");
        }
    }

    fn call(path: &str, body: Body) -> Call {
        Call {
            request: Request::builder().uri(path).body(body).unwrap(),
            peer: None,
        }
    }

    #[tokio::test]
    async fn what_is_too_long() {
        let limit = of(&[("maxBodySize", "5"), ("pathFilter", "^/a")]).unwrap();
        for (path, body, passes) in [
            ("/a", "12345", true),
            ("/a", "123456", false),
            ("/b", "123456", true),
        ] {
            let verdict = limit.handle(&mut call(path, Body::full(body)));
            assert_eq!(verdict.is_ok(), passes, "{path} {body}");
            if let Err(answer) = verdict {
                assert_eq!(answer.status(), 413);
            }
            let (mut sender, stream) = Channel::<Bytes, BodyError>::new(8);
            let mut streamed = call(path, Body::stream(stream));
            assert!(limit.handle(&mut streamed).is_ok(), "its length is not known");
            for byte in body.bytes() {
                sender.send_data(vec![byte].into()).await.unwrap();
            }
            drop(sender);
            match streamed.request.into_body().collect().await {
                Ok(whole) => assert!(passes && whole.to_bytes() == body, "{path} {body}"),
                Err(error) => assert!(!passes && matches!(error, BodyError::TooLarge), "{error}"),
            }
        }
    }
}
