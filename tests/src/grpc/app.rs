//! The app.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};

use super::{End, GrpcCall, InvokeRequest, InvokeResponse, ON_INVOKE};

/// What a call does to its connection.
#[derive(Clone, Copy, Debug)]
pub(super) enum Control {
    GoAway,
    Cut,
}

/// The HTTP/2 settings of an app.
pub type Setup = h2::server::Builder;

/// A gRPC app on a free port of the loopback interface; it stops when dropped, connections included.
#[derive(Debug)]
pub struct GrpcApp {
    /// Its port.
    pub port: u16,
    server: JoinHandle<()>,
    connections: Arc<AtomicUsize>,
}

impl Drop for GrpcApp {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl GrpcApp {
    /// Starts an app whose `handler` takes every call.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn start<H, Fut>(handler: H) -> Self
    where
        H: Fn(GrpcCall) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let mut setup = Setup::new();
        setup.initial_connection_window_size(16 << 20);
        Self::start_with(setup, handler).await
    }

    /// The same, with settings of its own: windows, how many streams.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn start_with<H, Fut>(setup: Setup, handler: H) -> Self
    where
        H: Fn(GrpcCall) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let connections = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&connections);
        let server = tokio::spawn(async move {
            let mut serving = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                serving.spawn(serve(
                    socket,
                    setup.clone(),
                    handler.clone(),
                    Arc::clone(&counted),
                ));
            }
        });
        Self {
            port,
            server,
            connections,
        }
    }

    /// An app that gives every message back as soon as it is there. What it is invoked with comes back, too.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn echo() -> Self {
        Self::start(|mut call| async move {
            if call.path() == ON_INVOKE {
                let asked = call.message().await.map(|message| message.data);
                let asked: InvokeRequest =
                    prost::Message::decode(asked.unwrap_or_default()).expect("a request");
                let response = InvokeResponse {
                    data: asked.data,
                    content_type: asked.content_type,
                };
                call.send(&prost::Message::encode_to_vec(&response)).await;
                call.finish(0, "", &[]);
                return;
            }
            call.begin(&[]);
            while let Some(message) = call.message().await {
                call.send_bytes(super::framed(message.flag, &message.data)).await;
            }
            if call.messages().await.1 == End::HalfClosed {
                call.finish(0, "", &[]);
            }
        })
        .await
    }

    /// How many connections were made to it on which HTTP/2 was spoken.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

async fn serve<H, Fut>(socket: TcpStream, setup: Setup, handler: H, connections: Arc<AtomicUsize>)
where
    H: Fn(GrpcCall) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let _ = socket.set_nodelay(true);
    let Ok(mut connection) = setup.handshake(socket).await else {
        return;
    };
    // One that asks whether somebody listens says nothing.
    connections.fetch_add(1, Ordering::Relaxed);
    let (control, mut controls) = mpsc::unbounded_channel();
    let mut calls = JoinSet::new();
    loop {
        tokio::select! {
            accepted = connection.accept() => match accepted {
                Some(Ok((request, answer))) => {
                    calls.spawn(handler(GrpcCall::new(request, answer, control.clone())));
                }
                // The calls end with their streams.
                Some(Err(_)) | None => break,
            },
            Some(asked) = controls.recv() => match asked {
                Control::GoAway => connection.graceful_shutdown(),
                Control::Cut => {
                    calls.abort_all();
                    return;
                }
            },
        }
    }
    while calls.join_next().await.is_some() {}
}
