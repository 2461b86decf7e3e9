//! The limit of a request body (`--max-body-size`).

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use invoke_core::{BodyError, BoxError};

/// A body that breaks off after so many bytes. A body of exactly the limit is whole.
pub(crate) struct Limited<B> {
    body: B,
    left: u64,
}

impl<B: Body<Data = Bytes>> Limited<B> {
    /// `limit` is in bytes. A body that declares more fails before any of it is read.
    pub(crate) fn new(body: B, limit: u64) -> Result<Self, BodyError> {
        if body.size_hint().lower() > limit {
            return Err(BodyError::TooLarge);
        }
        Ok(Self { body, left: limit })
    }
}

impl<B> Body for Limited<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        Poll::Ready(match frame {
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, Bytes::len) as u64;
                match self.left.checked_sub(length) {
                    Some(left) => {
                        self.left = left;
                        Some(Ok(frame))
                    }
                    None => Some(Err(BodyError::TooLarge)),
                }
            }
            Some(Err(error)) => Some(Err(BodyError::transport(error))),
            None => None,
        })
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
    use http_body_util::channel::Channel;
    use http_body_util::{BodyExt, Full};

    use super::*;

    #[tokio::test]
    async fn the_limit_itself_is_allowed() {
        for (limit, is_allowed) in [(3, true), (4, true), (2, false)] {
            let body = Full::new(Bytes::from_static(b"abc"));
            assert_eq!(Limited::new(body, limit).is_ok(), is_allowed, "declared, {limit}");
            let (mut sender, body) = Channel::<Bytes, BoxError>::new(2);
            sender.send_data("ab".into()).await.unwrap();
            sender.send_data("c".into()).await.unwrap();
            drop(sender);
            let read = Limited::new(body, limit).unwrap().collect().await;
            assert_eq!(read.is_ok(), is_allowed, "in pieces, {limit}");
        }
    }
}
