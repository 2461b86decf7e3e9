//! What waits to be written.

use std::io::IoSlice;

use bytes::Bytes;

/// Payloads up to this length are joined with the frames around them: a copy of so many bytes costs less than a
/// piece of its own in a vectored write.
const JOINED: usize = 4 * 1024;
/// How many pieces one write has at most.
pub(crate) const PIECES: usize = 16;
/// A buffer that grew beyond this is not kept.
const KEPT: usize = 64 * 1024;

/// The same while nothing is to be written.
const KEPT_IDLE: usize = 4 * 1024;

/// Frames in the order in which they are to be written: small things joined, long payloads as they are.
#[derive(Debug, Default)]
pub(crate) struct Output {
    joined: Vec<u8>,
    /// Long payloads, and where in `joined` each belongs.
    long: Vec<(usize, Bytes)>,
    long_bytes: usize,
}

impl Output {
    /// How many bytes wait.
    pub(crate) fn len(&self) -> usize {
        self.joined.len() + self.long_bytes
    }

    /// The end of the joined bytes, to append to.
    pub(crate) fn joined(&mut self) -> &mut Vec<u8> {
        &mut self.joined
    }

    /// Gives memory back while nothing is to be written.
    pub(crate) fn release(&mut self) {
        if self.len() == 0 && self.joined.capacity() > KEPT_IDLE {
            *self = Self::default();
        }
    }

    pub(crate) fn put(&mut self, payload: Bytes) {
        if payload.len() <= JOINED {
            self.joined.extend_from_slice(&payload);
        } else {
            self.put_long(payload);
        }
    }

    /// The same for a payload that the caller keeps.
    pub(crate) fn put_shared(&mut self, payload: &Bytes) {
        if payload.len() <= JOINED {
            // The first clone of some bytes allocates.
            self.joined.extend_from_slice(payload);
        } else {
            self.put_long(payload.clone());
        }
    }

    fn put_long(&mut self, payload: Bytes) {
        self.long_bytes += payload.len();
        self.long.push((self.joined.len(), payload));
    }
}

/// An [`Output`] that is being written.
#[derive(Debug, Default)]
pub(crate) struct Writing {
    output: Output,
    /// How much of `output.joined` is written.
    joined: usize,
    /// How many of `output.long` are written, and how much of the next.
    long: usize,
    of_long: usize,
    left: usize,
}

impl Writing {
    pub(crate) fn is_done(&self) -> bool {
        self.left == 0
    }

    /// How many bytes are left.
    pub(crate) fn left(&self) -> usize {
        self.left
    }

    /// Takes over what waits. Everything before must be written.
    pub(crate) fn start(&mut self, waiting: &mut Output) {
        debug_assert!(self.is_done());
        self.output.joined.clear();
        self.output.long.clear();
        self.output.long_bytes = 0;
        if self.output.joined.capacity() > KEPT {
            self.output.joined = Vec::new();
        }
        std::mem::swap(&mut self.output, waiting);
        (self.joined, self.long, self.of_long) = (0, 0, 0);
        self.left = self.output.len();
    }

    /// Gives a buffer of more than `kept` bytes back while nothing is to be written.
    pub(crate) fn release(&mut self, kept: usize) {
        if self.is_done() && self.output.joined.capacity() > kept {
            self.output = Output::default();
        }
    }

    /// The next pieces.
    pub(crate) fn pieces<'a>(&'a self, pieces: &mut [IoSlice<'a>; PIECES]) -> usize {
        let mut count = 0;
        let (mut joined, mut of_long) = (self.joined, self.of_long);
        let mut long = self.output.long.get(self.long..).unwrap_or_default().iter();
        while count < PIECES {
            let next = long.next();
            let until = next.map_or(self.output.joined.len(), |(at, _)| *at);
            if joined < until {
                pieces[count] = IoSlice::new(&self.output.joined[joined..until]);
                count += 1;
                joined = until;
            }
            let Some((_, payload)) = next else { break };
            if count == PIECES {
                break;
            }
            pieces[count] = IoSlice::new(&payload[of_long..]);
            count += 1;
            of_long = 0;
        }
        count
    }

    /// So many bytes were written.
    pub(crate) fn advance(&mut self, written: usize) {
        let mut written = written.min(self.left);
        self.left -= written;
        while written > 0 {
            let next = self.output.long.get(self.long);
            let until = next.map_or(self.output.joined.len(), |(at, _)| *at);
            if self.joined < until {
                let step = written.min(until - self.joined);
                self.joined += step;
                written -= step;
                continue;
            }
            let Some((_, payload)) = next else { break };
            let step = written.min(payload.len() - self.of_long);
            self.of_long += step;
            written -= step;
            if self.of_long == payload.len() {
                self.long += 1;
                self.of_long = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(mut output: Output, step: usize) -> Vec<u8> {
        let mut writing = Writing::default();
        writing.start(&mut output);
        let mut all = Vec::new();
        while !writing.is_done() {
            let mut pieces = [IoSlice::new(&[]); PIECES];
            let count = writing.pieces(&mut pieces);
            let bytes: Vec<u8> = pieces[..count]
                .iter()
                .flat_map(|piece| piece.to_vec())
                .take(step)
                .collect();
            assert!(!bytes.is_empty());
            writing.advance(bytes.len());
            all.extend(bytes);
        }
        all
    }

    #[test]
    fn any_steps_write_the_same() {
        let build = || {
            let mut output = Output::default();
            let mut wanted = Vec::new();
            for n in 0_u8..40 {
                let payload = vec![n; if n % 3 == 0 { JOINED + 1 } else { usize::from(n) }];
                output.joined().push(n);
                wanted.push(n);
                wanted.extend(&payload);
                output.put(payload.into());
            }
            (output, wanted)
        };
        for step in [1, 7, 4096, 5000, 1 << 20] {
            let (output, wanted) = build();
            assert_eq!(output.len(), wanted.len());
            assert!(written(output, step) == wanted, "{step}");
        }
    }

    #[test]
    fn long_payloads_are_not_copied() {
        let payload = Bytes::from(vec![1; JOINED + 1]);
        let mut output = Output::default();
        output.put(payload.clone());
        let mut writing = Writing::default();
        writing.start(&mut output);
        let mut pieces = [IoSlice::new(&[]); PIECES];
        assert_eq!(writing.pieces(&mut pieces), 1);
        assert_eq!(pieces[0].as_ptr(), payload.as_ptr());
    }
}
