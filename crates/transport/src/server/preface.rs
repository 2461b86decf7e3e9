//! Which version of HTTP a client speaks, by the first bytes it sends.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

use super::rewound::Rewound;

/// The client connection preface of RFC 9113, section 3.4.
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Reads until the client has shown what it speaks: `true` for HTTP/2 by prior knowledge.
pub(super) async fn detect<S>(mut io: S, patience: Duration) -> io::Result<(bool, Rewound<S>)>
where
    S: AsyncRead + Unpin,
{
    let mut first = [0; PREFACE.len()];
    let mut len = 0;
    let is_http2 = timeout(patience, async {
        loop {
            let read = io.read(&mut first[len..]).await?;
            len += read;
            if read == 0 || first[..len] != PREFACE[..len] {
                return io::Result::Ok(false);
            }
            if len == PREFACE.len() {
                return Ok(true);
            }
        }
    })
    .await??;
    Ok((
        is_http2,
        Rewound {
            first: Bytes::copy_from_slice(&first[..len]),
            io,
        },
    ))
}
