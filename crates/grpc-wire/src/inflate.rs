//! One packed message, unpacked piece by piece as it comes.

use std::io::{self, Write};

use flate2::write::MultiGzDecoder;
use flate2::{Decompress, FlushDecompress, Status};

use super::{Encoding, GrpcStatus};

const RESOURCE_EXHAUSTED: i32 = 8;
const INTERNAL: i32 = 13;

/// How much is unpacked at a time.
const STEP: usize = 8 * 1024;

/// Unpacks one message within a limit. It stops at the limit, however much more there is in a few packed bytes.
pub(crate) struct Inflater {
    kind: Kind,
    max: usize,
}

enum Kind {
    Gzip(Box<MultiGzDecoder<Bounded>>),
    Deflate {
        stream: Decompress,
        out: Bounded,
        is_ended: bool,
    },
}

impl Inflater {
    /// For a message of at most `max` bytes, behind `before` bytes that stay free; `None` for one that is not packed.
    pub(crate) fn new(encoding: Encoding, max: usize, before: usize) -> Option<Self> {
        let out = Bounded {
            data: vec![0; before],
            end: max.saturating_add(before),
        };
        let kind = match encoding {
            Encoding::Identity => return None,
            Encoding::Gzip => Kind::Gzip(Box::new(MultiGzDecoder::new(out))),
            Encoding::Deflate => Kind::Deflate {
                stream: Decompress::new(true),
                out,
                is_ended: false,
            },
        };
        Some(Self { kind, max })
    }

    /// Takes the next packed bytes.
    pub(crate) fn write(&mut self, packed: &[u8]) -> Result<(), GrpcStatus> {
        let written = match &mut self.kind {
            Kind::Gzip(decoder) => decoder.write_all(packed),
            Kind::Deflate {
                stream,
                out,
                is_ended,
            } => inflate(stream, out, is_ended, packed),
        };
        written.map_err(|error| refusal(&error, self.max))
    }

    /// The whole message, behind the bytes that stayed free.
    pub(crate) fn finish(self) -> Result<Vec<u8>, GrpcStatus> {
        let finished = match self.kind {
            Kind::Gzip(decoder) => decoder.finish(),
            Kind::Deflate {
                out, is_ended: true, ..
            } => Ok(out),
            Kind::Deflate { .. } => Err(io::ErrorKind::UnexpectedEof.into()),
        };
        let out = finished.map_err(|error| refusal(&error, self.max))?;
        Ok(out.data)
    }
}

fn inflate(
    stream: &mut Decompress,
    out: &mut Bounded,
    is_ended: &mut bool,
    mut packed: &[u8],
) -> io::Result<()> {
    let mut step = [0; STEP];
    loop {
        if *is_ended {
            let nothing_follows = packed.is_empty();
            return nothing_follows.then_some(()).ok_or_else(corrupt);
        }
        let (taken, given) = (stream.total_in(), stream.total_out());
        let status = stream.decompress(packed, &mut step, FlushDecompress::None);
        let status = status.map_err(|_| corrupt())?;
        let taken = (stream.total_in() - taken) as usize;
        let given = (stream.total_out() - given) as usize;
        packed = packed.get(taken..).unwrap_or_default();
        out.write_all(step.get(..given).unwrap_or_default())?;
        *is_ended = status == Status::StreamEnd;
        // What did not fill the step was all that these bytes had in them.
        if !*is_ended && packed.is_empty() && given < STEP {
            return Ok(());
        }
        if !*is_ended && taken == 0 && given == 0 {
            return Err(corrupt());
        }
    }
}

fn corrupt() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "corrupt deflate stream")
}

fn refusal(error: &io::Error, max: usize) -> GrpcStatus {
    if error.kind() == io::ErrorKind::FileTooLarge {
        let text = format!("grpc: received message after decompression larger than max {max}");
        return GrpcStatus::new(RESOURCE_EXHAUSTED, text);
    }
    let text = format!("grpc: failed to decompress the received message: {error}");
    GrpcStatus::new(INTERNAL, text)
}

/// A buffer that refuses to get longer than allowed.
struct Bounded {
    data: Vec<u8>,
    end: usize,
}

impl Write for Bounded {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if data.len() > self.end - self.data.len() {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.data.extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
