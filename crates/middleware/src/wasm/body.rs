//! Bodies as a guest reads and writes them.

use bytes::{Buf, Bytes, BytesMut};
use http::Response;
use http_body::Frame;
use http_body_util::BodyExt;
use invoke_core::{Body, BodyError};

use super::state::Halt;

/// Why the body of an answer is not there for a guest.
#[derive(Debug)]
pub(super) enum NotTaken {
    /// This is the answer, and its body breaks.
    Broken(Box<Response<Body>>),
    TooLong(usize),
}

/// The body of a request.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    body: Body,
    /// What came, and was not read yet.
    piece: Bytes,
    is_over: bool,
    is_read: bool,
    /// All that came, if it is kept.
    kept: BytesMut,
}

/// What a guest reads a body for.
#[derive(Debug)]
pub(super) enum Rest {
    /// Nobody read anything.
    Untouched(Body),
    /// It was read and kept, and is as it was.
    Restored(Body),
    /// Part of it is gone. The length is known if the rest is at hand.
    Less(Body, Option<u64>),
}

impl Incoming {
    pub(super) fn new(body: Body) -> Self {
        Self {
            body,
            ..Self::default()
        }
    }

    pub(super) fn is_read(&self) -> bool {
        self.is_read
    }

    /// Fills `room` as far as the body goes. The answer is how many bytes that are, and whether the body is over.
    pub(super) async fn read(
        &mut self,
        room: usize,
        is_kept: bool,
        bound: usize,
    ) -> Result<(Bytes, bool), Halt> {
        self.is_read = true;
        let mut read = BytesMut::new();
        while read.len() < room {
            if self.piece.is_empty() && !self.next(is_kept, bound).await? {
                break;
            }
            let take = self.piece.len().min(room - read.len());
            let taken = self.piece.split_to(take);
            if read.is_empty() && take == room {
                return Ok((taken, self.is_at_end()));
            }
            read.extend_from_slice(&taken);
        }
        Ok((read.freeze(), self.is_at_end()))
    }

    fn is_at_end(&self) -> bool {
        self.piece.is_empty() && (self.is_over || http_body::Body::is_end_stream(&self.body))
    }

    /// Waits for the next piece; `false` at the end.
    async fn next(&mut self, is_kept: bool, bound: usize) -> Result<bool, Halt> {
        while !self.is_over {
            match self.body.frame().await {
                None => self.is_over = true,
                Some(Err(error)) => {
                    self.is_over = true;
                    return Err(Halt::Refused(format!("error reading body: {error}")));
                }
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else {
                        continue;
                    };
                    if data.is_empty() {
                        continue;
                    }
                    if is_kept {
                        if self.kept.len() + data.len() > bound {
                            return Err(Halt::Refused(format!(
                                "error reading body: it is longer than {bound} bytes"
                            )));
                        }
                        self.kept.extend_from_slice(&data);
                    }
                    self.piece = data;
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// The body for whoever comes next.
    pub(super) fn rest(self, is_kept: bool) -> Rest {
        if !self.is_read {
            return Rest::Untouched(self.body);
        }
        let front = if is_kept { self.kept.freeze() } else { self.piece };
        let is_over = self.is_over || http_body::Body::is_end_stream(&self.body);
        let length = front.len() as u64;
        let body = if is_over {
            Body::full(front)
        } else {
            after(front, self.body)
        };
        if is_kept {
            Rest::Restored(body)
        } else {
            Rest::Less(body, is_over.then_some(length))
        }
    }
}

/// A body with something in front of it.
pub(super) fn after(front: Bytes, body: Body) -> Body {
    if front.is_empty() {
        return body;
    }
    body.preceded_by(Ok(Frame::data(front)))
}

/// A body that breaks at once.
pub(super) fn broken(error: BodyError) -> Body {
    Body::empty().preceded_by(Err(error))
}

/// What a guest writes.
#[derive(Debug, Default)]
pub(super) struct Written(Option<BytesMut>);

impl Written {
    /// Whether the guest wrote anything, which may be nothing.
    pub(super) fn is_begun(&self) -> bool {
        self.0.is_some()
    }

    pub(super) fn write(&mut self, data: &[u8], bound: usize) -> Result<(), Halt> {
        let written = self.0.get_or_insert_default();
        if written.len() + data.len() > bound {
            return Err(Halt::Refused(format!(
                "error writing body: it is longer than {bound} bytes"
            )));
        }
        written.extend_from_slice(data);
        Ok(())
    }

    pub(super) fn as_bytes(&self) -> Option<&[u8]> {
        self.0.as_deref()
    }

    pub(super) fn take(&mut self) -> Option<Bytes> {
        self.0.take().map(BytesMut::freeze)
    }

    /// Reads what was written, which takes it out.
    pub(super) fn read(&mut self, room: usize) -> (Bytes, bool) {
        let Some(written) = &mut self.0 else {
            return (Bytes::new(), true);
        };
        let take = room.min(written.len());
        let read = written.copy_to_bytes(take);
        (read, take < room)
    }
}
