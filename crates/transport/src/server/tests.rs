//! The servers against clients that are scripted byte by byte.

mod chunks;
mod drain;
mod early;
mod grpc;
mod h2c;
mod h2c_rules;
mod heads;
mod http1;
mod listeners;
mod silence;
mod smuggling;
mod time_limits;
mod upgrade;

use std::sync::Arc;
use std::time::Duration;

use http_body_util::channel::Channel;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use lifecycle::ShutdownTrigger;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

use super::*;
use crate::Descriptors;
use crate::listen::{Listener, Patience};
use crate::testing::{SETTINGS, frame, next_frame, soon, write};

const MAX_HEADER_BYTES: usize = 4096;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The head of a request, `GET /` or `/wait`, over `http`.
const GET: &[u8] = &[0x82, 0x86, 0x84];
const GET_WAIT: &[u8] = b"\x82\x86\x04\x05/wait";

/// A handler that does what the path says, and tells what it sees.
#[derive(Clone)]
struct App {
    seen: mpsc::UnboundedSender<String>,
    /// Lets one call go on that waits.
    release: Arc<Semaphore>,
}

/// Tells when it is dropped.
struct Guard(mpsc::UnboundedSender<String>);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.send("dropped".to_owned());
    }
}

impl Handler for App {
    type Body = UnsyncBoxBody<Bytes, BoxError>;

    fn takes_upgrade(&self, headers: &HeaderMap) -> bool {
        !headers.contains_key("unknown")
    }

    async fn call(&self, request: Request<RequestBody>) -> Response<Self::Body> {
        let path = request.uri().path().to_owned();
        let _ = self.seen.send(path.clone());
        let text = match path.as_str() {
            "/echo" => match request.into_body().collect().await {
                Ok(body) => body.to_bytes(),
                Err(_) => "broken".into(),
            },
            "/request" => format!("{request:?}").into(),
            "/first" => {
                // Reads the first piece and leaves the rest.
                let mut body = request.into_body();
                let first = body.frame().await;
                format!("{}", first.is_some_and(|first| first.is_ok())).into()
            }
            "/fail" => {
                let (sender, body) = Channel::<Bytes, BoxError>::new(1);
                sender.abort("broken".into());
                return Response::new(body.boxed_unsync());
            }
            "/wait" => {
                let guard = Guard(self.seen.clone());
                self.release.acquire().await.unwrap().forget();
                std::mem::forget(guard);
                "released".into()
            }
            "/stream" | "/break" => {
                let (mut sender, body) = Channel::new(1);
                let release = Arc::clone(&self.release);
                tokio::spawn(async move {
                    let _ = sender.send_data("half".into()).await;
                    release.acquire().await.unwrap().forget();
                    if path == "/break" {
                        sender.abort("broken".into());
                    } else {
                        let _ = sender.send_data("done".into()).await;
                    }
                });
                return Response::new(body.boxed_unsync());
            }
            _ => path.into(),
        };
        Response::new(Full::from(text).map_err(BoxError::from).boxed_unsync())
    }
}

/// A server, and everything that can be done to it.
struct Server {
    address: String,
    seen: mpsc::UnboundedReceiver<String>,
    release: Arc<Semaphore>,
    trigger: ShutdownTrigger,
    served: JoinHandle<()>,
}

fn config() -> HttpServerConfig {
    HttpServerConfig {
        max_header_bytes: MAX_HEADER_BYTES,
        header_timeout: Duration::from_secs(600),
        h2c: Some(H2Config {
            max_header_list: 16 * 1024,
            max_concurrent_streams: 250,
            max_frame: 16 * 1024,
            stream_window: 64 * 1024,
            connection_window: 1024 * 1024,
            budget: Arc::default(),
            max_upgrade_body: 1024,
        }),
        descriptors: Descriptors::default(),
    }
}

fn http1_only() -> HttpServerConfig {
    HttpServerConfig {
        h2c: None,
        ..config()
    }
}

impl Server {
    async fn http(config: HttpServerConfig) -> Self {
        let (listener, address) = listen().await;
        Self::start(address, |app, shutdown| {
            serve_http(listener, config, app, shutdown)
        })
    }

    async fn grpc(config: GrpcServerConfig) -> Self {
        let (listener, address) = listen().await;
        Self::start(address, |app, shutdown| {
            serve_grpc(listener, config, app, shutdown)
        })
    }

    fn start<F>(address: String, serve: impl FnOnce(App, Shutdown) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (sender, seen) = mpsc::unbounded_channel();
        let release = Arc::new(Semaphore::new(0));
        let (trigger, shutdown) = Shutdown::new();
        let app = App {
            seen: sender,
            release: Arc::clone(&release),
        };
        let served = tokio::spawn(serve(app, shutdown));
        Self {
            address,
            seen,
            release,
            trigger,
            served,
        }
    }

    async fn connect(&self) -> TcpStream {
        soon(TcpStream::connect(&self.address)).await.unwrap()
    }

    /// An HTTP/2 client on a new connection, its settings exchanged.
    async fn connect_h2(&self) -> TcpStream {
        let mut client = self.connect().await;
        write(&mut client, PREFACE).await;
        write(&mut client, frame(SETTINGS, 0, 0, &[])).await;
        next_frame(&mut client, &[SETTINGS]).await.unwrap();
        client
    }

    /// What the handler sees next.
    async fn sees(&mut self) -> String {
        soon(self.seen.recv()).await.unwrap()
    }

    /// Drains, waits for the end, and returns what the handler saw.
    async fn stop(mut self) -> Vec<String> {
        self.trigger.begin_drain();
        soon(self.served).await.unwrap();
        let mut seen = Vec::new();
        while let Ok(path) = self.seen.try_recv() {
            seen.push(path);
        }
        seen
    }
}

async fn listen() -> (Listener, String) {
    let listener = Listener::tcp("127.0.0.1:0", Patience::None).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}
