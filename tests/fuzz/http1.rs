//! The framing of HTTP/1: what the handler of a server sees of a connection.
#![allow(
    clippy::unwrap_used,
    reason = "a target that cannot go on panics, and shows why"
)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bolero::check;
use bytes::Bytes;
use fuzz::{Near, cut, seeds};
use http::{Request, Response, Version, header};
use http_body_util::{BodyExt, Full};
use lifecycle::Shutdown;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use transport::Descriptors;
use transport::server::{H2Config, Handler, HttpServerConfig, RequestBody};

const WORDS: [&str; 18] = [
    "\r\n",
    "\r\n\r\n",
    "\n",
    "\r",
    "Content-Length: 4\r\n",
    "Content-Length: 0\r\n",
    "content-length:4\r\n",
    "Content-Length : 4\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: identity\r\n",
    "transfer-encoding:\tchunked , chunked\r\n",
    "Connection: close\r\n",
    "Expect: 100-continue\r\n",
    "0\r\n\r\n",
    "4\r\nbody\r\n",
    "GET /c HTTP/1.1\r\nHost: h\r\n\r\n",
    "+4",
    " ",
];

/// What the handler sees of a request; no body where it broke.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    line: String,
    version: Version,
    is_chunked: bool,
    length: Option<String>,
    body: Option<Bytes>,
}

#[derive(Clone, Default)]
struct App(Arc<Mutex<Vec<Seen>>>);

impl Handler for App {
    type Body = Full<Bytes>;

    async fn call(&self, request: Request<RequestBody>) -> Response<Self::Body> {
        let (parts, body) = request.into_parts();
        let length = parts.headers.get(header::CONTENT_LENGTH);
        let at = {
            let mut seen = self.0.lock().unwrap();
            seen.push(Seen {
                line: format!("{} {}", parts.method, parts.uri),
                version: parts.version,
                is_chunked: parts.headers.contains_key(header::TRANSFER_ENCODING),
                length: length.map(|length| String::from_utf8_lossy(length.as_bytes()).into_owned()),
                body: None,
            });
            seen.len() - 1
        };
        let body = body.collect().await.ok().map(http_body_util::Collected::to_bytes);
        self.0.lock().unwrap()[at].body = body;
        Response::new(Full::default())
    }
}

/// Sends pieces over a connection and closes it; what the handler saw.
fn seen(pieces: &[&[u8]], has_h2c: bool) -> Vec<Seen> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let app = App::default();
    let h2c = has_h2c.then_some(H2Config {
        max_header_list: 4096,
        max_concurrent_streams: 10,
        max_frame: 16 * 1024,
        stream_window: 64 * 1024,
        connection_window: 64 * 1024,
        budget: std::sync::Arc::default(),
        max_upgrade_body: 64,
    });
    let config = HttpServerConfig {
        max_header_bytes: 4096,
        header_timeout: Duration::from_secs(10),
        h2c,
        descriptors: Descriptors::default(),
    };
    runtime.block_on(async {
        let (client, server) = duplex(64 * 1024);
        let (_trigger, shutdown) = Shutdown::new();
        let served = tokio::spawn(transport::fuzz::serve_one(server, config, app.clone(), shutdown));
        let (mut reader, mut writer) = tokio::io::split(client);
        let read = tokio::spawn(async move {
            let mut answers = Vec::new();
            let _ = reader.read_to_end(&mut answers).await;
        });
        for piece in pieces {
            if writer.write_all(piece).await.is_err() {
                break;
            }
            // Lets the server see it before the next one.
            for _ in 0..8 {
                tokio::task::yield_now().await;
            }
        }
        let _ = writer.shutdown().await;
        // The clock stands still while anybody works: this is a hang.
        let ended = tokio::time::timeout(Duration::from_secs(3600), served).await;
        assert!(
            ended.is_ok_and(|served| served.is_ok()),
            "the server does not let go"
        );
        read.abort();
    });
    drop(runtime);
    app.0.lock().unwrap().clone()
}

/// However the bytes are cut, the handler sees the same requests one after the other; where it is not sure of the end of
/// one, it sees none behind it. Nothing has two ends.
#[test]
fn requests() {
    let seeds = seeds("http1");
    check!()
        .with_type::<(Near, Vec<u16>, bool)>()
        .for_each(|(near, cuts, has_h2c)| {
            let bytes = near.to_bytes(&seeds, &WORDS);
            let whole = seen(&[&bytes], *has_h2c);
            let pieces = seen(&cut(&bytes, cuts), *has_h2c);
            for (one, other) in whole.iter().zip(&pieces) {
                assert_eq!(one, other);
            }
            for request in whole.iter().chain(&pieces) {
                assert!(!request.is_chunked || request.length.is_none(), "{request:?}");
                if let (Some(length), Some(body)) = (&request.length, &request.body) {
                    assert_eq!(length.trim().parse(), Ok(body.len()), "{request:?}");
                }
                if request.length.is_none() && !request.is_chunked && request.version < Version::HTTP_2 {
                    assert!(request.body.as_ref().is_none_or(Bytes::is_empty), "{request:?}");
                }
            }
        });
}
