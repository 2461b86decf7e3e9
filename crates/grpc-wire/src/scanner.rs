//! Message heads, counted while the frames that carry them go by.

use super::{MESSAGE_HEAD, MessageError};

/// Follows the heads of messages through frames that are cut anywhere. Nothing is kept but where it stands.
#[derive(Debug)]
pub(crate) struct Scanner {
    max: usize,
    head: [u8; MESSAGE_HEAD],
    /// How many bytes of the head are there.
    filled: usize,
    /// How many bytes of the message are still to come.
    left: usize,
}

impl Scanner {
    /// A scanner that refuses messages of more than `max` bytes.
    pub(crate) fn new(max: usize) -> Self {
        Self {
            max,
            head: [0; MESSAGE_HEAD],
            filled: 0,
            left: 0,
        }
    }

    /// Looks at the next bytes of the body.
    pub(crate) fn feed(&mut self, mut data: &[u8]) -> Result<(), MessageError> {
        while !data.is_empty() {
            if self.left > 0 {
                let skipped = self.left.min(data.len());
                self.left -= skipped;
                data = &data[skipped..];
                continue;
            }
            let taken = (MESSAGE_HEAD - self.filled).min(data.len());
            self.head[self.filled..self.filled + taken].copy_from_slice(&data[..taken]);
            self.filled += taken;
            data = &data[taken..];
            if self.filled < MESSAGE_HEAD {
                continue;
            }
            self.filled = 0;
            let [_flag, a, b, c, d] = self.head;
            let length = u32::from_be_bytes([a, b, c, d]);
            if length as usize > self.max {
                return Err(MessageError::TooLarge {
                    length,
                    max: self.max,
                });
            }
            self.left = length as usize;
        }
        Ok(())
    }
}

/// Feeds the pieces of a body to a scanner.
#[cfg(feature = "fuzz")]
pub(crate) fn scan(pieces: &[&[u8]], max: usize) -> Result<(), MessageError> {
    let mut scanner = Scanner::new(max);
    pieces.iter().try_for_each(|piece| scanner.feed(piece))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn body(lengths: &[usize]) -> Vec<u8> {
        let mut body = Vec::new();
        for length in lengths {
            body.push(0);
            body.extend((*length as u32).to_be_bytes());
            body.extend(vec![0xff; *length]);
        }
        body
    }

    proptest! {
        #[test]
        fn the_longest_message_decides_however_frames_are_cut(
            lengths in proptest::collection::vec(0_usize..50, 0..8),
            cut in 1_usize..30,
            max in 0_usize..60,
        ) {
            let mut scanner = Scanner::new(max);
            let body = body(&lengths);
            let fed = body.chunks(cut).try_for_each(|piece| scanner.feed(piece));
            let longest = lengths.iter().copied().max().unwrap_or(0);
            prop_assert_eq!(fed.is_err(), longest > max);
        }

        #[test]
        fn junk_never_panics(junk in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Scanner::new(1000).feed(&junk);
        }
    }

    #[test]
    fn the_error_names_both_lengths() {
        let error = Scanner::new(10).feed(&body(&[11])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "grpc: received message larger than max (11 vs. 10)"
        );
    }
}
