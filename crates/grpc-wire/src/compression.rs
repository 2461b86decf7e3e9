//! How messages are packed: `gzip` and `deflate`, within the limit of a message.

use bytes::Bytes;
use http::HeaderMap;
use http::header::HeaderName;

use super::GrpcStatus;
use super::inflate::Inflater;

const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

const UNIMPLEMENTED: i32 = 12;
const INTERNAL: i32 = 13;

/// How the messages of a stream are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Not at all.
    Identity,
    /// With gzip (RFC 1952).
    Gzip,
    /// With deflate in the format of zlib (RFC 1950).
    Deflate,
}

impl Encoding {
    fn named(name: &[u8]) -> Option<Self> {
        match name {
            b"identity" | b"" => Some(Self::Identity),
            b"gzip" => Some(Self::Gzip),
            b"deflate" => Some(Self::Deflate),
            _ => None,
        }
    }

    /// Reads `grpc-encoding`; an unknown one is refused as gRPC for Go refuses it.
    pub fn of(headers: &HeaderMap) -> Result<Self, GrpcStatus> {
        let Some(name) = headers.get(GRPC_ENCODING) else {
            return Ok(Self::Identity);
        };
        Self::named(name.as_bytes()).ok_or_else(|| {
            let name = String::from_utf8_lossy(name.as_bytes());
            let text = format!("grpc: Decompressor is not installed for grpc-encoding \"{name}\"");
            GrpcStatus::new(UNIMPLEMENTED, text)
        })
    }

    /// How messages that are passed on are packed, if they are and can be unpacked here.
    pub fn packed(headers: &HeaderMap) -> Option<Self> {
        let name = headers.get(GRPC_ENCODING)?;
        Self::named(name.as_bytes()).filter(|encoding| *encoding != Self::Identity)
    }

    /// Takes out of a head what says that its messages are packed.
    pub fn remove(headers: &mut HeaderMap) {
        headers.remove(GRPC_ENCODING);
    }

    /// The message as it was before compression; one of more than `max` bytes is refused.
    pub fn decode(self, is_compressed: bool, message: Bytes, max: usize) -> Result<Bytes, GrpcStatus> {
        if !is_compressed {
            return Ok(message);
        }
        let mut inflater = Inflater::new(self, max, 0).ok_or_else(|| {
            let text = "grpc: compressed flag set with identity or empty encoding";
            GrpcStatus::new(INTERNAL, text)
        })?;
        inflater.write(&message)?;
        Ok(inflater.finish()?.into())
    }
}

/// What somebody said that can be unpacked: `grpc-accept-encoding`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accepted(u8);

