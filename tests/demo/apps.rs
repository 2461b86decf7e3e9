//! The apps of the demo, which tell what they see and when.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::channel::Channel;
use integration_tests::{HttpApp, Protocol, Request, Response, text};
use tokio::sync::mpsc::UnboundedSender;

/// How many pieces the streamed answer has, and the time between two.
pub(crate) const PIECES: u32 = 5;
pub(crate) const PAUSE: Duration = Duration::from_millis(200);

/// Something that happened in an app.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) at: Instant,
    pub(crate) app: &'static str,
    pub(crate) what: What,
}

/// What happened.
#[derive(Debug)]
pub(crate) enum What {
    /// The head of a request came.
    Request {
        line: String,
        headers: Vec<(String, String)>,
    },
    /// The body of a request came to its end.
    Body { length: usize },
    /// The head of the answer goes out.
    Answer { status: u16 },
    /// A piece of the answer goes out.
    Piece { number: u32 },
}

/// Where an app tells its events.
#[derive(Clone)]
pub(crate) struct Teller {
    pub(crate) app: &'static str,
    pub(crate) events: UnboundedSender<Event>,
}

impl Teller {
    pub(crate) fn tell(&self, what: What) {
        let event = Event {
            at: Instant::now(),
            app: self.app,
            what,
        };
        // Nobody listens any more when the demo ends.
        let _ = self.events.send(event);
    }
}

/// Starts an app with the methods `hello`, `echo` and `count`.
pub(crate) async fn start(app: &'static str, events: UnboundedSender<Event>) -> HttpApp {
    let teller = Teller { app, events };
    HttpApp::start(Protocol::Http, move |request| answer(request, teller.clone())).await
}

async fn answer(request: Request, teller: Teller) -> Response {
    let (head, body) = request.into_parts();
    let target = head
        .uri
        .path_and_query()
        .map_or_else(|| head.uri.to_string(), ToString::to_string);
    let headers = head.headers.iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        (name.to_string(), value)
    });
    teller.tell(What::Request {
        line: format!("{} {target}", head.method),
        headers: headers.collect(),
    });
    let body = body
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    if !body.is_empty() {
        teller.tell(What::Body { length: body.len() });
    }
    let answer = match head.uri.path() {
        "/hello" => {
            let name = head.uri.query().and_then(|query| query.strip_prefix("name="));
            text(
                200,
                format!("hello {}, this is {}", name.unwrap_or("you"), teller.app),
            )
        }
        "/echo" => {
            let mut answer = text(200, body);
            if let Some(kind) = head.headers.get(http::header::CONTENT_TYPE) {
                answer
                    .headers_mut()
                    .insert(http::header::CONTENT_TYPE, kind.clone());
            }
            answer
        }
        "/count" => count(teller.clone()),
        _ => text(
            404,
            format!("{} has the methods hello, echo and count", teller.app),
        ),
    };
    teller.tell(What::Answer {
        status: answer.status().as_u16(),
    });
    answer
}

/// An answer whose pieces come one by one.
fn count(teller: Teller) -> Response {
    let (mut sender, body) = Channel::<Bytes, std::io::Error>::new(1);
    tokio::spawn(async move {
        for number in 1..=PIECES {
            tokio::time::sleep(PAUSE).await;
            teller.tell(What::Piece { number });
            let piece = format!("piece {number} of {PIECES}\n");
            if sender.send_data(piece.into()).await.is_err() {
                return;
            }
        }
    });
    http::Response::builder()
        .header(http::header::CONTENT_TYPE, "text/plain")
        .body(body.boxed_unsync())
        .expect("a valid answer")
}
