//! Doors whose calls keep the generation that they began with.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use lifecycle::Current;
use transport::server::{Handler, RequestBody};

/// A handler that is a part of a generation `G`. Each call takes the generation that is current when it comes, and keeps
/// it to the end of its answer's body.
pub(super) struct Door<G, H> {
    current: Current<G>,
    handler: fn(&G) -> &H,
}

impl<G, H> Door<G, H> {
    pub(super) fn new(current: &Current<G>, handler: fn(&G) -> &H) -> Self {
        Self {
            current: current.clone(),
            handler,
        }
    }
}

impl<G, H> Clone for Door<G, H> {
    fn clone(&self) -> Self {
        Self::new(&self.current, self.handler)
    }
}

impl<G: Send + Sync + 'static, H: Handler> Handler for Door<G, H> {
    type Body = GenerationBody<G, H::Body>;

    fn takes_upgrade(&self, headers: &HeaderMap) -> bool {
        (self.handler)(&self.current.take()).takes_upgrade(headers)
    }

    async fn call(&self, request: Request<RequestBody>) -> Response<Self::Body> {
        self.call_of(request, None).await
    }

    async fn call_of(&self, request: Request<RequestBody>, peer: Option<SocketAddr>) -> Response<Self::Body> {
        let generation = self.current.take();
        let response = (self.handler)(&generation).call_of(request, peer).await;
        response.map(|body| GenerationBody {
            body,
            _generation: generation,
        })
    }
}

/// The body of an answer, which keeps its generation.
pub(super) struct GenerationBody<G, B> {
    body: B,
    _generation: Arc<G>,
}

impl<G, B: Body + Unpin> Body for GenerationBody<G, B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use bytes::Bytes;
    use http_body_util::combinators::UnsyncBoxBody;
    use http_body_util::{BodyExt, StreamBody};
    use lifecycle::Shutdown;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use transport::listen::{Listener, Patience};
    use transport::server::serve_http;

    use super::*;
    use crate::servers::http1_limits;

    /// A generation that writes its number twice, with a pause in between in which others come.
    struct Numbered {
        number: u64,
        handler: Numbers,
        alive: Arc<AtomicU64>,
    }

    impl Drop for Numbered {
        fn drop(&mut self) {
            self.handler.0.store(u64::MAX, Ordering::SeqCst);
            self.alive.fetch_sub(1, Ordering::SeqCst);
        }
    }

    #[derive(Clone)]
    struct Numbers(Arc<AtomicU64>);

    impl Handler for Numbers {
        type Body = UnsyncBoxBody<Bytes, std::convert::Infallible>;

        async fn call(&self, _: Request<RequestBody>) -> Response<Self::Body> {
            let number = Arc::clone(&self.0);
            let frames = futures_util::stream::unfold((number, 0), |(number, sent)| async move {
                tokio::task::yield_now().await;
                let text = format!("{} ", number.load(Ordering::SeqCst));
                (sent < 2).then(|| (Ok(Frame::data(Bytes::from(text))), (number, sent + 1)))
            });
            Response::new(StreamBody::new(frames).boxed_unsync())
        }
    }

    fn numbered(number: u64, alive: &Arc<AtomicU64>) -> Numbered {
        alive.fetch_add(1, Ordering::SeqCst);
        Numbered {
            number,
            handler: Numbers(Arc::new(AtomicU64::new(number))),
            alive: Arc::clone(alive),
        }
    }

    /// One call on a connection that stays; the numbers in its body.
    async fn call(socket: &mut TcpStream) -> Vec<u64> {
        socket
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n0\r\n\r\n") {
            let mut piece = [0; 1024];
            let count = socket.read(&mut piece).await.unwrap();
            assert_ne!(count, 0, "closed after {:?}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&piece[..count]);
        }
        let text = String::from_utf8(answer).unwrap();
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
        let lines = text.lines().filter(|line| line.ends_with(' '));
        lines.map(|line| line.trim().parse().unwrap()).collect()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn generations_change_under_load_and_no_call_fails() {
        const CALLERS: usize = 8;
        const CALLS: usize = 300;
        let alive = Arc::new(AtomicU64::new(0));
        let current = Current::new(numbered(0, &alive));
        let listener = Listener::tcp("127.0.0.1:0", Patience::None).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (_trigger, shutdown) = Shutdown::new();
        let door = Door::new(&current, |generation: &Numbered| &generation.handler);
        tokio::spawn(serve_http(listener, http1_limits(4096), door, shutdown));
        let callers: Vec<_> = (0..CALLERS)
            .map(|_| {
                tokio::spawn(async move {
                    let mut socket = TcpStream::connect(address).await.unwrap();
                    let mut seen = Vec::new();
                    for _ in 0..CALLS {
                        let numbers = call(&mut socket).await;
                        assert_eq!(numbers.len(), 2);
                        assert_eq!(numbers[0], numbers[1], "a call is of one generation to its end");
                        seen.push(numbers[0]);
                    }
                    seen
                })
            })
            .collect();
        let mut swaps = 0;
        while callers.iter().any(|caller| !caller.is_finished()) {
            swaps += 1;
            current.replace(numbered(swaps, &alive));
            tokio::task::yield_now().await;
        }
        let mut latest = 0;
        for caller in callers {
            let seen = caller.await.unwrap();
            assert!(seen.is_sorted(), "nobody goes back to an older generation");
            latest = latest.max(*seen.last().unwrap());
        }
        assert!(latest > 0, "{swaps} changes, none of which a call saw");
        assert_eq!(current.take().number, swaps);
        while alive.load(Ordering::SeqCst) > 1 {
            // The last answers are on their way out of the server.
            tokio::task::yield_now().await;
        }
    }
}
