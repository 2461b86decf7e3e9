//! The packed messages of a stream, unpacked one after the other.

use bytes::Bytes;

use super::inflate::Inflater;
use super::{Encoding, GrpcStatus, MESSAGE_HEAD, MessageError, MessageHead};

const RESOURCE_EXHAUSTED: i32 = 8;
const INTERNAL: i32 = 13;

/// Turns a stream whose messages are packed into one whose messages are not.
///
/// The head of a message tells its length, so that a message is held until all of it is unpacked; there is one at a
/// time, however many a frame has in it. Messages that are not packed pass by.
pub(crate) struct Unpacker {
    encoding: Encoding,
    max: usize,
    /// What came and was not looked at yet.
    pending: Bytes,
    state: State,
}

enum State {
    /// Between two messages, or within the head of the next.
    Head { bytes: [u8; MESSAGE_HEAD], have: usize },
    /// Within a message that is not packed.
    Plain { left: usize },
    /// Within a packed one.
    Packed { left: usize, inflater: Inflater },
}

const BETWEEN: State = State::Head {
    bytes: [0; MESSAGE_HEAD],
    have: 0,
};

impl std::fmt::Debug for Unpacker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Unpacker").field(&self.encoding).finish()
    }
}

impl Unpacker {
    /// Messages are at most `max` bytes long, packed and unpacked.
    pub(crate) fn new(encoding: Encoding, max: usize) -> Self {
        Self {
            encoding,
            max,
            pending: Bytes::new(),
            state: BETWEEN,
        }
    }

    /// Takes a frame, after [`Unpacker::next`] has given `None`.
    pub(crate) fn push(&mut self, data: Bytes) {
        debug_assert!(self.pending.is_empty());
        self.pending = data;
    }

    /// Whether the stream may end here.
    pub(crate) fn is_between(&self) -> bool {
        self.pending.is_empty() && matches!(self.state, State::Head { have: 0, .. })
    }

    /// The status of a stream that ends within a message.
    pub(crate) fn truncated() -> GrpcStatus {
        GrpcStatus::new(INTERNAL, MessageError::Truncated.to_string())
    }

    /// The next bytes of the stream; `None` when it takes a further frame.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, GrpcStatus> {
        loop {
            match &mut self.state {
                State::Head { bytes, have } => {
                    let part = take(&mut self.pending, MESSAGE_HEAD - *have);
                    bytes[*have..*have + part.len()].copy_from_slice(&part);
                    *have += part.len();
                    if *have < MESSAGE_HEAD {
                        return Ok(None);
                    }
                    let head = *bytes;
                    if let Some(head) = self.begin(head)? {
                        return Ok(Some(head));
                    }
                }
                State::Plain { left: 0 } => self.state = BETWEEN,
                State::Plain { left } => {
                    let part = take(&mut self.pending, *left);
                    *left -= part.len();
                    return Ok((!part.is_empty()).then_some(part));
                }
                State::Packed { left: 0, .. } => {
                    if let State::Packed { inflater, .. } = std::mem::replace(&mut self.state, BETWEEN) {
                        return framed(inflater.finish()?).map(Some);
                    }
                }
                State::Packed { left, inflater } => {
                    let part = take(&mut self.pending, *left);
                    if part.is_empty() {
                        return Ok(None);
                    }
                    *left -= part.len();
                    inflater.write(&part)?;
                }
            }
        }
    }

    /// Begins a message; the head of one that is not packed passes by.
    fn begin(&mut self, bytes: [u8; MESSAGE_HEAD]) -> Result<Option<Bytes>, GrpcStatus> {
        let malformed = |error: MessageError| GrpcStatus::new(INTERNAL, error.to_string());
        let head = MessageHead::from_bytes(bytes).map_err(malformed)?;
        let left = head.length as usize;
        if left > self.max {
            let (length, max) = (head.length, self.max);
            let error = MessageError::TooLarge { length, max };
            return Err(GrpcStatus::new(RESOURCE_EXHAUSTED, error.to_string()));
        }
        let inflater = head
            .compressed
            .then(|| Inflater::new(self.encoding, self.max, MESSAGE_HEAD))
            .flatten();
        match inflater {
            Some(inflater) => {
                self.state = State::Packed { left, inflater };
                Ok(None)
            }
            None => {
                self.state = State::Plain { left };
                Ok(Some(Bytes::copy_from_slice(&bytes)))
            }
        }
    }
}

