//! Bytes become frames.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use http::Request;
use tokio::io::AsyncRead;
use tokio_util::io::poll_read_buf;

use crate::config::Config;
use crate::error::Reason;
use crate::fields::Block;
use crate::frame::{self, FrameHead, HEAD, PREFACE, flag, kind};
use crate::hpack::Decoder;
use crate::state::{Role, State};
use crate::stream::Key;

/// The size of the table for header fields that peers may use (RFC 9113, section 6.5.2).
const TABLE: usize = 4096;
/// How much is read at once, at first and at most.
const LEAST_READ: usize = 4 * 1024;
const MOST_READ: usize = 128 * 1024;
/// With so many streams the heads of further ones are copied out of the buffer that they were read into.
const MANY: usize = 256;
/// How many frames a header block has at most beyond those that its length needs.
const SPARE_CONTINUATIONS: usize = 8;

/// Reads frames, and gives them to the state.
pub(super) struct Reader {
    buffer: BytesMut,
    read_size: usize,
    decoder: Decoder,
    max_header_list: u32,
    /// How much of the client's preface has not come.
    preface: &'static [u8],
    /// The first frame, which must be SETTINGS, was there (section 3.4).
    has_begun: bool,
    block: Option<Partial>,
}

/// A header block that is not complete.
#[derive(Debug)]
struct Partial {
    stream: u32,
    is_end: bool,
    bytes: BytesMut,
    frames: usize,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("buffered", &self.buffer.len())
            .field("block", &self.block)
            .finish_non_exhaustive()
    }
}

impl Reader {
    pub(super) fn new(role: Role, config: &Config) -> Self {
        Self {
            buffer: BytesMut::new(),
            read_size: LEAST_READ,
            decoder: Decoder::new(TABLE),
            max_header_list: config.max_header_list,
            preface: match role {
                Role::Client => &[],
                Role::Server => PREFACE,
            },
            has_begun: false,
            block: None,
        }
    }

