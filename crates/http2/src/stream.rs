//! One call on a connection, and all of them.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::task::{Context, Waker};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Response};
use tokio::time::Instant;

use crate::error::Error;

/// The state of a stream (RFC 9113, section 5.1).
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) id: u32,
    /// How many handles there are.
    pub(crate) handles: u8,
    /// It counts towards the limit on streams.
    pub(crate) is_counted: bool,
    /// Why it ended early. Nothing is sent or received any more.
    pub(crate) broken: Option<Error>,
    /// What it counts for besides what is unread and queued.
    pub(crate) charge: usize,
    /// When something of it was read or sent last, as far as that is known.
    pub(crate) moved: Option<Instant>,
    pub(crate) receiving: Receiving,
    pub(crate) sending: Sending,
}

/// The peer's half.
#[derive(Debug, Default)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a fact that comes and goes by itself"
)]
pub(crate) struct Receiving {
    /// The head of the answer, until it is taken.
    pub(crate) head: Option<Response<()>>,
    pub(crate) has_head: bool,
    pub(crate) data: PieceQueue,
    /// How many bytes that is.
    pub(crate) unread: usize,
    /// Some of it may keep the buffer alive that it was read into.
    pub(crate) is_fresh: bool,
    pub(crate) trailers: Option<HeaderMap>,
    /// Everything has come.
    pub(crate) is_ended: bool,
    /// Nobody reads: what comes is thrown away.
    pub(crate) is_unwanted: bool,
    /// How many bytes the peer may still send.
    pub(crate) window: i64,
    /// How many bytes of the declared length are still to come. Zero before the head of an answer that will have no
    /// body, whatever it declares.
    pub(crate) missing: Option<u64>,
    /// What is special about what a client sends.
    pub(crate) upload: Upload,
    pub(crate) waker: Option<Waker>,
}

/// What is special about what a client sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Upload {
    /// Nothing.
    #[default]
    Plain,
    /// It comes when it is asked for (`Expect: 100-continue`).
    Expected,
    /// The request was answered, and its end is waited for.
    Lingering,
}

/// Our half.
#[derive(Debug, Default)]
pub(crate) struct Sending {
    /// What waits for the peer's window, or for the socket.
    pub(crate) queue: PieceQueue,
    pub(crate) queued: usize,
    /// How many bytes the peer takes. It may be below zero.
    pub(crate) window: i64,
    pub(crate) end: End,
    /// Its body waits until it takes more.
    pub(crate) is_full: bool,
    /// It stands in the list of streams that have something to send.
    pub(crate) is_listed: bool,
    pub(crate) waker: Option<Waker>,
}

/// How our half ends.
#[derive(Debug, Default)]
pub(crate) enum End {
    /// More may come.
    #[default]
    Open,
    /// After what waits.
    Bare,
    /// After what waits, with these trailers.
    Trailers(HeaderMap),
    /// The end is on its way.
    Sent,
}

impl End {
    pub(crate) fn is_open(&self) -> bool {
        matches!(self, Self::Open)
    }

    pub(crate) fn is_sent(&self) -> bool {
        matches!(self, Self::Sent)
    }
}

impl Stream {
    /// Whether both halves are over.
    pub(crate) fn is_over(&self) -> bool {
        self.broken.is_some() || (self.receiving.is_ended && self.sending.end.is_sent())
    }
}

/// Pieces up to this length are joined when more than one waits.
const SMALL: usize = 1024;
/// What is joined gets no longer than this.
const JOINED: usize = 16 * 1024;
/// Pieces from this length on hold not much less than the buffer that they are parts of.
pub(crate) const LARGE: usize = 16 * 1024;

/// Pieces of a body. Most bodies have one, which needs no list.
///
/// Small pieces that wait behind others are copied together: by itself a piece of one byte needs much more memory
/// than windows count, and keeps the whole buffer alive that it was read into.
#[derive(Debug, Default)]
pub(crate) struct PieceQueue {
    first: Option<Bytes>,
    rest: VecDeque<Bytes>,
    last: BytesMut,
}

impl PieceQueue {
    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(crate) fn push(&mut self, piece: Bytes) {
        if self.first.is_none() {
            self.first = Some(piece);
        } else {
            self.push_behind(piece);
        }
    }

    fn push_behind(&mut self, piece: Bytes) {
        let is_small = piece.len() <= SMALL;
        if !(self.last.is_empty() || is_small && self.last.len() + piece.len() <= JOINED) {
            self.rest.push_back(self.last.split().freeze());
        }
        if is_small {
            self.last.extend_from_slice(&piece);
        } else {
            self.rest.push_back(piece);
        }
    }

