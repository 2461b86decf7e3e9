//! Messages in a body: five bytes of head, then the message.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use http_body::Body;
use thiserror::Error;

use transport::BoxError;

/// The length of a message head.
pub const MESSAGE_HEAD: usize = 5;

/// The head of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageHead {
    /// Whether the message is compressed.
    pub compressed: bool,
    /// The length of the message, without the head.
    pub length: u32,
}

impl MessageHead {
    /// The five bytes.
    pub fn to_bytes(self) -> [u8; MESSAGE_HEAD] {
        let [a, b, c, d] = self.length.to_be_bytes();
        [u8::from(self.compressed), a, b, c, d]
    }

    /// Reads the five bytes; a flag other than 0 and 1 is refused.
    pub fn from_bytes(bytes: [u8; MESSAGE_HEAD]) -> Result<Self, MessageError> {
        let [flag, length @ ..] = bytes;
        match flag {
            0 | 1 => Ok(Self {
                compressed: flag == 1,
                length: u32::from_be_bytes(length),
            }),
            other => Err(MessageError::Flag(other)),
        }
    }
}

/// Messages that cannot be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MessageError {
    /// The message is longer than allowed.
    #[error("grpc: received message larger than max ({length} vs. {max})")]
    TooLarge {
        /// Its length in bytes.
        length: u32,
        /// The limit in bytes.
        max: usize,
    },
    /// The flag of a head is neither 0 nor 1.
    #[error("grpc: received unexpected payload format {0}")]
    Flag(u8),
    /// The body ended within a message.
    #[error("unexpected EOF")]
    Truncated,
    /// The body broke.
    #[error("{0}")]
    Body(#[source] BoxError),
}

/// Reads messages from a body. A message that lies within one frame is sliced out of it, not copied.
#[derive(Debug)]
pub struct MessageReader<B> {
    body: B,
    max: usize,
    /// The frame that is read; empty when nothing is buffered.
    frame: Bytes,
    /// Those after it. Most bodies come in one frame, which needs no list.
    frames: VecDeque<Bytes>,
    buffered: usize,
    head: Option<MessageHead>,
    trailers: Option<HeaderMap>,
    ended: bool,
}

