//! The calls.

use std::time::{Duration, Instant};

use bytes::Bytes;
use fastrand::Rng;
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use crate::tally::{Outcome, Tally};

/// A call that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// Calls one after the other, of all kinds.
pub(crate) struct Caller {
    http: u16,
    grpc: u16,
    client: reqwest::Client,
    random: Rng,
    /// Whom HTTP calls are for.
    targets: Vec<&'static str>,
}

impl Caller {
    /// A caller with the ports of its sidecar.
    pub(crate) fn new(http: u16, grpc: u16, seed: u64) -> Self {
        Self {
            http,
            grpc,
            client: reqwest::Client::new(),
            random: Rng::with_seed(seed),
            targets: vec!["soak-http", "soak-h2c"],
        }
    }

    /// Calls this endpoint, too.
    pub(crate) fn with_endpoint(mut self, name: &'static str) -> Self {
        self.targets.push(name);
        self
    }

    /// Calls until the time is over.
    pub(crate) async fn call_until(mut self, end: Instant, tally: &Tally) {
        let mut connection = None;
        while Instant::now() < end {
            let app = *self.random.choice(&self.targets).expect("some apps");
            let kind = self.random.u8(..10);
            let length = match kind {
                0 => self.random.usize(..2 << 20),
                _ => self.random.usize(..4096),
            };
            let sent: Vec<u8> = std::iter::repeat_with(|| self.random.u8(..))
                .take(length)
                .collect();
            let what = format!("kind {kind}, {length} bytes to {app}");
            let call = async {
                match kind {
                    0..=4 => self.whole(app, sent).await,
                    5..=6 => self.pieces(app, sent).await,
                    // Only an app that speaks HTTP/2 can be proxied to.
                    _ => proxied(self.grpc, &mut connection, sent).await,
                }
            };
            let outcome = tokio::time::timeout(PATIENCE, call).await;
            tally.note(match outcome.unwrap_or_else(|_| Outcome::Hung(String::new())) {
                Outcome::Wrong(how) => Outcome::Wrong(format!("{what}: {how}")),
                Outcome::Hung(_) => Outcome::Hung(what),
                other => other,
            });
        }
    }

    fn url(&self, app: &str) -> String {
        format!("http://127.0.0.1:{}/v1.0/invoke/{app}/method/echo", self.http)
    }

    /// A body of declared length.
    async fn whole(&self, app: &str, sent: Vec<u8>) -> Outcome {
        let answer = self.client.post(self.url(app)).body(sent.clone()).send().await;
        judge(answer, &sent).await
    }

    /// A body of unknown length.
    async fn pieces(&self, app: &str, sent: Vec<u8>) -> Outcome {
        let pieces: Vec<_> = sent
            .chunks(700)
            .map(|piece| std::io::Result::Ok(piece.to_vec()))
            .collect();
        let body = reqwest::Body::wrap_stream(stream::iter(pieces));
        let answer = self.client.post(self.url(app)).body(body).send().await;
        judge(answer, &sent).await
    }
}

async fn judge(answer: Result<reqwest::Response, reqwest::Error>, sent: &[u8]) -> Outcome {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return Outcome::Failed(root(&error)),
    };
    let status = answer.status();
    match answer.bytes().await {
        Err(error) => Outcome::Failed(root(&error)),
        Ok(body) if status != 200 => Outcome::Failed(String::from_utf8_lossy(&body).into_owned()),
        Ok(body) if body == sent => Outcome::Right,
        Ok(body) => Outcome::Wrong(format!("{} bytes came back", body.len())),
    }
}

fn root(error: &(dyn std::error::Error + 'static)) -> String {
    std::iter::successors(Some(error), |error| (*error).source())
        .last()
        .map_or_else(String::new, ToString::to_string)
}

/// A gRPC call of a service that only the app knows, in a few messages.
async fn proxied(port: u16, connection: &mut Option<SendRequest<Body>>, sent: Vec<u8>) -> Outcome {
    let Some(sender) = connected(port, connection).await else {
        return Outcome::Failed("no connection to the gRPC API".to_owned());
    };
    let mut framed = vec![0];
    framed.extend((sent.len() as u32).to_be_bytes());
    framed.extend(&sent);
    let frames: Vec<_> = framed
        .chunks(1500)
        .map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece))))
        .collect();
    let body = if framed.len() % 2 == 0 {
        let never = |never: std::convert::Infallible| match never {};
        Full::new(Bytes::copy_from_slice(&framed))
            .map_err(never)
            .boxed_unsync()
    } else {
        StreamBody::new(stream::iter(frames)).boxed_unsync()
    };
    let request = http::Request::post(format!("http://127.0.0.1:{port}/soak.Echo/Echo"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("dapr-app-id", "soak-h2c")
        .body(body)
        .expect("a valid request");
    let answer = match sender.send_request(request).await {
        Ok(answer) => answer,
        Err(error) => {
            *connection = None;
            return Outcome::Failed(root(&error));
        }
    };
    let in_head = answer.headers().get("grpc-status").cloned();
    let message = answer.headers().get("grpc-message").cloned();
    let body = match answer.into_body().collect().await {
        Ok(body) => body,
        Err(error) => return Outcome::Failed(root(&error)),
    };
    let trailers = body.trailers().cloned().unwrap_or_default();
    let Some(status) = in_head.or_else(|| trailers.get("grpc-status").cloned()) else {
        return Outcome::Wrong("an end without a status".to_owned());
    };
    if status != "0" {
        let message = message.or_else(|| trailers.get("grpc-message").cloned());
        return Outcome::Failed(format!("status {status:?}: {message:?}"));
    }
    if body.to_bytes() == framed {
        Outcome::Right
    } else {
        Outcome::Wrong("other messages came back".to_owned())
    }
}

async fn connected(port: u16, connection: &mut Option<SendRequest<Body>>) -> Option<&mut SendRequest<Body>> {
    if connection.as_ref().is_none_or(SendRequest::is_closed) {
        let socket = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        let (sender, driver) = http2::handshake(TokioExecutor::new(), TokioIo::new(socket))
            .await
            .ok()?;
        tokio::spawn(async move {
            let _ = driver.await;
        });
        *connection = Some(sender);
    }
    let sender = connection.as_mut()?;
    sender.ready().await.ok()?;
    Some(sender)
}
