//! What is known of a connection of HTTP/1 beside hyper: where it stands between its calls.

use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use hyper::body::Incoming;

use super::unread::Unread;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

pub(super) const IDLE: u8 = 0;
pub(super) const HEAD: u8 = 1;
const BUSY: u8 = 2;

/// What the handler's side and the read side of one connection know together.
#[derive(Debug)]
pub(super) struct Watch<B = Incoming> {
    pub(super) phase: AtomicU8,
    /// The head that went by last was seen from its first to its last byte.
    pub(super) whole: AtomicBool,
    pub(super) content_length: AtomicBool,
    /// How many bytes were read after that head, and the last five of them (a chunked body ends in `0\r\n\r\n`).
    pub(super) beyond: AtomicU64,
    pub(super) tail: AtomicU64,
    /// What the body of the request in progress ends with.
    expected: AtomicU64,
    /// Whether the next head starts where reading stands.
    pub(super) aligned: AtomicBool,
    /// Whether all that was written is out.
    pub(super) flushed: AtomicBool,
    /// How many requests were parsed.
    calls: AtomicU64,
    /// Which halves of the call in progress, the request and its answer, are not over.
    pub(super) halves: AtomicU8,
    /// What is left of a request that nobody reads.
    pub(super) unread: Unread<B>,
    /// The query of the request whose head went by, as it came, if it has escapes now.
    raw_query: Mutex<Option<Bytes>>,
    has_raw_query: AtomicBool,
}

/// `expected` for a chunked body.
const CHUNKED: u64 = u64::MAX;
const LAST_CHUNK: u64 = u64::from_be_bytes([0, 0, 0, b'0', b'\r', b'\n', b'\r', b'\n']);
const TAIL_MASK: u64 = 0x00ff_ffff_ffff;

/// What the head of a request said of its framing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeadFraming {
    /// No `Content-Length` went by.
    Chunked,
    /// A `Content-Length` went by, too.
    Both,
    /// The head was not seen as a whole (pipelined requests).
    Unknown,
}

impl<B> Watch<B> {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            phase: AtomicU8::new(HEAD),
            whole: AtomicBool::new(false),
            content_length: AtomicBool::new(false),
            beyond: AtomicU64::new(0),
            tail: AtomicU64::new(0),
            expected: AtomicU64::new(0),
            aligned: AtomicBool::new(true),
            flushed: AtomicBool::new(true),
            calls: AtomicU64::new(0),
            halves: AtomicU8::new(0),
            unread: Unread::default(),
            raw_query: Mutex::default(),
            has_raw_query: AtomicBool::new(false),
        })
    }

    /// How many requests were parsed so far.
    pub(super) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Whether the last answer is complete, all of its request was read, and nothing beyond.
    pub(super) fn is_between_calls(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == IDLE && self.aligned.load(Ordering::Relaxed)
    }

    /// Whether nothing of a call is left anywhere on this side.
    pub(super) fn is_quiet(&self) -> bool {
        self.is_between_calls() && self.flushed.load(Ordering::Relaxed)
    }

    /// A request was parsed. `length` is the length of its body, `None` when it is chunked. Both halves of the call are
    /// to be told when they are over.
    pub(super) fn begin(&self, length: Option<u64>) -> HeadFraming {
        self.phase.store(BUSY, Ordering::Relaxed);
        self.halves.store(2, Ordering::Relaxed);
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.expected.store(length.unwrap_or(CHUNKED), Ordering::Relaxed);
        if !self.whole.swap(false, Ordering::Relaxed) {
            return HeadFraming::Unknown;
        }
        if self.content_length.load(Ordering::Relaxed) {
            HeadFraming::Both
        } else {
            HeadFraming::Chunked
        }
    }

    /// The query of the next request is this one, before it was edited.
    pub(super) fn keep_raw_query(&self, query: Bytes) {
        *self.raw_query.lock().unwrap_or_else(PoisonError::into_inner) = Some(query);
        self.has_raw_query.store(true, Ordering::Release);
    }

    /// The query of the request that has begun, if it was edited.
    pub(super) fn take_raw_query(&self) -> Option<Bytes> {
        if !self.has_raw_query.load(Ordering::Acquire) {
            return None;
        }
        self.has_raw_query.store(false, Ordering::Release);
        self.raw_query
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// A half of the call is over. After both the next byte begins a head, if the body of the request was read to its
    /// end and no further.
    pub(super) fn finish(&self) {
        if self.halves.fetch_sub(1, Ordering::AcqRel) != 1 {
            return;
        }
        let aligned = match self.expected.load(Ordering::Relaxed) {
            CHUNKED => self.tail.load(Ordering::Relaxed) & TAIL_MASK == LAST_CHUNK,
            length => self.beyond.load(Ordering::Relaxed) == length,
        };
        self.aligned.store(aligned, Ordering::Relaxed);
        self.phase.store(IDLE, Ordering::Relaxed);
    }
}
