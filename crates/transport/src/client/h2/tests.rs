//! The pool against peers that are scripted frame by frame.

mod bounds;
mod cancel;
mod connections;
mod failures;
mod going_away;
mod streams;

use http_body_util::channel::{Channel, Sender};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::client::{Delivery, ErrorKind};
use crate::testing::*;

type Sent = UnsyncBoxBody<Bytes, BoxError>;
type Answered = Response<CountedBody>;
type Call = tokio::task::JoinHandle<Result<Answered, ClientError>>;

struct Client {
    pool: Arc<H2Pool>,
    key: PeerKey,
    tasks: Tasks,
}

impl Client {
    fn new(address: &str) -> Self {
        Self::with(address, config())
    }

    fn with(address: &str, config: H2PoolConfig) -> Self {
        let tasks = Tasks::new();
        Self {
            pool: Arc::new(H2Pool::new(config, tasks.clone())),
            key: PeerKey::new(address),
            tasks,
        }
    }

    async fn send(&self, request: Request<Sent>) -> Result<Answered, ClientError> {
        soon(self.pool.send(&self.key, request)).await
    }

    async fn get(&self) -> Result<Answered, ClientError> {
        self.send(get()).await
    }

    /// A call that goes on by itself.
    fn spawn(&self, request: Request<Sent>) -> Call {
        let (pool, key) = (Arc::clone(&self.pool), self.key.clone());
        tokio::spawn(async move { pool.send(&key, request).await })
    }

    /// How many connections to the peer are kept.
    fn connections(&self) -> usize {
        self.pool
            .peers
            .get(&self.key)
            .unwrap()
            .connections
            .read()
            .unwrap()
            .len()
    }

    /// How many calls there are on each connection.
    fn users(&self) -> Vec<usize> {
        let peer = self.pool.peers.get(&self.key).unwrap();
        let connections = peer.connections.read().unwrap();
        connections.iter().map(|connection| connection.users()).collect()
    }
}

/// What pools have, but for what depends on how fast a machine is.
fn config() -> H2PoolConfig {
    H2PoolConfig {
        patience: Duration::from_secs(3600),
        ..H2PoolConfig::default()
    }
}

fn get() -> Request<Sent> {
    Request::get("http://peer/").body(Sent::default()).unwrap()
}

fn post(body: Vec<u8>) -> Request<Sent> {
    let body = Full::from(body).map_err(BoxError::from).boxed_unsync();
    Request::post("http://peer/").body(body).unwrap()
}

fn stream() -> (Sender<Bytes, BoxError>, Request<Sent>) {
    let (sender, body) = Channel::new(1);
    (
        sender,
        Request::post("http://peer/").body(body.boxed_unsync()).unwrap(),
    )
}

/// What a call ended with.
async fn ended(call: Call) -> Result<u16, ClientError> {
    Ok(soon(call).await.unwrap()?.status().as_u16())
}

async fn bytes(answer: Answered) -> Result<Bytes, http2::Error> {
    Ok(soon(answer.into_body().collect()).await?.to_bytes())
}

/// The peer's end of a connection.
struct Peer {
    io: TcpStream,
}

impl Peer {
    /// Takes the next connection in, and sends these settings.
    async fn accept(listener: &TcpListener, settings: &[(u16, u32)]) -> Self {
        let mut peer = Self::accept_silently(listener).await;
        peer.settings(settings).await;
        peer
    }

    async fn accept_silently(listener: &TcpListener) -> Self {
        let mut io = accept(listener).await;
        let mut preface = [0; 24];
        soon(io.read_exact(&mut preface)).await.unwrap();
        assert_eq!(&preface, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        Self { io }
    }

    async fn settings(&mut self, settings: &[(u16, u32)]) {
        let mut payload = Vec::new();
        for (name, value) in settings {
            payload.extend(name.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        self.send(frame(SETTINGS, 0, 0, &payload)).await;
    }

    async fn send(&mut self, bytes: Vec<u8>) {
        write(&mut self.io, bytes).await;
    }

    /// The next frame of a kind.
    async fn next(&mut self, kind: u8) -> RawFrame {
        next_frame(&mut self.io, &[kind]).await.unwrap()
    }

    /// The stream of the next request.
    async fn request(&mut self) -> u32 {
        self.next(HEADERS).await.stream
    }

    /// The head of an answer: `:status: 200`.
    async fn head(&mut self, stream: u32) {
        self.send(frame(HEADERS, END_HEADERS, stream, &[0x88])).await;
    }

    async fn data(&mut self, flags: u8, stream: u32, data: &[u8]) {
        self.send(frame(DATA, flags, stream, data)).await;
    }

    async fn answer(&mut self, stream: u32) {
        self.send(frame(HEADERS, END_HEADERS | END_STREAM, stream, &[0x88]))
            .await;
    }

    async fn reset(&mut self, stream: u32, code: u32) {
        self.send(frame(RST_STREAM, 0, stream, &code.to_be_bytes())).await;
    }

    /// Everything that the client sends from now on.
    async fn rest(mut self) -> Vec<RawFrame> {
        let mut frames = Vec::new();
        while let Some(frame) = read_frame(&mut self.io).await {
            frames.push(frame);
        }
        frames
    }

    /// Closes this side, and waits until the client has closed its own.
    async fn close(mut self) {
        tokio::io::AsyncWriteExt::shutdown(&mut self.io).await.unwrap();
        self.rest().await;
    }

    /// Waits until the client has seen everything that was sent; returns the frames that came on the way.
    async fn sync(&mut self) -> Vec<RawFrame> {
        self.send(frame(PING, 0, 0, b"synchron")).await;
        let mut frames = Vec::new();
        loop {
            let frame = read_frame(&mut self.io).await.unwrap();
            if frame.kind == PING && frame.flags & ACK != 0 && frame.payload == b"synchron" {
                return frames;
            }
            frames.push(frame);
        }
    }
}
