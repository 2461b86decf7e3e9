//! The app of the bench: cheap, and on a thread of its own.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http_body::Body as _;
use http_body_util::channel::Channel;
use http_body_util::{BodyExt, Full};
use integration_tests::{HttpApp, Protocol, Request, Response, text};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::oneshot;

use crate::grpc;

/// The length of one piece of a large body.
pub(crate) const PIECE: usize = 64 * 1024;
/// How many connections may wait to be accepted.
const BACKLOG: u32 = 4096;
/// How long `/slow` keeps a call: long enough for all of a crowd to arrive.
const SLOWNESS: Duration = Duration::from_secs(2);

/// The app, which ends when dropped.
pub(crate) struct BenchApp {
    /// Its port for HTTP/1.
    pub(crate) port: u16,
    /// Its port for gRPC.
    pub(crate) grpc_port: u16,
    state: Arc<State>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct State {
    answer: Bytes,
    /// The same as a gRPC message, and as the answer to `OnInvoke`.
    message: Bytes,
    invoked: Bytes,
    served: AtomicU64,
    inside: AtomicUsize,
    most_inside: AtomicUsize,
    received: AtomicU64,
}

impl BenchApp {
    /// Starts the app. `/fixed` answers with `body` bytes, `/slow` too but late, `/upload` with the number of bytes
    /// that came, `/download?BYTES` with so many bytes. Its gRPC methods are those of the module `grpc`.
    pub(crate) fn start(body: usize) -> Self {
        let fixed = vec![b'y'; body];
        let state = Arc::new(State {
            message: grpc::framed(&fixed),
            invoked: grpc::invoke_response(&fixed),
            answer: fixed.into(),
            served: AtomicU64::new(0),
            inside: AtomicUsize::new(0),
            most_inside: AtomicUsize::new(0),
            received: AtomicU64::new(0),
        });
        let (stop, stopped) = oneshot::channel();
        let (tell_ports, ports) = std::sync::mpsc::channel();
        let shared = Arc::clone(&state);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async move {
                let of_http = Arc::clone(&shared);
                let http = HttpApp::start_on(listener(), Protocol::Http, move |request| {
                    answer(request, Arc::clone(&of_http))
                });
                let grpc = HttpApp::start_on(listener(), Protocol::H2c, move |request| {
                    answer_grpc(request, Arc::clone(&shared))
                });
                let _ = tell_ports.send((http.port, grpc.port));
                let _ = stopped.await;
            });
        });
        let (port, grpc_port) = ports.recv().expect("the app starts");
        Self {
            port,
            grpc_port,
            state,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// The calls that `/fixed` and the unary methods answered so far.
    pub(crate) fn served(&self) -> u64 {
        self.state.served.load(Ordering::Relaxed)
    }

    /// The most calls that were in `/slow` at once so far.
    pub(crate) fn most_inside(&self) -> usize {
        self.state.most_inside.load(Ordering::Relaxed)
    }

    /// The bytes that `/upload` received so far.
    pub(crate) fn received(&self) -> u64 {
        self.state.received.load(Ordering::Relaxed)
    }
}

impl Drop for BenchApp {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A listener with room for a crowd that connects at once: a dropped handshake costs a second.
fn listener() -> TcpListener {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a free port");
    socket.listen(BACKLOG).expect("a free port")
}

async fn answer(request: Request, state: Arc<State>) -> Response {
    let (head, body) = request.into_parts();
    let length = drain(body, &state.received).await;
    match head.uri.path() {
        "/fixed" => {
            state.served.fetch_add(1, Ordering::Relaxed);
            text(200, state.answer.clone())
        }
        "/slow" => slow(&state).await,
        "/upload" => match length {
            Some(length) => text(200, length.to_string()),
            None => text(400, "the body broke off"),
        },
        "/download" => match head.uri.query().and_then(|query| query.parse().ok()) {
            Some(length) => download(length),
            None => text(400, "how many bytes?"),
        },
        _ => text(404, "no such method"),
    }
}

async fn answer_grpc(request: Request, state: Arc<State>) -> Response {
    let (head, body) = request.into_parts();
    let message = match head.uri.path() {
        grpc::ECHO => return grpc::answer(body),
        grpc::UNARY => &state.message,
        grpc::ON_INVOKE => &state.invoked,
        _ => return grpc::unimplemented(),
    };
    if drain(body, &state.received).await.is_some() {
        state.served.fetch_add(1, Ordering::Relaxed);
    }
    grpc::answer(Full::new(message.clone()))
}

/// Reads a body to its end; `None` when it breaks off.
async fn drain(mut body: hyper::body::Incoming, received: &AtomicU64) -> Option<u64> {
    let mut length = 0;
    while !body.is_end_stream() {
        let Some(frame) = body.frame().await else {
            break;
        };
        if let Some(data) = frame.ok()?.data_ref() {
            let piece = data.len() as u64;
            length += piece;
            received.fetch_add(piece, Ordering::Relaxed);
        }
    }
    Some(length)
}

/// Keeps a call for a while, and counts how many it has.
async fn slow(state: &State) -> Response {
    let inside = state.inside.fetch_add(1, Ordering::Relaxed) + 1;
    state.most_inside.fetch_max(inside, Ordering::Relaxed);
    tokio::time::sleep(SLOWNESS).await;
    state.inside.fetch_sub(1, Ordering::Relaxed);
    text(200, state.answer.clone())
}

fn download(length: u64) -> Response {
    let (mut sender, body) = Channel::<Bytes, std::io::Error>::new(4);
    tokio::spawn(async move {
        let piece = Bytes::from(vec![b'z'; PIECE]);
        let mut left = length;
        while left > 0 {
            let next = piece.slice(..left.min(PIECE as u64) as usize);
            left -= next.len() as u64;
            if sender.send_data(next).await.is_err() {
                return;
            }
        }
    });
    http::Response::new(body.boxed_unsync())
}
