//! What a client speaks, by the first bytes it sends.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use futures_util::FutureExt;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

use super::rewound::Rewound;

/// The client connection preface of RFC 9113, section 3.4.
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What is read of a first line to find out whether it is one of HTTP/1.
const LONGEST_LINE: usize = 1024;

/// As much as is read at once of HTTP/1: most heads are shorter.
const WHOLE_HEAD: usize = 4 * 1024;

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spoken {
    Http1,
    /// HTTP/2 by prior knowledge.
    Http2,
    /// Three words or more of which the last is no version. Whoever says that would not understand an answer.
    Other,
}

/// Reads until the client has shown what it speaks.
pub(super) async fn detect<S>(mut io: S, patience: Duration) -> io::Result<(Spoken, Rewound<S>)>
where
    S: AsyncRead + Unpin,
{
    let mut first = BytesMut::with_capacity(PREFACE.len());
    let spoken = timeout(patience, async {
        loop {
            // No more than the preface unless there is a reason: who speaks HTTP/2 sends much at once.
            let room = if first.len() < PREFACE.len() {
                PREFACE.len() - first.len()
            } else {
                LONGEST_LINE - first.len()
            };
            let read = (&mut io).take(room as u64).read_buf(&mut first).await?;
            if let Some(spoken) = judge(&first) {
                return io::Result::Ok(spoken);
            }
            if read == 0 {
                return Ok(Spoken::Http1);
            }
        }
    });
    let spoken = spoken.await??;
    if spoken == Spoken::Http1 {
        // What else has come is read with it: targets are looked at whole where they can be.
        first.reserve(WHOLE_HEAD);
        if let Some(read) = io.read_buf(&mut first).now_or_never() {
            read?;
        }
    }
    let first = first.freeze();
    Ok((spoken, Rewound { first, io }))
}

/// What is spoken, as soon as that is certain.
fn judge(first: &[u8]) -> Option<Spoken> {
    let len = first.len().min(PREFACE.len());
    if first[..len] == PREFACE[..len] {
        return (len == PREFACE.len()).then_some(Spoken::Http2);
    }
    let end = first.iter().position(|byte| *byte == b'\n');
    let line = first[..end.unwrap_or(first.len())].trim_ascii_end();
    let mut words = line.splitn(3, |byte| *byte == b' ');
    let Some(third) = words.nth(2) else {
        return Some(Spoken::Http1);
    };
    let is_version = |word: &[u8]| word.starts_with(b"HTTP/") || b"HTTP/".starts_with(word);
    let last = third.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    match end {
        _ if is_version(third) || is_version(last) && end.is_some() => Some(Spoken::Http1),
        Some(_) => Some(Spoken::Other),
        None if first.len() >= LONGEST_LINE => Some(Spoken::Http1),
        // A blank in what is asked for: that is bad HTTP, and answered.
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spoken() {
        for (first, wanted) in [
            (&PREFACE[..], Some(Spoken::Http2)),
            (&PREFACE[..23], None),
            (&[], None),
            (b"PRI * HTTP/1.1\r\n", Some(Spoken::Http1)),
            (b"G", Some(Spoken::Http1)),
            (b"GET / HTTP/1.1\r\n", Some(Spoken::Http1)),
            (b"GET / HT", Some(Spoken::Http1)),
            (b"GET / HTTP/9\r\n", Some(Spoken::Http1)),
            (b"GET /\r\n", Some(Spoken::Http1)),
            (b"GET / \r\n", Some(Spoken::Http1)),
            (b"nonsense\r\n", Some(Spoken::Http1)),
            (b"GET /a b", None),
            (b"GET /a b HTTP/1.1\n", Some(Spoken::Http1)),
            (b"INVALID CONNECTION PREFA", None),
            (b"INVALID CONNECTION PREFACE\r\n", Some(Spoken::Other)),
            (b"220 mail.example ESMTP\r\n", Some(Spoken::Other)),
            (b"\x16\x03\x01", Some(Spoken::Http1)),
            (b"GET / http/1.1\r\n", Some(Spoken::Other)),
            (&[b'a'; LONGEST_LINE], Some(Spoken::Http1)),
        ] {
            assert_eq!(judge(first), wanted, "{:?}", String::from_utf8_lossy(first));
        }
        let endless = [b"a b c ".repeat(LONGEST_LINE / 6), b"    ".to_vec()].concat();
        assert_eq!(judge(&endless), Some(Spoken::Http1));
    }
}
