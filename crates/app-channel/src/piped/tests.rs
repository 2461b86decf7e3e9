use std::net::SocketAddr;
use std::pin::Pin;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use http_body_util::BodyExt;
use invoke_core::{Body, Cause, Fault, Leave};

use super::*;

/// Middleware that does one thing.
#[derive(Debug)]
enum Does {
    Nothing,
    Answers,
    Rewrites,
    ChangesAnswers,
}

impl Pipeline for Does {
    fn enter<'a>(
        &'a self,
        mut request: Request<Body>,
        peer: Option<SocketAddr>,
    ) -> Pin<Box<dyn Future<Output = Entered> + Send + 'a>> {
        assert_eq!(peer, None);
        Box::pin(async move {
            match self {
                Self::Nothing => Entered::Passed(request, Leave::default()),
                Self::Answers => {
                    let mut answer = Response::new(Body::full("no"));
                    *answer.status_mut() = StatusCode::FORBIDDEN;
                    let plain = HeaderValue::from_static("text/plain");
                    answer.headers_mut().insert(header::CONTENT_TYPE, plain);
                    answer
                        .headers_mut()
                        .insert(header::CONNECTION, HeaderValue::from_static("close"));
                    Entered::Answered(answer)
                }
                Self::Rewrites => {
                    *request.uri_mut() = Uri::from_static("/other?y=2");
                    let added = HeaderValue::from_static("1");
                    request.headers_mut().insert("x-added", added);
                    *request.body_mut() = Body::full("other");
                    Entered::Passed(request, Leave::default())
                }
                Self::ChangesAnswers => {
                    let change = |mut answer: Response<Body>| {
                        answer
                            .headers_mut()
                            .insert("x-left", HeaderValue::from_static("1"));
                        *answer.status_mut() = StatusCode::ACCEPTED;
                        answer.map(|_| Body::full("changed"))
                    };
                    Entered::Passed(request, Leave::with(change))
                }
            }
        })
    }
}

fn prepared() -> Prepared {
    Prepared {
        method: Method::POST,
        target: "/a?x=1".parse().unwrap(),
        raw: None,
        wants_length: false,
        headers: HeaderMap::new(),
        body: Body::full("hello"),
        declared: Some(5),
    }
}

/// What came of a request, and what was sent of it.
async fn through_it(does: Does) -> (Reply, Option<(String, HeaderMap, Bytes)>) {
    let mut sent = None;
    let send = |prepared: Prepared| {
        let body = Bytes::copy_from_slice(prepared.body.as_full().unwrap());
        sent = Some((prepared.target.to_string(), prepared.headers, body));
        async {
            let mut reply = Reply::new(WireStatus::http(StatusCode::OK), Route::Local);
            reply.body = Body::full("answer");
            reply.headers.insert("x-app", HeaderValue::from_static("here"));
            Ok(reply)
        }
    };
    let reply = through(&does, prepared(), send).await.unwrap();
    (reply, sent)
}

async fn body(reply: Reply) -> Bytes {
    reply.body.collect().await.unwrap().to_bytes()
}

#[tokio::test]
async fn what_passes_is_sent_as_it_is() {
    let (reply, sent) = through_it(Does::Nothing).await;
    let (target, _, was_sent) = sent.unwrap();
    assert_eq!((target.as_str(), &was_sent[..]), ("/a?x=1", &b"hello"[..]));
    assert_eq!(reply.status.code, 200);
    assert_eq!(body(reply).await, "answer");
}

#[tokio::test]
async fn what_is_answered_is_not_sent() {
    let (reply, sent) = through_it(Does::Answers).await;
    assert!(sent.is_none());
    assert_eq!(reply.status.code, 403);
    assert_eq!(reply.content_type.as_ref().unwrap(), "text/plain");
    assert!(
        !reply.headers.contains_key(header::CONNECTION),
        "a matter of one hop"
    );
    assert_eq!(body(reply).await, "no");
}

#[tokio::test]
async fn what_is_rewritten_is_sent_so() {
    let (_, sent) = through_it(Does::Rewrites).await;
    let (target, headers, was_sent) = sent.unwrap();
    assert_eq!((target.as_str(), &was_sent[..]), ("/other?y=2", &b"other"[..]));
    assert_eq!(headers["x-added"], "1");
}

#[tokio::test]
async fn answers_are_left_as_they_are_changed() {
    let (reply, _) = through_it(Does::ChangesAnswers).await;
    assert_eq!(reply.status.code, 202);
    assert_eq!(reply.headers["x-app"], "here");
    assert_eq!(reply.headers["x-left"], "1");
    assert_eq!(body(reply).await, "changed");
}

#[tokio::test]
async fn a_call_that_fails_stays_failed() {
    let send = |_: Prepared| async { Err(InvokeError::unsent(Fault::App, Cause::Unhealthy)) };
    let failed = through(&Does::ChangesAnswers, prepared(), send).await;
    assert!(matches!(failed.unwrap_err().cause, Cause::Unhealthy));
}