fn take(pending: &mut Bytes, most: usize) -> Bytes {
    pending.split_to(pending.len().min(most))
}

/// Writes the head of a message into the bytes that were left free for it.
fn framed(mut message: Vec<u8>) -> Result<Bytes, GrpcStatus> {
    let length = message.len() - MESSAGE_HEAD;
    let Ok(length) = u32::try_from(length) else {
        let text = format!("a message of {length} bytes is longer than gRPC allows");
        return Err(GrpcStatus::new(RESOURCE_EXHAUSTED, text));
    };
    let compressed = false;
    message[..MESSAGE_HEAD].copy_from_slice(&MessageHead { compressed, length }.to_bytes());
    Ok(message.into())
}

/// What comes out of these frames, and whether the stream may end behind them.
#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn unpack(
    frames: impl Iterator<Item = Bytes>,
    encoding: Encoding,
    max: usize,
) -> Result<(Vec<u8>, bool), GrpcStatus> {
    let mut unpacker = Unpacker::new(encoding, max);
    let mut out = Vec::new();
    for frame in frames {
        unpacker.push(frame);
        while let Some(part) = unpacker.next()? {
            assert!(!part.is_empty(), "a frame without data");
            out.extend_from_slice(&part);
        }
    }
    Ok((out, unpacker.is_between()))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    fn message(flag: u8, data: &[u8]) -> Vec<u8> {
        let mut out = vec![flag];
        out.extend((data.len() as u32).to_be_bytes());
        out.extend(data);
        out
    }

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn deflate(data: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    proptest! {
        #[test]
        fn bytes_mean_the_same_however_they_are_cut(
            messages: Vec<(bool, Vec<u8>)>,
            cuts in proptest::collection::vec(1_usize..40, 1..20),
            is_gzip: bool,
        ) {
            let (mut packed, mut wanted) = (Vec::new(), Vec::new());
            for (is_packed, data) in &messages {
                let pack = if is_gzip { gzip } else { deflate };
                packed.extend(if *is_packed { message(1, &pack(data)) } else { message(0, data) });
                wanted.extend(message(0, data));
            }
            let mut rest = Bytes::from(packed);
            let mut cuts = cuts.into_iter().cycle();
            let frames = std::iter::from_fn(|| {
                let cut = cuts.next().unwrap_or(1).min(rest.len());
                (cut > 0).then(|| rest.split_to(cut))
            });
            let encoding = if is_gzip { Encoding::Gzip } else { Encoding::Deflate };
            prop_assert_eq!(unpack(frames, encoding, 1 << 20), Ok((wanted, true)));
        }

        #[test]
        fn junk_is_judged(frames: Vec<Vec<u8>>, is_gzip: bool) {
            let encoding = if is_gzip { Encoding::Gzip } else { Encoding::Deflate };
            let _ = unpack(frames.into_iter().map(Bytes::from), encoding, 1000);
        }
    }

    #[test]
    fn limits() {
        let bomb = message(1, &gzip(&vec![0; 1 << 20]));
        let one = |data: Vec<u8>, max| unpack(std::iter::once(data.into()), Encoding::Gzip, max);
        assert_eq!(one(bomb.clone(), 1 << 16).unwrap_err().code, 8);
        assert!(one(bomb.clone(), 1 << 20).unwrap().1);
        assert!(!one(bomb[..bomb.len() - 1].to_vec(), 1 << 20).unwrap().1);
        let long = message(0, &[0; 11]);
        let refused = one(long, 10).unwrap_err();
        assert_eq!(
            refused.message,
            "grpc: received message larger than max (11 vs. 10)"
        );
        assert_eq!(one(message(2, b"x"), 10).unwrap_err().code, 13);
        assert_eq!(one(message(1, b"junk"), 10).unwrap_err().code, 13);
        assert_eq!(one(message(1, b""), 10).unwrap_err().code, 13);
    }

    #[test]
    fn one_message_is_held_at_a_time() {
        let mut frame = Vec::new();
        for _ in 0..8 {
            frame.extend(message(1, &gzip(&vec![0; 1 << 20])));
        }
        let mut unpacker = Unpacker::new(Encoding::Gzip, 1 << 20);
        unpacker.push(frame.into());
        assert_eq!(unpacker.next().unwrap().unwrap().len(), MESSAGE_HEAD + (1 << 20));
        assert!(!unpacker.pending.is_empty());
    }
}
