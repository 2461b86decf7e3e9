//! The pool against apps that are scripted byte by byte.

mod answers;
mod bounds;
mod cancel;
mod failures;
mod forms;
mod patience;
mod places;
mod reuse;
mod targets;

use std::pin::Pin;
use std::task::Poll;

use http_body_util::channel::{Channel, Sender};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use tokio::net::TcpStream;

use super::*;
use crate::client::{Delivery, ErrorKind};
use crate::testing::{listen, read_head, soon, write};

/// What the tests send: nothing or all at once, or piece by piece.
type Sent = UnsyncBoxBody<Bytes, BoxError>;

type Answered = Response<PooledBody<Sent>>;

/// A pool, and who owns its connections.
struct Client {
    pool: H1Pool<Sent>,
    tasks: Tasks,
}

impl Client {
    fn new(address: &str) -> Self {
        Self::with(address, H1Config::default())
    }

    fn with(address: &str, config: H1Config) -> Self {
        let tasks = Tasks::new();
        Self {
            pool: H1Pool::new(address, config, tasks.clone()),
            tasks,
        }
    }

    async fn send(&self, request: Request<Sent>) -> Result<Answered, ClientError> {
        soon(self.pool.send(request)).await
    }

    /// A call that is answered, and the text of the answer.
    async fn get(&self) -> String {
        text(self.send(get()).await.unwrap()).await.unwrap()
    }

    fn idle(&self) -> usize {
        self.pool.0.idle().len()
    }
}

fn get() -> Request<Sent> {
    Request::get("/")
        .header("host", "app")
        .body(Sent::default())
        .unwrap()
}

fn head() -> Request<Sent> {
    let mut request = get();
    *request.method_mut() = Method::HEAD;
    request
}

fn post(body: &'static str) -> Request<Sent> {
    let body = Full::from(body).map_err(BoxError::from);
    Request::post("/")
        .header("host", "app")
        .body(body.boxed_unsync())
        .unwrap()
}

fn stream() -> (Sender<Bytes, BoxError>, Request<Sent>) {
    let (sender, body) = Channel::new(1);
    let request = Request::post("/").header("host", "app");
    (sender, request.body(body.boxed_unsync()).unwrap())
}

async fn text(answer: Answered) -> Result<String, AnswerError> {
    let body = soon(answer.into_body().collect()).await?.to_bytes();
    Ok(String::from_utf8(body.to_vec()).unwrap())
}

/// Answers one request without a body.
async fn answer(app: &mut TcpStream, bytes: &str) -> String {
    let head = read_head(app).await;
    write(app, bytes).await;
    head
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// Lets so much time go by, at once.
async fn later(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

/// Polls a future once, and tells whether it is pending.
async fn is_pending<F: Future + Unpin>(future: &mut F) -> bool {
    std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut *future).poll(cx).is_pending())).await
}
