//! Frames: nine bytes of head, then the payload (RFC 9113, sections 4.1 and 6).

use crate::error::Reason;

/// What a client sends first (section 3.4).
pub(crate) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The length of a frame's head.
pub(crate) const HEAD: usize = 9;
/// The longest payload that every peer accepts.
pub(crate) const LEAST_MAX_FRAME: u32 = 16 * 1024;
/// The longest payload that a peer can ask for.
pub(crate) const GREATEST_MAX_FRAME: u32 = (1 << 24) - 1;
/// The greatest window (section 6.9.1).
pub(crate) const GREATEST_WINDOW: i64 = (1 << 31) - 1;
/// The window of connections and streams until somebody says otherwise (section 6.9.2).
pub(crate) const INITIAL_WINDOW: i64 = 65_535;

/// The kinds of frames.
pub(crate) mod kind {
    pub(crate) const DATA: u8 = 0;
    pub(crate) const HEADERS: u8 = 1;
    pub(crate) const PRIORITY: u8 = 2;
    pub(crate) const RST_STREAM: u8 = 3;
    pub(crate) const SETTINGS: u8 = 4;
    pub(crate) const PUSH_PROMISE: u8 = 5;
    pub(crate) const PING: u8 = 6;
    pub(crate) const GOAWAY: u8 = 7;
    pub(crate) const WINDOW_UPDATE: u8 = 8;
    pub(crate) const CONTINUATION: u8 = 9;
}

/// The flags of frames.
pub(crate) mod flag {
    pub(crate) const ACK: u8 = 1;
    pub(crate) const END_STREAM: u8 = 1;
    pub(crate) const END_HEADERS: u8 = 4;
    pub(crate) const PADDED: u8 = 8;
    pub(crate) const PRIORITY: u8 = 0x20;
}

/// The names of settings (section 6.5.2).
pub(crate) mod setting {
    pub(crate) const HEADER_TABLE_SIZE: u16 = 1;
    pub(crate) const ENABLE_PUSH: u16 = 2;
    pub(crate) const MAX_CONCURRENT_STREAMS: u16 = 3;
    pub(crate) const INITIAL_WINDOW_SIZE: u16 = 4;
    pub(crate) const MAX_FRAME_SIZE: u16 = 5;
    pub(crate) const MAX_HEADER_LIST_SIZE: u16 = 6;
}

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHead {
    pub(crate) length: u32,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
}

impl FrameHead {
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let [a, b, c, kind, flags, stream @ ..] = *bytes.first_chunk::<HEAD>()?;
        Some(Self {
            length: u32::from_be_bytes([0, a, b, c]),
            kind,
            flags,
            stream: u32::from_be_bytes(stream) & (u32::MAX >> 1),
        })
    }

    pub(crate) fn to_bytes(self) -> [u8; HEAD] {
        let mut bytes = [0; HEAD];
        bytes[..4].copy_from_slice(&(self.length << 8).to_be_bytes());
        bytes[3] = self.kind;
        bytes[4] = self.flags;
        bytes[5..].copy_from_slice(&self.stream.to_be_bytes());
        bytes
    }

    pub(crate) fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Appends a frame with a short payload.
pub(crate) fn put(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let head = FrameHead {
        length: payload.len() as u32,
        kind,
        flags,
        stream,
    };
    out.extend_from_slice(&head.to_bytes());
    out.extend_from_slice(payload);
}

pub(crate) fn put_reset(out: &mut Vec<u8>, stream: u32, reason: Reason) {
    put(out, kind::RST_STREAM, 0, stream, &u32::from(reason).to_be_bytes());
}

pub(crate) fn put_window_update(out: &mut Vec<u8>, stream: u32, increment: u32) {
    put(out, kind::WINDOW_UPDATE, 0, stream, &increment.to_be_bytes());
}

pub(crate) fn put_go_away(out: &mut Vec<u8>, last_stream: u32, reason: Reason) {
    let payload = [last_stream.to_be_bytes(), u32::from(reason).to_be_bytes()];
    put(out, kind::GOAWAY, 0, 0, payload.as_flattened());
}

pub(crate) fn put_settings(out: &mut Vec<u8>, settings: &[(u16, u32)]) {
    let payload: Vec<u8> = settings
        .iter()
        .flat_map(|(name, value)| name.to_be_bytes().into_iter().chain(value.to_be_bytes()))
        .collect();
    put(out, kind::SETTINGS, 0, 0, &payload);
}

/// Whether a priority says that its stream depends on itself, which was an error when there were priorities
/// (RFC 7540, section 5.3.1).
pub(crate) fn depends_on(priority: &[u8], stream: u32) -> bool {
    u32_at(priority, 0).is_some_and(|dependency| dependency & (u32::MAX >> 1) == stream)
}

/// The four bytes at `at`, if they are there.
pub(crate) fn u32_at(payload: &[u8], at: usize) -> Option<u32> {
    let bytes = payload.get(at..)?.first_chunk()?;
    Some(u32::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads() {
        let head = FrameHead {
            length: 0x01_02_03,
            kind: kind::HEADERS,
            flags: flag::END_HEADERS,
            stream: 0x7fff_fffe,
        };
        assert_eq!(FrameHead::parse(&head.to_bytes()), Some(head));
        let mut reserved = head.to_bytes();
        reserved[5] |= 0x80;
        assert_eq!(
            FrameHead::parse(&reserved),
            Some(head),
            "the reserved bit is ignored"
        );
        assert_eq!(FrameHead::parse(&reserved[..8]), None);
    }
}