    pub(crate) fn pop(&mut self) -> Option<Bytes> {
        let first = self.first.take();
        self.first = self.rest.pop_front();
        if self.first.is_none() && !self.last.is_empty() {
            self.first = Some(std::mem::take(&mut self.last).freeze());
        }
        first
    }

    pub(crate) fn first_mut(&mut self) -> Option<&mut Bytes> {
        self.first.as_mut()
    }

    /// Throws everything away.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Copies pieces out of the buffers that they are parts of: small ones, or all of them.
    pub(crate) fn compact(&mut self, all: bool) {
        for piece in self.first.iter_mut().chain(&mut self.rest) {
            if all || piece.len() < LARGE {
                *piece = Bytes::copy_from_slice(piece);
            }
        }
    }
}

/// Remembers whom to wake.
pub(crate) fn register(place: &mut Option<Waker>, cx: &Context<'_>) {
    match place {
        Some(known) if known.will_wake(cx.waker()) => {}
        _ => *place = Some(cx.waker().clone()),
    }
}

/// A place among the streams. A handle keeps its stream in place.
pub(crate) type Key = usize;

/// The streams of a connection.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    places: Vec<Option<Stream>>,
    free: Vec<Key>,
    keys: HashMap<u32, Key, BuildHasherDefault<IdHasher>>,
}

impl Streams {
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// How many places one who looks through all streams has to look at.
    pub(crate) fn places(&self) -> usize {
        self.places.len()
    }

    pub(crate) fn key(&self, id: u32) -> Option<Key> {
        self.keys.get(&id).copied()
    }

    pub(crate) fn get(&mut self, key: Key) -> Option<&mut Stream> {
        self.places.get_mut(key)?.as_mut()
    }

    pub(crate) fn insert(&mut self, stream: Stream) -> Key {
        let id = stream.id;
        let key = if let Some(key) = self.free.pop() {
            self.places[key] = Some(stream);
            key
        } else {
            self.places.push(Some(stream));
            self.places.len() - 1
        };
        self.keys.insert(id, key);
        key
    }

    pub(crate) fn remove(&mut self, key: Key) {
        if let Some(stream) = self.places.get_mut(key).and_then(Option::take) {
            self.keys.remove(&stream.id);
            self.free.push(key);
        }
        if self.keys.is_empty() && self.places.len() > 64 {
            *self = Self::default();
        }
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (Key, &mut Stream)> {
        self.places
            .iter_mut()
            .enumerate()
            .filter_map(|(key, place)| Some((key, place.as_mut()?)))
    }
}

/// Stream ids grow by two: one multiplication spreads them. A peer that chooses them badly only slows its own
/// connection down, and gains nothing that more streams would not give it.
#[derive(Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, id: u32) {
        self.0 = (self.0 ^ u64::from(id))
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(29);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_pieces_that_wait_are_joined() {
        let mut pieces = PieceQueue::default();
        for n in 0..10_000_usize {
            let length = if n % 1000 == 999 { SMALL + 1 } else { n % 5 + 1 };
            pieces.push(Bytes::from(vec![n as u8; length]));
        }
        assert!(pieces.rest.len() < 50, "{}", pieces.rest.len());
        let read: Vec<u8> = std::iter::from_fn(|| pieces.pop()).flatten().collect();
        assert!(pieces.is_empty());
        let wanted = (0..10_000_usize).flat_map(|n| {
            let length = if n % 1000 == 999 { SMALL + 1 } else { n % 5 + 1 };
            vec![n as u8; length]
        });
        assert!(wanted.eq(read));
    }

    #[test]
    fn a_piece_alone_is_not_copied() {
        let piece = Bytes::from(vec![1; 5]);
        let mut pieces = PieceQueue::default();
        pieces.push(piece.clone());
        assert_eq!(pieces.pop().map(|same| same.as_ptr()), Some(piece.as_ptr()));
    }

    #[test]
    fn small_pieces_are_copied_out_of_their_buffers() {
        let buffer = Bytes::from(vec![7; 100_000]);
        let lengths = [10, LARGE, 2000, LARGE - 1];
        for all in [false, true] {
            let mut pieces = PieceQueue::default();
            for length in lengths {
                pieces.push(buffer.slice(..length));
            }
            pieces.compact(all);
            for length in lengths {
                let piece = pieces.pop().unwrap();
                assert_eq!(piece, buffer[..length]);
                let is_copy = piece.as_ptr() != buffer.as_ptr();
                assert_eq!(is_copy, all || length < LARGE, "{length}");
            }
        }
    }
}
