//! Bodies go through piece by piece, in both directions, and no faster than they are read.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::BodyExt;
use integration_tests::{BodySender, HttpApp, Protocol, RawClient, Request, stream, text};
use tokio::sync::{Mutex, mpsc};

use crate::stage::{Pair, chunk, head, soon, stalls};

/// Far more than all buffers on the way together may hold, sockets included.
const TOO_MUCH: usize = 96 << 20;

fn protocol_flag(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Http => "--app-protocol=http",
        Protocol::H2c => "--app-protocol=h2c",
    }
}

/// An app that hands each piece of its requests to the test.
async fn listening_app(protocol: Protocol) -> (HttpApp, mpsc::UnboundedReceiver<Bytes>) {
    let (pieces, received) = mpsc::unbounded_channel();
    let app = HttpApp::start(protocol, move |request: Request| {
        let pieces = pieces.clone();
        async move {
            let mut body = request.into_body();
            while let Some(Ok(frame)) = body.frame().await {
                let _ = pieces.send(frame.into_data().unwrap_or_default());
            }
            text(200, "read")
        }
    })
    .await;
    (app, received)
}

/// An app whose answers the test writes.
async fn speaking_app(
    protocol: Protocol,
    content_type: &'static str,
) -> (HttpApp, mpsc::UnboundedReceiver<BodySender>) {
    let (senders, sender) = mpsc::unbounded_channel();
    let app = HttpApp::start(protocol, move |request: Request| {
        let senders = senders.clone();
        async move {
            if request.uri().path() == "/dapr/config" {
                return text(404, "");
            }
            let (sender, mut answer) = stream(200);
            let value = http::HeaderValue::from_static(content_type);
            answer.headers_mut().insert(http::header::CONTENT_TYPE, value);
            let _ = senders.send(sender);
            answer
        }
    })
    .await;
    (app, sender)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_piece_of_a_request_arrives_before_the_next_is_sent() {
    for protocol in [Protocol::Http, Protocol::H2c] {
        let (app, mut received) = listening_app(protocol).await;
        let pair = Pair::with(app.port, |sidecar| sidecar.arg(protocol_flag(protocol))).await;
        for framing in ["transfer-encoding: chunked", "content-length: 30"] {
            let is_chunked = framing.ends_with("chunked");
            let mut client = RawClient::connect(pair.caller.http_port).await;
            client
                .send(format!("{}{framing}\r\n\r\n", head("POST", "m")))
                .await;
            for number in 0..3 {
                let piece = format!("piece {number} ..");
                if is_chunked {
                    client.send(chunk(piece.as_bytes())).await;
                } else {
                    client.send(&piece).await;
                }
                let mut got = Vec::new();
                while got.len() < piece.len() {
                    got.extend(soon("the piece", received.recv()).await.unwrap());
                }
                assert_eq!(String::from_utf8(got).unwrap(), piece, "{framing}");
            }
            if is_chunked {
                client.send("0\r\n\r\n").await;
            }
            assert_eq!(client.receive().await.unwrap().text(), "read");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_piece_of_an_answer_arrives_before_the_next_is_sent() {
    for protocol in [Protocol::Http, Protocol::H2c] {
        let (app, mut senders) = speaking_app(protocol, "text/plain").await;
        let pair = Pair::with(app.port, |sidecar| sidecar.arg(protocol_flag(protocol))).await;
        let mut client = RawClient::connect(pair.caller.http_port).await;
        client.send(format!("{}\r\n", head("GET", "m"))).await;
        let mut sender = soon("the call", senders.recv()).await.unwrap();
        // The head does not wait for the first piece.
        let answer = client.receive_head().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.header("transfer-encoding"), Some("chunked"));
        for number in 0..3 {
            let piece = format!("piece {number}");
            sender.send_data(Bytes::from(piece.clone())).await.unwrap();
            assert_eq!(client.receive_chunk().await.unwrap(), piece.as_bytes());
        }
        drop(sender);
        assert!(client.receive_chunk().await.unwrap().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_directions_stream_at_once() {
    let app = HttpApp::start(Protocol::Http, |request: Request| async move {
        let (mut sender, mut answer) = stream(200);
        // Without it the head would wait for the first piece, to find out what it is.
        let value = http::HeaderValue::from_static("text/plain");
        answer.headers_mut().insert(http::header::CONTENT_TYPE, value);
        tokio::spawn(async move {
            let mut body = request.into_body();
            while let Some(Ok(frame)) = body.frame().await {
                if sender.send(frame).await.is_err() {
                    return;
                }
            }
        });
        answer
    })
    .await;
    let pair = Pair::new(app.port).await;
    let mut client = RawClient::connect(pair.caller.http_port).await;
    client
        .send(format!(
            "{}transfer-encoding: chunked\r\n\r\n",
            head("POST", "echo")
        ))
        .await;
    assert_eq!(client.receive_head().await.unwrap().status(), 200);
    for number in 0..5 {
        let piece = format!("piece {number}");
        client.send(chunk(piece.as_bytes())).await;
        assert_eq!(client.receive_chunk().await.unwrap(), piece.as_bytes());
    }
    client.send("0\r\n\r\n").await;
    assert!(client.receive_chunk().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_does_not_read_stops_its_caller() {
    for framing in [
        "transfer-encoding: chunked".to_owned(),
        format!("content-length: {TOO_MUCH}"),
    ] {
        let (go, wait) = tokio::sync::oneshot::channel::<()>();
        let wait = Arc::new(Mutex::new(Some(wait)));
        let app = HttpApp::start(Protocol::Http, move |request: Request| {
            let wait = Arc::clone(&wait);
            async move {
                if request.uri().path() == "/dapr/config" {
                    return text(404, "");
                }
                let wait = wait.lock().await.take().expect("one call");
                let _ = wait.await;
                let body = request.into_body().collect().await.expect("a whole body");
                text(200, body.to_bytes().len().to_string())
            }
        })
        .await;
        let pair = Pair::with(app.port, |sidecar| sidecar.arg("--max-body-size=1Gi")).await;
        let mut client = RawClient::connect(pair.caller.http_port).await;
        client
            .send(format!("{}{framing}\r\n\r\n", head("POST", "m")))
            .await;
        let is_chunked = framing.ends_with("chunked");
        let plain = vec![b'x'; 64 << 10];
        let piece = if is_chunked { chunk(&plain) } else { plain.clone() };
        let mut sent = 0;
        // The piece during which the sending stalls is on its way in part; the rest of it follows below.
        let mut sending = Box::pin(async {
            while sent < TOO_MUCH {
                client.send(&piece).await;
                sent += plain.len();
            }
        });
        assert!(
            stalls(sending.as_mut()).await,
            "all of it was taken in: {framing}"
        );
        go.send(()).unwrap();
        soon("the rest to be taken", sending).await;
        if is_chunked {
            client.send("0\r\n\r\n").await;
        }
        assert_eq!(client.receive().await.unwrap().text(), TOO_MUCH.to_string());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_does_not_read_stops_the_app() {
    let (app, mut senders) = speaking_app(Protocol::Http, "text/plain").await;
    let pair = Pair::new(app.port).await;
    let mut client = RawClient::connect(pair.caller.http_port).await;
    client.send(format!("{}\r\n", head("GET", "m"))).await;
    let mut sender = soon("the call", senders.recv()).await.unwrap();
    let mut sending = Box::pin(async move {
        let piece = Bytes::from(vec![b'x'; 64 << 10]);
        for _ in 0..TOO_MUCH / piece.len() {
            sender.send_data(piece.clone()).await.expect("somebody reads");
        }
    });
    assert!(stalls(sending.as_mut()).await, "all of it was taken in");
    // Another call is not held up by the first.
    let mut other = RawClient::connect(pair.caller.http_port).await;
    other.send(format!("{}\r\n", head("GET", "other"))).await;
    let mut second = soon("the second call", senders.recv()).await.unwrap();
    second.send_data(Bytes::from_static(b"passes")).await.unwrap();
    drop(second);
    assert_eq!(other.receive().await.unwrap().text(), "passes");
    let reading = async { client.receive().await.expect("a complete answer") };
    let ((), answer) = soon("the rest", async { tokio::join!(sending, reading) }).await;
    assert_eq!(answer.body.len(), TOO_MUCH);
}

#[tokio::test(flavor = "multi_thread")]
async fn server_sent_events_arrive_one_by_one() {
    let (app, mut senders) = speaking_app(Protocol::Http, "text/event-stream").await;
    let pair = Pair::new(app.port).await;
    // Through both sidecars, and to the app beside the sidecar.
    for sidecar in [&pair.caller, &pair.callee] {
        let mut client = RawClient::connect(sidecar.http_port).await;
        client
            .send(format!(
                "{}accept: text/event-stream\r\n\r\n",
                head("GET", "events")
            ))
            .await;
        let mut sender = soon("the call", senders.recv()).await.unwrap();
        let mut answer = None;
        for number in 0..3 {
            let event = format!("data: {number}\n\n");
            sender.send_data(Bytes::from(event.clone())).await.unwrap();
            if answer.is_none() {
                answer = client.receive_head().await;
            }
            assert_eq!(client.receive_chunk().await.unwrap(), event.as_bytes());
        }
        let answer = answer.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.header("content-type"), Some("text/event-stream"));
        drop(sender);
        assert!(client.receive_chunk().await.unwrap().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_stream_that_is_none_is_told() {
    let app = HttpApp::start(Protocol::Http, |request: Request| async move {
        match request.uri().path() {
            "/empty" => text(200, ""),
            _ => text(404, "no events here"),
        }
    })
    .await;
    let pair = Pair::new(app.port).await;
    let ask = async |method| {
        let request = reqwest::Client::new().get(pair.url(method));
        request
            .header("accept", "text/event-stream")
            .send()
            .await
            .unwrap()
    };
    let answer = ask("missing").await;
    assert_eq!(answer.status(), 500);
    let body: serde_json::Value = answer.json().await.unwrap();
    assert_eq!(
        body["message"],
        "failed to invoke, id: callee, err: rpc error: code = Internal desc = error invoking app channel: no \
         response received from stream"
    );
    // No events at all are a stream, too.
    let answer = ask("empty").await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.text().await.unwrap(), "");
}