    /// Whether the peer has shown that it speaks HTTP/2.
    pub(super) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Reads what is there. The size of reads follows what comes.
    pub(super) fn poll_fill<IO>(&mut self, io: &mut IO, cx: &mut Context<'_>) -> Poll<io::Result<usize>>
    where
        IO: AsyncRead + Unpin,
    {
        // A quarter holds small frames. Room for a large one is made when its head has come.
        if self.buffer.capacity() - self.buffer.len() < self.read_size / 4 {
            self.buffer.reserve(self.read_size);
        }
        let room = self.buffer.capacity() - self.buffer.len();
        let polled = poll_read_buf(Pin::new(io), cx, &mut self.buffer);
        if let Poll::Ready(Ok(read)) = polled {
            if read == room {
                self.read_size = (self.read_size * 2).min(MOST_READ);
            } else if read < self.read_size / 4 {
                self.read_size = (self.read_size / 2).max(LEAST_READ);
            }
        }
        polled
    }

    /// Gives a buffer of more than `kept` bytes back while nothing comes.
    pub(super) fn release(&mut self, kept: usize) {
        if self.buffer.is_empty() && self.buffer.capacity() > kept {
            self.buffer = BytesMut::new();
        }
    }

    /// Acts on all frames that are complete.
    pub(super) fn take_in(
        &mut self,
        state: &mut State,
        begun: &mut Vec<(Key, Request<()>)>,
    ) -> Result<(), Reason> {
        if !self.preface.is_empty() {
            let come = self.buffer.len().min(self.preface.len());
            let (expected, missing) = self.preface.split_at(come);
            if self.buffer[..come] != *expected {
                return Err(Reason::PROTOCOL_ERROR);
            }
            self.buffer.advance(come);
            self.preface = missing;
        }
        while let Some(head) = FrameHead::parse(&self.buffer) {
            if head.length > state.max_frame() {
                return Err(Reason::FRAME_SIZE_ERROR);
            }
            if !self.has_begun {
                if head.kind != kind::SETTINGS {
                    return Err(Reason::PROTOCOL_ERROR);
                }
                self.has_begun = true;
            }
            let length = HEAD + head.length as usize;
            if self.buffer.len() < length {
                if self.buffer.capacity() < length {
                    self.buffer.reserve(length - self.buffer.len());
                }
                break;
            }
            self.check_block(head)?;
            match head.kind {
                kind::DATA | kind::HEADERS | kind::CONTINUATION => {
                    let mut payload = self.buffer.split_to(length);
                    payload.advance(HEAD);
                    self.take_in_long(head, payload, state, begun)?;
                }
                _ => {
                    // Read in place: nothing of such a frame is kept, so the buffer need not be shared for it.
                    state.receive(head, &self.buffer[HEAD..length])?;
                    self.buffer.advance(length);
                }
            }
        }
        Ok(())
    }

    /// Nothing may come between the frames of a header block (section 6.10).
    fn check_block(&self, head: FrameHead) -> Result<(), Reason> {
        let is_continued = self.block.as_ref().map(|block| block.stream);
        let continues = (head.kind == kind::CONTINUATION).then_some(head.stream);
        if is_continued == continues {
            Ok(())
        } else {
            Err(Reason::PROTOCOL_ERROR)
        }
    }

    fn take_in_long(
        &mut self,
        head: FrameHead,
        payload: BytesMut,
        state: &mut State,
        begun: &mut Vec<(Key, Request<()>)>,
    ) -> Result<(), Reason> {
        let total = payload.len();
        let mut payload = payload.freeze();
        if head.kind != kind::CONTINUATION {
            if head.stream == 0 {
                return Err(Reason::PROTOCOL_ERROR);
            }
            if head.has(flag::PADDED) {
                unpad(&mut payload)?;
            }
        }
        match head.kind {
            kind::DATA => {
                if head.length == frame::LEAST_MAX_FRAME {
                    state.allow_long_frames();
                }
                state.receive_data(head.stream, payload, total, head.has(flag::END_STREAM))
            }
            kind::HEADERS => {
                if head.has(flag::PRIORITY) {
                    if payload.len() < 5 {
                        return Err(Reason::FRAME_SIZE_ERROR);
                    }
                    if frame::depends_on(&payload, head.stream) {
                        return Err(Reason::PROTOCOL_ERROR);
                    }
                    payload.advance(5);
                }
                let is_end = head.has(flag::END_STREAM);
                if head.has(flag::END_HEADERS) {
                    return self.take_in_block(head.stream, payload, is_end, state, begun);
                }
                // Copied, since the rest is appended to it. Heads that need a second frame are rare.
                self.block = Some(Partial {
                    stream: head.stream,
                    is_end,
                    bytes: BytesMut::from(&payload[..]),
                    frames: 1,
                });
                Ok(())
            }
            _ => self.continue_block(head, &payload, state, begun),
        }
    }

    fn continue_block(
        &mut self,
        head: FrameHead,
        payload: &Bytes,
        state: &mut State,
        begun: &mut Vec<(Key, Request<()>)>,
    ) -> Result<(), Reason> {
        let Some(mut block) = self.block.take() else {
            return Err(Reason::PROTOCOL_ERROR);
        };
        block.bytes.extend_from_slice(payload);
        block.frames += 1;
        let longest = self.max_header_list as usize;
        // What is longer coded than it may be decoded is not worth reading on for; nor are frames without end.
        let is_flood = block.frames > longest / 4096 + SPARE_CONTINUATIONS;
        if block.bytes.len() > longest.saturating_add(TABLE) || is_flood {
            return Err(Reason::ENHANCE_YOUR_CALM);
        }
        if head.has(flag::END_HEADERS) {
            return self.take_in_block(block.stream, block.bytes.freeze(), block.is_end, state, begun);
        }
        self.block = Some(block);
        Ok(())
    }

    fn take_in_block(
        &mut self,
        stream: u32,
        bytes: Bytes,
        is_end: bool,
        state: &mut State,
        begun: &mut Vec<(Key, Request<()>)>,
    ) -> Result<(), Reason> {
        // Values of fields are parts of the buffer, which all of them keep alive. A few calls may, and are spared a copy.
        let bytes = if state.streams.len() < MANY {
            bytes
        } else {
            Bytes::copy_from_slice(&bytes)
        };
        let mut block = Block::new(self.max_header_list);
        // The table must stay in step, whatever becomes of the block.
        if self.decoder.decode(bytes, &mut block).is_err() {
            return Err(Reason::COMPRESSION_ERROR);
        }
        begun.extend(state.receive_head(stream, block, is_end)?);
        Ok(())
    }
}

/// Takes the padding off (section 6.1).
fn unpad(payload: &mut Bytes) -> Result<(), Reason> {
    if payload.is_empty() {
        return Err(Reason::FRAME_SIZE_ERROR);
    }
    let padding = usize::from(payload.get_u8());
    if padding > payload.len() {
        return Err(Reason::PROTOCOL_ERROR);
    }
    payload.truncate(payload.len() - padding);
    Ok(())
}
