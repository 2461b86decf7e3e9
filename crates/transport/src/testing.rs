//! What the tests over loopback share: peers that are scripted byte by byte.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "only tests come here"
)]

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Bounds a hang; nothing waits so long otherwise.
const PATIENCE: Duration = Duration::from_secs(60);

/// The kinds of HTTP/2 frames that the tests look at.
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// Awaits what must happen soon.
#[track_caller]
pub fn soon<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let caller = std::panic::Location::caller();
    async move {
        let ended = tokio::time::timeout(PATIENCE, future).await;
        ended.unwrap_or_else(|_| panic!("{caller}: this hangs"))
    }
}

/// A listener of one's own, and its address.
pub async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

pub async fn accept(listener: &TcpListener) -> TcpStream {
    soon(listener.accept()).await.unwrap().0
}

/// An address that nobody listens on. The port was free a moment ago, and the system gives no port twice in a
/// row.
pub async fn deserted() -> String {
    listen().await.1
}

/// Reads up to and with the empty line that ends a head.
pub async fn read_head<S: AsyncRead + Unpin>(stream: &mut S) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match soon(stream.read_u8()).await {
            Ok(byte) => head.push(byte),
            Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&head)),
        }
    }
    String::from_utf8(head).unwrap()
}

/// Reads a head with a `Content-Length`, and its body.
pub async fn read_answer<S: AsyncRead + Unpin>(stream: &mut S) -> (String, String) {
    let head = read_head(stream).await;
    let length = head
        .lines()
        .find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.trim().parse::<usize>())
        })
        .unwrap_or(Ok(0))
        .unwrap();
    let mut body = vec![0; length];
    soon(stream.read_exact(&mut body)).await.unwrap();
    (head, String::from_utf8(body).unwrap())
}

/// Reads until the other side has closed the connection, in good order or not.
pub async fn read_rest<S: AsyncRead + Unpin>(stream: &mut S) -> String {
    let mut rest = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match soon(stream.read(&mut piece)).await {
            Ok(0) => break,
            Ok(count) => rest.extend_from_slice(&piece[..count]),
            Err(error) if is_reset(&error) => break,
            Err(error) => panic!("{error}"),
        }
    }
    String::from_utf8_lossy(&rest).into_owned()
}

fn is_reset(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}

pub async fn write<S: AsyncWrite + Unpin>(stream: &mut S, bytes: impl AsRef<[u8]>) {
    soon(stream.write_all(bytes.as_ref())).await.unwrap();
    soon(stream.flush()).await.unwrap();
}

/// A frame of HTTP/2.
#[derive(Debug)]
pub struct RawFrame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl RawFrame {
    /// The 32-bit number that stands at `at` in the payload.
    pub fn number(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

/// The bytes of a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// GOAWAY: the last stream that was or may be handled, and the code.
pub fn go_away(last: u32, code: u32) -> Vec<u8> {
    let mut payload = last.to_be_bytes().to_vec();
    payload.extend(code.to_be_bytes());
    frame(GOAWAY, 0, 0, &payload)
}

/// The next frame; `None` when the connection is closed.
pub async fn read_frame<S: AsyncRead + Unpin>(stream: &mut S) -> Option<RawFrame> {
    let mut head = [0; 9];
    match soon(stream.read_exact(&mut head)).await {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof || is_reset(&error) => return None,
        Err(error) => panic!("{error}"),
    }
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
    let mut payload = vec![0; length];
    soon(stream.read_exact(&mut payload)).await.unwrap();
    Some(RawFrame {
        kind: head[3],
        flags: head[4],
        stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
        payload,
    })
}

/// The next frame of one of these kinds; others are passed over, and pings and settings are answered.
pub async fn next_frame<S>(stream: &mut S, kinds: &[u8]) -> Option<RawFrame>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        let frame = read_frame(stream).await?;
        if frame.flags & ACK == 0 && matches!(frame.kind, PING | SETTINGS) {
            let payload: &[u8] = if frame.kind == PING { &frame.payload } else { &[] };
            let answer = self::frame(frame.kind, ACK, 0, payload);
            // The other side may have gone.
            let _ = soon(stream.write_all(&answer)).await;
        }
        if kinds.contains(&frame.kind) {
            return Some(frame);
        }
    }
}

/// A listener whose queue is full: connections to it are neither made nor refused.
#[cfg(test)]
pub(crate) struct FullListener {
    pub(crate) address: String,
    _listener: socket2::Socket,
    _queue: Vec<socket2::Socket>,
}

#[cfg(test)]
impl FullListener {
    pub(crate) fn new() -> Self {
        let tcp = || socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        let listener = tcp();
        let any: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
        listener.bind(&any.into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let queue = (0..8)
            .map(|_| {
                let socket = tcp();
                socket.set_nonblocking(true).unwrap();
                let _ = socket.connect(&address);
                socket
            })
            .collect();
        Self {
            address: address.as_socket().unwrap().to_string(),
            _listener: listener,
            _queue: queue,
        }
    }
}
