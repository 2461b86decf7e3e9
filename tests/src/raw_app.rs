//! An app that does to its connections what no HTTP library would.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use crate::RawClient;

/// An app on a free port whose connections the test serves byte by byte; it stops when dropped.
///
/// The sidecar's own question at start (`GET /dapr/config`) is answered before the test sees anything.
pub struct RawApp {
    /// Its port.
    pub port: u16,
    calls: Arc<AtomicUsize>,
    server: JoinHandle<()>,
}

impl RawApp {
    /// Starts an app. `handler` gets each connection with the head of its first request read already; when it
    /// returns, the connection is closed.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn start<H, Fut>(handler: H) -> Self
    where
        H: Fn(RawClient) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let calls = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&calls);
        let server = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let (handler, counted) = (handler.clone(), Arc::clone(&counted));
                connections.spawn(async move {
                    let mut connection = RawClient::over(socket);
                    while let Some(request) = connection.receive_head().await {
                        if request.status_line.contains(" /dapr/config ") {
                            let none = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
                            connection.send(none).await;
                        } else {
                            counted.fetch_add(1, Ordering::Relaxed);
                            return handler(connection).await;
                        }
                    }
                });
            }
        });
        Self { port, calls, server }
    }

    /// How many calls came.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }
}

impl Drop for RawApp {
    fn drop(&mut self) {
        self.server.abort();
    }
}