impl<B> MessageReader<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    /// Reads from `body`; messages of more than `max` bytes are refused.
    pub fn new(body: B, max: usize) -> Self {
        Self {
            body,
            max,
            frame: Bytes::new(),
            frames: VecDeque::new(),
            buffered: 0,
            head: None,
            trailers: None,
            ended: false,
        }
    }

    /// The next message; `None` at the end of the body.
    pub async fn next(&mut self) -> Option<Result<(bool, Bytes), MessageError>> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The next message, and whether it is compressed; `None` at the end of the body.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<(bool, Bytes), MessageError>>> {
        loop {
            match self.buffered_message() {
                Ok(Some(message)) => return Poll::Ready(Some(Ok(message))),
                Ok(None) => {}
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
            if self.ended {
                let is_truncated = self.head.is_some() || self.buffered > 0;
                if is_truncated {
                    self.forget();
                }
                return Poll::Ready(is_truncated.then_some(Err(MessageError::Truncated)));
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                None => self.ended = true,
                Some(Err(error)) => {
                    self.ended = true;
                    self.forget();
                    return Poll::Ready(Some(Err(MessageError::Body(error.into()))));
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if data.is_empty() => {}
                    Ok(data) => {
                        self.buffered += data.len();
                        if self.frame.is_empty() {
                            self.frame = data;
                        } else {
                            self.frames.push_back(data);
                        }
                    }
                    Err(frame) => self.trailers = frame.into_trailers().ok(),
                },
            }
        }
    }

    /// Whether nothing more will come, as far as that can be told without reading.
    pub fn is_at_end(&self) -> bool {
        self.buffered == 0 && self.head.is_none() && (self.ended || self.body.is_end_stream())
    }

    /// The trailers, once the end was reached.
    pub fn take_trailers(&mut self) -> Option<HeaderMap> {
        self.trailers.take()
    }

    fn buffered_message(&mut self) -> Result<Option<(bool, Bytes)>, MessageError> {
        let head = match self.head {
            Some(head) => head,
            None if self.buffered < MESSAGE_HEAD => return Ok(None),
            None => {
                let mut bytes = [0; MESSAGE_HEAD];
                self.take(MESSAGE_HEAD).copy_to_slice(&mut bytes);
                let head = MessageHead::from_bytes(bytes)?;
                if head.length as usize > self.max {
                    return Err(MessageError::TooLarge {
                        length: head.length,
                        max: self.max,
                    });
                }
                self.head = Some(head);
                head
            }
        };
        let length = head.length as usize;
        if self.buffered < length {
            return Ok(None);
        }
        self.head = None;
        Ok(Some((head.compressed, self.take(length))))
    }

    /// Takes bytes that are buffered: a slice if one frame has them all.
    fn take(&mut self, count: usize) -> Bytes {
        self.buffered -= count;
        if count == 0 {
            return Bytes::new();
        }
        if self.frame.len() >= count {
            return self.take_from_frame(count);
        }
        let mut joined = BytesMut::with_capacity(count);
        while joined.len() < count && !self.frame.is_empty() {
            let piece = self.take_from_frame(self.frame.len().min(count - joined.len()));
            joined.extend_from_slice(&piece);
        }
        joined.freeze()
    }

    fn take_from_frame(&mut self, count: usize) -> Bytes {
        let piece = self.frame.split_to(count);
        if self.frame.is_empty() {
            self.frame = self.frames.pop_front().unwrap_or_default();
        }
        piece
    }

    /// Throws away what is buffered.
    fn forget(&mut self) {
        self.head = None;
        self.frame = Bytes::new();
        self.frames.clear();
        self.buffered = 0;
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::channel::Channel;
    use proptest::prelude::*;

    use super::*;

    fn encode(messages: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for message in messages {
            bytes.extend(
                MessageHead {
                    compressed: false,
                    length: message.len() as u32,
                }
                .to_bytes(),
            );
            bytes.extend(message);
        }
        bytes
    }

    async fn read(pieces: Vec<Vec<u8>>, max: usize) -> Vec<Result<Vec<u8>, String>> {
        let (mut sender, body) = Channel::<Bytes, BoxError>::new(pieces.len().max(1));
        for piece in pieces {
            sender.send_data(piece.into()).await.unwrap();
        }
        drop(sender);
        let mut reader = MessageReader::new(body, max);
        let mut read = Vec::new();
        while let Some(message) = reader.next().await {
            let failed = message.is_err();
            read.push(
                message
                    .map(|(_, message)| message.to_vec())
                    .map_err(|error| error.to_string()),
            );
            if failed {
                break;
            }
        }
        read
    }

    fn block_on<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(future)
    }

    proptest! {
        #[test]
        fn any_split_into_frames_gives_the_same_messages(
            messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..6),
            cuts in proptest::collection::vec(1_usize..20, 0..40),
        ) {
            let mut rest = encode(&messages);
            let mut pieces = Vec::new();
            for cut in cuts {
                let tail = rest.split_off(cut.min(rest.len()));
                pieces.push(std::mem::replace(&mut rest, tail));
            }
            pieces.push(rest);
            let wanted: Vec<_> = messages.into_iter().map(Ok).collect();
            prop_assert_eq!(block_on(read(pieces, 100)), wanted);
        }

        #[test]
        fn junk_never_panics(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..30), 0..6)) {
            block_on(read(pieces, 1000));
        }
    }

    #[tokio::test]
    async fn limits_and_truncation() {
        let long = encode(&[vec![0; 11]]);
        let wanted = Err("grpc: received message larger than max (11 vs. 10)".to_owned());
        assert_eq!(read(vec![long.clone()], 10).await, [wanted]);
        assert_eq!(
            read(vec![long[..8].to_vec()], 20).await,
            [Err("unexpected EOF".to_owned())]
        );
        assert_eq!(read(vec![vec![2, 0, 0, 0, 0]], 20).await.len(), 1);
    }

    #[tokio::test]
    async fn a_message_within_one_frame_is_not_copied() {
        let frame = Bytes::from(encode(&[b"hello".to_vec()]));
        let mut reader = MessageReader::new(http_body_util::Full::new(frame.clone()), 100);
        let (_, message) = reader.next().await.unwrap().unwrap();
        assert_eq!(message.as_ptr(), frame[5..].as_ptr());
    }
}
