//! Compressed messages: `gzip`, within the limit of a message.

use std::io::Read;

use bytes::Bytes;
use flate2::read::GzDecoder;
use http::HeaderMap;

use super::GrpcStatus;

/// How the messages of a stream are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Not at all.
    Identity,
    /// With gzip.
    Gzip,
}

impl Encoding {
    /// Reads `grpc-encoding`; an unknown one is refused as gRPC for Go refuses it.
    pub fn of(headers: &HeaderMap) -> Result<Self, GrpcStatus> {
        match headers.get("grpc-encoding").map(http::HeaderValue::as_bytes) {
            None | Some(b"identity" | b"") => Ok(Self::Identity),
            Some(b"gzip") => Ok(Self::Gzip),
            Some(other) => Err(GrpcStatus::new(
                12,
                format!(
                    "grpc: Decompressor is not installed for grpc-encoding \"{}\"",
                    String::from_utf8_lossy(other)
                ),
            )),
        }
    }

    /// The message as it was before compression; one of more than `max` bytes is refused.
    pub fn decode(self, is_compressed: bool, message: Bytes, max: usize) -> Result<Bytes, GrpcStatus> {
        match (is_compressed, self) {
            (false, _) => Ok(message),
            (true, Self::Identity) => Err(GrpcStatus::new(
                13,
                "grpc: compressed flag set with identity or empty encoding",
            )),
            (true, Self::Gzip) => inflate(&message, max),
        }
    }
}

fn inflate(message: &[u8], max: usize) -> Result<Bytes, GrpcStatus> {
    let mut inflated = Vec::new();
    let limit = max as u64 + 1;
    GzDecoder::new(message)
        .take(limit)
        .read_to_end(&mut inflated)
        .map_err(|error| {
            GrpcStatus::new(
                13,
                format!("grpc: failed to decompress the received message: {error}"),
            )
        })?;
    if inflated.len() > max {
        let text = format!("grpc: received message after decompression larger than max {max}");
        return Err(GrpcStatus::new(8, text));
    }
    Ok(inflated.into())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn deflate(data: &[u8]) -> Bytes {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap().into()
    }

    #[test]
    fn a_bomb_is_refused() {
        let bomb = deflate(&vec![0; 1 << 20]);
        assert!(bomb.len() < 2000);
        assert_eq!(
            Encoding::Gzip
                .decode(true, bomb.clone(), 1 << 16)
                .unwrap_err()
                .code,
            8
        );
        assert_eq!(Encoding::Gzip.decode(true, bomb, 1 << 20).unwrap().len(), 1 << 20);
        assert_eq!(
            Encoding::Gzip
                .decode(true, Bytes::from_static(b"junk"), 10)
                .unwrap_err()
                .code,
            13
        );
    }

    #[test]
    fn unknown_encodings_are_named() {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-encoding", "zstd".parse().unwrap());
        let status = Encoding::of(&headers).unwrap_err();
        assert_eq!(
            status.message,
            "grpc: Decompressor is not installed for grpc-encoding \"zstd\""
        );
    }
}