impl Accepted {
    /// What a head says; `None` when it says nothing.
    pub fn told(headers: &HeaderMap) -> Option<Self> {
        let mut told = None;
        let names = headers.get_all(GRPC_ACCEPT_ENCODING).iter();
        for name in names.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')) {
            let before: Self = told.unwrap_or_default();
            let known = Encoding::named(name.trim_ascii());
            told = Some(known.map_or(before, |encoding| before.and(encoding)));
        }
        told
    }

    /// What the caller with this head can unpack: what it says, and what it packs with.
    pub fn of_caller(headers: &HeaderMap) -> Self {
        let told = Self::told(headers).unwrap_or_default();
        Encoding::packed(headers).map_or(told, |encoding| told.and(encoding))
    }

    /// With this one, too.
    #[must_use]
    pub fn and(self, encoding: Encoding) -> Self {
        Self(self.0 | Self::bit(encoding))
    }

    /// Whether messages so packed can be unpacked. Those that are not packed always can.
    pub fn has(self, encoding: Encoding) -> bool {
        self.0 & Self::bit(encoding) == Self::bit(encoding)
    }

    fn bit(encoding: Encoding) -> u8 {
        match encoding {
            Encoding::Identity => 0,
            Encoding::Gzip => 1,
            Encoding::Deflate => 2,
        }
    }

    /// As a number, to be kept in an atomic.
    pub fn bits(self) -> u8 {
        self.0
    }

    /// From what [`Accepted::bits`] gave.
    pub fn from_bits(bits: u8) -> Self {
        Self(bits)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use http::HeaderValue;

    use super::*;

    fn packed(data: &[u8]) -> [(Encoding, Bytes); 2] {
        let level = flate2::Compression::default();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), level);
        gzip.write_all(data).unwrap();
        let mut deflate = flate2::write::ZlibEncoder::new(Vec::new(), level);
        deflate.write_all(data).unwrap();
        [
            (Encoding::Gzip, gzip.finish().unwrap().into()),
            (Encoding::Deflate, deflate.finish().unwrap().into()),
        ]
    }

    #[test]
    fn what_was_packed_is_unpacked() {
        for length in [0, 1, 1000, 100_000] {
            let data: Vec<u8> = (0..length)
                .map(|at: u32| (at.wrapping_mul(at) >> 3) as u8)
                .collect();
            for (encoding, message) in packed(&data) {
                assert_eq!(encoding.decode(true, message, 100_000).unwrap(), data);
            }
        }
    }

    #[test]
    fn a_bomb_is_refused() {
        for (encoding, bomb) in packed(&vec![0; 1 << 20]) {
            assert!(bomb.len() < 2000);
            let refused = encoding.decode(true, bomb.clone(), 1 << 16).unwrap_err();
            assert_eq!(refused.code, 8);
            let refused = encoding.decode(true, bomb.clone(), (1 << 20) - 1).unwrap_err();
            assert_eq!(
                refused.message,
                "grpc: received message after decompression larger than max 1048575"
            );
            assert_eq!(encoding.decode(true, bomb, 1 << 20).unwrap().len(), 1 << 20);
        }
    }

    #[test]
    fn what_is_damaged_is_refused() {
        for (encoding, good) in packed(b"some words, and some more of them") {
            let mut longer = good.to_vec();
            longer.push(b'x');
            let mut wrong = good.to_vec();
            wrong[12] ^= 0x55;
            let bad = [
                Bytes::new(),
                Bytes::from_static(b"junk"),
                good.slice(..good.len() - 1),
                good.slice(..good.len() / 2),
                longer.into(),
                wrong.into(),
            ];
            for bad in bad {
                let status = encoding.decode(true, bad.clone(), 1000).unwrap_err();
                assert_eq!(status.code, 13, "{encoding:?} {bad:?}");
                let text = "grpc: failed to decompress the received message: ";
                assert!(status.message.starts_with(text), "{}", status.message);
            }
        }
        let status = Encoding::Identity.decode(true, Bytes::new(), 10).unwrap_err();
        assert_eq!(status.code, 13);
    }

    #[test]
    fn encodings() {
        let of = |name: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(GRPC_ENCODING, HeaderValue::from_static(name));
            (
                Encoding::of(&headers).map_err(|status| status.message),
                Encoding::packed(&headers),
            )
        };
        assert_eq!(of("gzip"), (Ok(Encoding::Gzip), Some(Encoding::Gzip)));
        assert_eq!(of("deflate"), (Ok(Encoding::Deflate), Some(Encoding::Deflate)));
        assert_eq!(of("identity"), (Ok(Encoding::Identity), None));
        let unknown = "grpc: Decompressor is not installed for grpc-encoding \"zstd\"";
        assert_eq!(of("zstd"), (Err(unknown.to_owned()), None));
        assert_eq!(Encoding::packed(&HeaderMap::new()), None);
    }

    #[test]
    fn what_is_accepted() {
        let (gzip, deflate) = (Encoding::Gzip, Encoding::Deflate);
        for (lines, wanted) in [
            (&[][..], None),
            (&["identity"], Some([false, false])),
            (&[""], Some([false, false])),
            (&["zstd, br"], Some([false, false])),
            (&["identity, deflate, gzip"], Some([true, true])),
            (&["gzip,identity"], Some([true, false])),
            (&["identity", "deflate"], Some([false, true])),
            (&[" gzip ,"], Some([true, false])),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(GRPC_ACCEPT_ENCODING, HeaderValue::from_static(line));
            }
            let told = Accepted::told(&headers);
            let has = told.map(|told| [told.has(gzip), told.has(deflate)]);
            assert_eq!(has, wanted, "{lines:?}");
            let caller = Accepted::of_caller(&headers);
            assert_eq!(caller, told.unwrap_or_default());
            assert!(caller.has(Encoding::Identity));
            headers.insert(GRPC_ENCODING, HeaderValue::from_static("gzip"));
            assert!(Accepted::of_caller(&headers).has(gzip));
            assert_eq!(Accepted::from_bits(caller.bits()), caller);
        }
    }
}
