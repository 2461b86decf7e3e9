//! A declared length that is held to.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use invoke_core::{Body, BodyError};

/// A stream that must be exactly as long as its sender declared. What other sidecars declare is a claim: a body
/// that breaks it breaks the request, so that the app never takes a cut body for a whole one.
pub(crate) struct Declared {
    body: Body,
    declared: u64,
    actual: u64,
}

impl Declared {
    pub(crate) fn new(body: Body, declared: u64) -> Self {
        Self {
            body,
            declared,
            actual: 0,
        }
    }

    fn wrong_length(&self) -> BodyError {
        BodyError::Length {
            declared: self.declared,
            actual: self.actual,
        }
    }
}

impl http_body::Body for Declared {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let next = ready!(http_body::Body::poll_frame(Pin::new(&mut this.body), cx));
        Poll::Ready(match next {
            Some(Ok(frame)) => {
                this.actual += frame.data_ref().map_or(0, Bytes::len) as u64;
                let is_cut = http_body::Body::is_end_stream(&this.body) && this.actual < this.declared;
                if this.actual > this.declared || is_cut {
                    Some(Err(this.wrong_length()))
                } else {
                    Some(Ok(frame))
                }
            }
            None if this.actual != this.declared => Some(Err(this.wrong_length())),
            other => other,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.actual == self.declared && http_body::Body::is_end_stream(&self.body)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.declared.saturating_sub(self.actual))
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use http_body_util::channel::Channel;

    use super::*;

    #[tokio::test]
    async fn a_wrong_length_breaks_the_body() {
        for (pieces, declared, wanted) in [
            (vec!["abc"], 3, Ok("abc")),
            (vec!["ab", "c"], 3, Ok("abc")),
            (vec!["ab"], 3, Err("http: ContentLength=3 with Body length 2")),
            (vec!["abcd"], 3, Err("http: ContentLength=3 with Body length 4")),
        ] {
            let (mut sender, body) = Channel::<Bytes, BodyError>::new(4);
            for piece in pieces {
                sender.send_data(piece.into()).await.unwrap();
            }
            drop(sender);
            let read = Declared::new(Body::stream(body), declared).collect().await;
            let read = read
                .map(http_body_util::Collected::to_bytes)
                .map_err(|error| error.to_string());
            assert_eq!(read, wanted.map(Bytes::from).map_err(ToOwned::to_owned));
        }
    }
}
